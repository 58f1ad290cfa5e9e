"""The runner as a process, with real grants of a real OpenBao."""

from __future__ import annotations

import hashlib
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from dispatcher.model.payload import encode_payload
from dispatcher.model.run import FormulaKind, WrappedGrant
from dispatcher.model.verdicts import Verdict
from tests.servers.grants import Minter
from tests.support.processes import alive
from tests.support.runner_process import SECRET, Run, start

__all__ = ["start"]

pytestmark = pytest.mark.needs("bao")


def test_a_formula_gets_its_secrets_and_a_clean_environment(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    spec = minter.spec(
        'printf %s "$TOKEN" | sha256sum | cut -d" " -f1 >&2; env -0 | sort -z | cut -z -d= -f1 | tr "\\0" "\\n"\n'
        'echo "$DISINTO_ACTION_ID|$DISINTO_CONTEXT|$DISINTO_PARAMS|$DISINTO_TOOLS" >&2\n'
        'test "$PWD" = "$HOME" -a "$PWD" = "$DISINTO_WORKDIR" && stat -c %a . "$TMPDIR" >&2\n'
        "readlink /proc/$$/fd/0 >&2; ls /proc/$$/fd | wc -w >&2; read line || echo no input >&2",
        secrets=("TOKEN",),
        context="tell\nme",
        params={"size": 1},
        tools=("a", "b"),
        approved_by=("ada", "bob"),
    )
    run = start(minter.payload(spec))
    outcome = run.finish()
    assert outcome.verdict is Verdict.SUCCEEDED, (outcome, run.messages)
    assert (outcome.exit_code, outcome.formula_started, outcome.error) == (0, True, "")
    assert outcome.finished_at >= outcome.started_at > 0
    names = set(run.log().split()) - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names == {
        "PATH", "HOME", "LANG", "TMPDIR", "TOKEN",
        "DISINTO_ACTION_ID", "DISINTO_FORMULA", "DISINTO_CONTEXT", "DISINTO_COMMIT",
        "DISINTO_TIER", "DISINTO_APPROVED_BY", "DISINTO_MODEL", "DISINTO_TOOLS",
        "DISINTO_PARAMS", "DISINTO_OUTPUTS",
        "DISINTO_PROGRESS", "DISINTO_WORKDIR", "DISINTO_PYTHON", "DISINTO_RUN_KEY",
    }  # fmt: skip
    digest, *errors = run.log("stderr").splitlines()
    assert digest == hashlib.sha256(SECRET.encode()).hexdigest()
    assert errors[:4] == [f"{spec.key.action_id}|tell", 'me|{"size": 1}|a,b', "700", "700"]
    assert errors[4:] == ["/dev/null", "4", "no input"]  # 0, 1, 2 and the script bash reads
    assert not (run.spool / "private").exists()


@pytest.mark.parametrize(("formula", "code", "number"), [
    ("exit 7", 7, None), ("kill -KILL $$", 137, 9), ("kill -TERM $$", 143, 15), ("nonsense", 127, None),
])  # fmt: skip
def test_how_a_formula_fails(
    formula: str, code: int, number: int | None, minter: Minter, start: Any
) -> None:
    run = start(minter.payload(minter.spec(formula)))
    outcome = run.finish()
    assert (outcome.verdict, outcome.exit_code, outcome.signal) == (Verdict.FAILED, code, number)
    assert run.process.returncode == code


def test_an_agent_gets_formula_and_context_on_its_input(minter: Minter, start: Any) -> None:
    text = 'prompt = "do"\n'
    spec = minter.spec(
        text, kind=FormulaKind.AGENT, agent_argv=("cat", "-u"), context="the context"
    )
    run = start(minter.payload(spec))
    assert run.finish().verdict is Verdict.SUCCEEDED
    assert run.log() == text + "\n---- context ----\nthe context"


def test_an_agent_without_a_command(minter: Minter, start: Any) -> None:
    outcome = start(minter.payload(minter.spec("x = 1\n", kind=FormulaKind.AGENT))).finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert "[agent] command" in outcome.error


@pytest.mark.parametrize("program", ["no-such-agent", "/no/such/agent"])
def test_an_agent_that_is_not_there(program: str, minter: Minter, start: Any) -> None:
    spec = minter.spec("x = 1\n", kind=FormulaKind.AGENT, agent_argv=(program, "-p"))
    run = start(minter.payload(spec))
    outcome = run.finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert program in outcome.error
    assert not (run.spool / "started").exists()


def test_timeout_with_a_chance_to_end_well(minter: Minter, start: Any) -> None:
    formula = "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    run = start(minter.payload(minter.spec(formula, timeout_s=1, kill_grace_s=20)))
    outcome = run.finish()
    assert (outcome.verdict, outcome.exit_code) == (Verdict.TIMED_OUT, 124)
    assert run.log() == "ready\ntidied\n"
    assert "timeout of 1 s" in outcome.error


def test_timeout_of_one_that_will_not_end(minter: Minter, start: Any) -> None:
    formula = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    outcome = start(minter.payload(minter.spec(formula, timeout_s=1, kill_grace_s=0.2))).finish()
    assert (outcome.verdict, outcome.signal) == (Verdict.TIMED_OUT, 9)


DAEMON = "setsid bash -c 'trap \"\" TERM; echo $$; exec >&- 2>&-; while :; do sleep 0.05; done' & "


@pytest.mark.parametrize("after", ["while [ ! -s {0} ]; do sleep 0.02; done; exit 3", "sleep 60"])
def test_daemons_do_not_outlive_the_run(
    after: str, minter: Minter, start: Any, tmp_path: Path
) -> None:
    """Processes in sessions of their own, deaf to TERM, their streams closed."""
    noted = tmp_path / "pid"
    spec = minter.spec(
        f"(({DAEMON}) | tee {noted}) & {after.format(noted)}", timeout_s=2, kill_grace_s=0.2
    )
    outcome = start(minter.payload(spec)).finish()
    assert outcome.verdict is (Verdict.FAILED if "exit 3" in after else Verdict.TIMED_OUT)
    assert not alive(int(noted.read_text()))


def test_term_cancels(minter: Minter, start: Any) -> None:
    run = start(minter.payload(minter.spec("echo ready; sleep 60")))
    run.wait_for_log("ready")
    (run.spool / "cancel").write_text("ada changed her mind")
    run.process.send_signal(signal.SIGTERM)
    outcome = run.finish()
    assert (outcome.verdict, outcome.exit_code) == (Verdict.CANCELLED, 130)
    assert outcome.error == "ada changed her mind"
    assert outcome.formula_started


def test_a_cancellation_from_before_the_start(minter: Minter, tmp_path: Path) -> None:
    run = Run(tmp_path)
    (run.spool / "cancel").write_text("too late")
    run.feed(minter.payload(minter.spec(f"touch {tmp_path}/ran")))
    outcome = run.finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.CANCELLED, False)
    assert not (run.spool / "started").exists()
    assert not (tmp_path / "ran").exists()


def test_term_while_vault_is_silent(minter: Minter, start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addr = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = start(minter.payload(minter.spec("true", vault_addr=addr)))
        silent.accept()
        run.process.send_signal(signal.SIGTERM)
        assert run.finish().verdict is Verdict.CANCELLED


def test_no_token_in_the_spool_or_the_arguments(minter: Minter, start: Any) -> None:
    minter.put("TOKEN", SECRET)
    spec = minter.spec("echo ready; sleep 60", secrets=("TOKEN",))
    wrapped: WrappedGrant = minter.mint("TOKEN")
    run = start(encode_payload(spec, wrapped))
    run.wait_for_log("ready")
    planted = [wrapped.token.encode(), SECRET.encode()]
    found = [p for p in run.spool.rglob("*") if p.is_file() for s in planted if s in p.read_bytes()]
    assert found == []
    line = Path(f"/proc/{run.process.pid}/cmdline").read_bytes()
    assert not any(s in line for s in planted)
    run.process.send_signal(signal.SIGTERM)
    run.finish()
