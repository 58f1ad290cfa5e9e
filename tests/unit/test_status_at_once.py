"""``status`` and ``logs`` beside a living ``serve`` with the same settings: it answers, or what it has
written down does.

Fast means here that nothing is loaded which takes long to load; ``bench/startup.py`` measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from dispatcher.assembly import build_components, open_origin, open_repo, open_settings
from dispatcher.cli.edge import run
from dispatcher.cli.serve import for_commands
from dispatcher.decide.steps import Plan, Wait
from dispatcher.errors import Dependency, Exit
from dispatcher.model.health import Outage, WaitingFor
from dispatcher.model.result import Result, ResultEngine, ResultFormula
from dispatcher.model.run import Claim, FormulaKind, FormulaRef, Phase, RunKey, Tier
from dispatcher.model.verdicts import Verdict
from dispatcher.status import last_results
from dispatcher.status.action_record import of_result
from dispatcher.status.asking import NAME
from dispatcher.status.last_results import LastResults
from dispatcher.status.overview import Overview
from dispatcher.status.snapshot import Snapshots
from dispatcher.status.standby import StandbyFile
from dispatcher.status.tracker import Status
from tests.support.quick_calls import NOT_FOR_AN_ANSWER, SLOW_TO_LOAD, called, on_terminal, program


def result(name: str, second: int) -> Result:
    return Result(
        id=name,
        exit_code=3,
        timestamp=f"2026-03-01T12:00:{second:02}.000Z",
        finished_at="2026-03-01T11:59:59.000Z",
        duration_s=1.25,
        logs="some output\n",
        verdict=Verdict.FAILED,
        error="it ended with 3\nand more",
        approved_by=("ada", "bob"),
        tier=Tier.LOW,
        commit="c" * 40,
        blob="b" * 40,
        formula=ResultFormula(name="hello"),
        engine=ResultEngine(kind="local", node="here"),
        outputs={"url": "http://example.org"},
    )


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new installation, as the current directory, with twelve results in its ops repo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith(("DISINTO_", "VAULT_", "NOMAD_"))]:
        monkeypatch.delenv(name)
    assert run(["init", "new"]) == Exit.OK
    monkeypatch.chdir(tmp_path / "new")
    subprocess.run(["git", "clone", "-q", "ops.git", "work"], check=True)
    actions = Path("work", "vault", "actions")
    for number in range(12):
        (actions / f"a{number}.toml").write_text("x")
        (actions / f"a{number}.result.json").write_text(result(f"a{number}", number).to_json())
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (("add", "-A"), ("commit", "-qm", "m"), ("push", "-q")):
        subprocess.run(["git", "-C", "work", *identity, *words], check=True)
    return tmp_path / "new"


@contextmanager
def serving(**more: Any) -> Iterator[Overview]:
    """A process that leads, has written its status file and answers, which is this one."""
    settings = open_settings(None)
    components = build_components(settings)
    head = components.repo.fetch().commit
    listed = subprocess.run(
        ["git", "--git-dir=ops.git", "ls-tree", "-r", "main"], capture_output=True, check=True
    ).stdout.decode()
    newest = tuple(x.split()[2] for x in listed.splitlines() if x.endswith(".result.json"))
    claim = Claim(
        key=RunKey(action_id="b1", blob="b" * 40),
        phase=Phase.SUBMITTED,
        commit=head,
        formula=FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="b" * 40, sha256="0" * 64),
        tier=Tier.LOW,
        claimed_at=5.0,
        submitted_at=5.0,
    )
    waits = Wait(
        action_id="b2", reason=f"a reason {'that is long ' * 9}", waiting_for=WaitingFor.APPROVAL
    )
    status = Status(
        leader="here:1",
        head=head,
        plan=Plan(steps=(), waits=(waits,)),
        claims={"b1": claim},
        outages={Dependency.VAULT: Outage(since=5.0, error="it is away", tries=1, again_at=9.0)},
        round_at=time.time(),
        round_s=0.1,
        open_actions=2,
        finished_actions=12,
        newest=newest,
        **more,
    )
    snapshots = Snapshots(Dependency)
    trackers = for_commands(components, open_origin(None), snapshots, lambda *_: None)
    with ExitStack() as stack:
        for tracker in trackers:
            stack.enter_context(tracker)
        for tracker in (snapshots, *trackers):
            tracker.status(status)
        deadline = time.monotonic() + 20
        while not (settings.state_dir / "status.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield snapshots.overview()


@contextmanager
def nobody_answers() -> Iterator[None]:
    """As beside a ``serve`` whose socket cannot be reached, such as one in another container."""
    socket = Path(".disinto", NAME)
    there = socket.rename(socket.with_name("away"))
    yield
    there.rename(socket)


def status(*words: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """``disinto status``; see ``called``."""
    return called("status", *words)


@pytest.mark.parametrize("words", [[], ["-n", "3"], ["-n", "0"], ["--json"]])
def test_all_ways_show_the_same_and_two_load_nothing_slow(
    clone: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving():
        answered, slow = called("status", *words, slow=NOT_FOR_AN_ANSWER)
        assert answered.returncode == Exit.OK, answered.stderr
        assert not slow
        with nobody_answers():
            written, slow = status(*words)
        assert written.returncode == Exit.OK, written.stderr
        assert not slow
        monkeypatch.setenv("DISINTO_LOG_LEVEL", "info")  # the default, and not what serve was given
        thorough, slow = status(*words)
        assert "pydantic" in slow
    if "--json" in words:
        assert json.loads(answered.stdout) == json.loads(thorough.stdout)
        assert answered.stdout == written.stdout
        assert len(json.loads(answered.stdout)["results"]) == 10
        return
    texts = [done.stdout for done in (answered, written, thorough)]
    assert "it is away" in texts[0]
    assert len({text.partition("last round")[0] for text in texts}) == 1
    assert lines(texts[0]) == lines(texts[1]) == lines(texts[2])


@pytest.mark.parametrize(
    ("before", "environ"),
    [([], {}), (["--no-color"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})],
)
def test_a_terminal_shows_the_same(clone: Path, before: list[str], environ: dict[str, str]) -> None:
    words = (*before, "status")
    with serving():
        answered, slow = on_terminal(*words, columns=66, env=environ, slow=NOT_FOR_AN_ANSWER)
        assert not slow
        with nobody_answers():
            written, slow = on_terminal(*words, columns=66, env=environ, slow=SLOW_TO_LOAD)
    assert lines(answered) == lines(written)
    assert ("\x1b[31m" in answered) == (not before and not environ)
    folded = [line for line in lines(click.unstyle(answered)) if "that is long" in line]
    assert (len(folded) > 1) == ("TERM" not in environ)


def lines(text: str) -> list[str]:
    """All but the first, which names an age in seconds."""
    return text.splitlines()[1:]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["-n", "11"], "a11"), (["--formula", "hello"], "a11")],
    ids=["more", "of a formula"],
)
def test_more_than_is_written_down_is_read(clone: Path, words: list[str], wanted: str) -> None:
    with serving():
        done, slow = status(*words)
    assert done.returncode == Exit.OK, done.stderr
    assert "pydantic" in slow
    assert wanted in done.stdout


def test_a_setting_that_is_misspelt_now_is_reported(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving():
        monkeypatch.setenv("DISINTO_LOGLEVEL", "info")
        in_variable, _ = status()
        monkeypatch.delenv("DISINTO_LOGLEVEL")
        file = Path("disinto.toml")
        file.write_text("[limit]\n" + file.read_text())
        in_file, _ = status()
    assert in_variable.returncode == in_file.returncode == Exit.CONFIG
    assert "Did you mean DISINTO_LOG_LEVEL?" in in_variable.stderr
    assert "limits" in in_file.stderr


def test_a_policy_that_serve_has_not_taken_up_is_told(clone: Path) -> None:
    with serving(rules={"[policy] file": "0" * 64}) as overview:
        done, slow = called("status", slow=NOT_FOR_AN_ANSWER)
    assert not slow
    assert overview.leader in done.stdout
    assert "an older version of [policy] file" in done.stdout


def test_an_answer_that_cannot_be_printed_is_reported(clone: Path) -> None:
    with serving(), Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program(NOT_FOR_AN_ANSWER), "status"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )  # fmt: skip
    assert done.returncode == Exit.IOERR
    assert done.stderr.split("\n") == ["disinto: error: No space left on device", "", "[]", ""]


def test_without_serve_it_is_worked_out(clone: Path) -> None:
    with serving():
        pass
    done, slow = status()
    assert done.returncode == Exit.OK, done.stderr
    assert "pydantic" in slow
    assert "no dispatcher runs here" in done.stdout


def test_one_that_waits_for_the_lead_is_shown_with_who_has_it(clone: Path) -> None:
    state_dir = open_settings(None).state_dir
    state_dir.mkdir()
    with StandbyFile(state_dir) as file:
        file.event("waiting_for_lead", holder="beta:7")
        shown, _ = status()
        plain, _ = status("--json")
    assert f":{os.getpid()} runs, and waits for the lead, which beta:7 has" in shown.stdout
    assert "no dispatcher runs here" not in shown.stdout
    assert json.loads(plain.stdout)["standby"]["holder"] == "beta:7"


def test_files_that_are_no_results_or_too_large_are_not_written_down(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as overview:
        repo = open_repo(open_settings(None), {})
    assert overview.newest is not None
    results = LastResults(repo)
    readme = subprocess.run(
        ["git", "--git-dir=ops.git", "rev-parse", "main:vault/actions/a1.toml"],
        capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    found = results.of((*overview.newest, readme))
    assert found is not None
    assert [each.id for each in found] == [f"a{number}" for number in range(11, 1, -1)]
    assert found[0] == of_result(result("a11", 11))
    assert results.of(None) is None
    assert LastResults(repo).of(("0" * 40,)) is None
    monkeypatch.setattr(last_results, "SIZE_LIMIT", 10)
    assert LastResults(repo).of(overview.newest) is None


@pytest.mark.parametrize("words", [[], ["--tail", "1"], ["--follow"]])
def test_both_ways_show_the_same_log_and_one_loads_nothing_slow(
    clone: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path(".disinto", "logs")
    with serving():
        kept.mkdir(exist_ok=True)
        (kept / f"a11.{'b' * 40}.stdout.log").write_text("one\ntwo\n")
        (kept / f"a11.{'b' * 40}.stderr.log").write_text("three\n")
        answered, slow = called("logs", "a11", *words, slow=NOT_FOR_AN_ANSWER)
        assert answered.returncode == Exit.OK, answered.stderr
        assert not slow
        monkeypatch.setenv("DISINTO_LOG_LEVEL", "info")
        thorough, slow = called("logs", "a11", *words)
        assert "pydantic" in slow
    assert answered.stdout.endswith("two\n")
    assert (answered.stdout, answered.stderr) == (thorough.stdout, thorough.stderr)


@pytest.mark.parametrize(
    ("action_id", "answered"),
    [("a11", True), ("a1", True), ("b1", False), ("../a11", False), ("nobody", False)],
)
def test_a_log_that_is_not_kept_is_looked_for_everywhere(
    clone: Path, action_id: str, *, answered: bool
) -> None:
    with serving():
        done, slow = called("logs", action_id)
    assert ("pydantic" not in slow) == ("from the result" in done.stderr) == answered
