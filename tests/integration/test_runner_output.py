"""Output and outputs of a formula, as a runner writes them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from dispatcher.model.payload import decode_end_notice
from dispatcher.model.verdicts import Verdict
from tests.servers.end_notices import IN_A_JOB, Heard, heard
from tests.servers.grants import Minter
from tests.support.runner_process import SECRET, start

__all__ = ["heard", "start"]

pytestmark = pytest.mark.needs("bao")


def test_secrets_are_redacted_everywhere(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    minter.put("KEY", "line one of key\nline two of key\n")
    formula = (
        'echo "out $TOKEN"; echo "err $TOKEN" >&2; echo "$TOKEN" | base64; echo "$KEY"\n'
        'printf "${TOKEN:0:6}"; sleep 0.3; echo "${TOKEN:6}"\n'
        'printf \'{"%s": ["a %s"], "n": 7}\' "$TOKEN" "$TOKEN" > "$DISINTO_OUTPUTS"'
    )
    run = start(minter.payload(minter.spec(formula, secrets=("TOKEN", "KEY"))))
    outcome = run.finish()
    everything = run.log() + run.log("stderr") + (run.spool / "outcome.json").read_text()
    assert SECRET not in everything
    assert "line two of key" not in everything
    assert (
        run.log() == "out [redacted:TOKEN]\n[redacted:TOKEN]\n[redacted:KEY]\n\n[redacted:TOKEN]\n"
    )
    assert outcome.outputs == {"[redacted:TOKEN]": ["a [redacted:TOKEN]"], "n": 7}
    assert "err [redacted:TOKEN]" in outcome.logs


def test_a_flood_on_both_streams(minter: Minter, start: Any) -> None:
    formula = "(head -c 40000000 /dev/zero | tr '\\0' o) & (head -c 40000000 /dev/zero | tr '\\0' e >&2); wait"
    run = start(minter.payload(minter.spec(formula)), "--log-limit", "1000000")
    assert run.finish().verdict is Verdict.SUCCEEDED
    for stream in ("stdout", "stderr"):
        text = run.log(stream)
        assert text.endswith("\n[log truncated: more than 1000000 bytes]\n")
        assert len(text) < 1_000_100


def test_the_last_characters_are_harmless(minter: Minter, start: Any) -> None:
    formula = r"printf '%01500d' 0; printf '\033[2J\r\n\xff ü\tend\u202e'"
    outcome = start(minter.payload(minter.spec(formula))).finish()
    assert len(outcome.logs) == 1000
    assert outcome.logs.endswith("0␛[2J\n\ufffd ü\tend\ufffd")


@pytest.mark.parametrize(("formula", "has_it"), [("echo short", True), ("seq 100000", False)])
def test_the_notice_of_a_long_output_has_no_outcome(
    minter: Minter, start: Any, heard: Heard, formula: str, has_it: bool
) -> None:
    """The engine may not have all of the log yet; that ``serve`` reads the outcome gives it time."""
    given = {"outcome_key": "k", "listener_url": heard.url, "notice_has_outcome": True}
    run = start(minter.payload(minter.spec(formula, **given)), env=IN_A_JOB)
    assert run.finish().verdict is Verdict.SUCCEEDED
    ((_, notice),) = heard.requests
    assert bool(decode_end_notice(notice)[2]) is has_it


def test_an_idle_stream_is_written_at_once(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    run = start(minter.payload(minter.spec("printf 'no newline'; sleep 60", secrets=("TOKEN",))))
    run.wait_for_log("no newline")
    run.process.send_signal(signal.SIGTERM)
    run.finish()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo '[1]'", "not a JSON object"),
        ("echo '{'", "not a JSON object"),
        ("head -c 70000 /dev/zero", "more than 65536 bytes"),
    ],
)
def test_outputs_that_are_none(command: str, words: str, minter: Minter, start: Any) -> None:
    outcome = start(minter.payload(minter.spec(f'{command} > "$DISINTO_OUTPUTS"'))).finish()
    assert outcome.verdict is Verdict.SUCCEEDED
    assert (outcome.outputs, words in outcome.error) == ({}, True)


def test_outputs_follow_no_link(minter: Minter, start: Any, tmp_path: Path) -> None:
    (tmp_path / "else").write_text('{"stolen": 1}')
    formula = f'ln -s {tmp_path}/else "$DISINTO_OUTPUTS"'
    outcome = start(minter.payload(minter.spec(formula))).finish()
    assert outcome.outputs == {}
    assert "cannot be read" in outcome.error
