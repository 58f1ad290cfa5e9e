"""``disinto sidecar dispatch``: what it asks ``serve`` for, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher import assembly
from dispatcher.cli.edge import run
from dispatcher.errors import Exit
from dispatcher.model.verdicts import Verdict
from dispatcher.operate import sidecars
from dispatcher.settings import Role, Settings
from dispatcher.sidecar.requests import requests_in
from dispatcher.sidecar.runs import RunIndex
from tests.support.issue_place import reads_of
from tests.support.issue_stage import IssueStage

By = Callable[..., int]


@pytest.fixture
def stage(tmp_path: Path) -> IssueStage:
    return IssueStage(tmp_path)


@pytest.fixture
def dispatch(stage: IssueStage, monkeypatch: pytest.MonkeyPatch) -> By:
    """The command on the stage, whose git and time it has."""
    settings = Settings(state_dir=stage.state_dir)
    components: Any = SimpleNamespace(settings=settings)

    def known(_components: object, _view: object) -> tuple[object, ...]:
        look = stage.seen()
        return stage.sidecars, look, RunIndex().read(look, stage.sidecars)

    monkeypatch.setattr(sidecars, "_known", known)
    monkeypatch.setattr(assembly, "open_settings", lambda *_a, **_k: settings)
    monkeypatch.setattr(assembly, "build_components", lambda *_a, **_k: components)
    monkeypatch.setattr(assembly, "build_view", lambda *_a: None)
    monkeypatch.setattr(
        assembly, "open_issues", lambda *_a: lambda name: reads_of(stage.forge, name, "own")
    )
    return lambda *words: run(["sidecar", "dispatch", *map(str, words)])


def test_a_run_that_the_rule_would_start_too(
    stage: IssueStage, dispatch: By, capsys: pytest.CaptureFixture[str]
) -> None:
    number = stage.issue("bug")
    assert dispatch("app", number, "triage") == Exit.OK
    said = capsys.readouterr()
    assert said.out == "requested triage-app-1-1\n"
    assert said.err == "nothing will happen until 'disinto serve' runs on this host\n"
    # the action is the one that the rule would write, so that it needs the same approval
    assert dispatch("app", number, "triage") == Exit.OK  # asked for twice, it is one request
    (by_hand,) = stage.passes().actions
    for path in requests_in(stage.state_dir):
        path.unlink()
    assert stage.passes().actions == (by_hand,)


def test_a_run_that_the_rule_would_not_start(
    stage: IssueStage, dispatch: By, capsys: pytest.CaptureFixture[str]
) -> None:
    number = stage.issue("other")
    assert dispatch("app", number, "triage") == Exit.OK
    assert 'by itself, rule triage would not start it: no label "bug"' in capsys.readouterr().err
    assert dispatch("app", number, "triage", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == {
        "action": "triage-app-1-1", "despite": 'no label "bug"', "served": False,
    }  # fmt: skip
    stage.label(number, "bug")
    stage.write()
    stage.end("triage-app-1-1", Verdict.FAILED)
    assert dispatch("app", number, "triage") == Exit.OK
    assert "cool-down of" in capsys.readouterr().err


def test_a_run_that_is_open(
    stage: IssueStage, dispatch: By, capsys: pytest.CaptureFixture[str]
) -> None:
    number = stage.issue("bug")
    stage.write()
    assert dispatch("app", number, "triage") == Exit.TEMPFAIL
    said = capsys.readouterr().err
    assert "triage-app-1-1 is open" in said
    assert "disinto cancel" in said
    assert requests_in(stage.state_dir) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ap", 1, "triage"), 'there is no project "ap"\n  Did you mean "app"?'),
        (("xyz", 1, "triage"), "Projects: app"),
        (("app", 1, "triag"), 'project app has no rule "triag"\n  Did you mean "triage"?'),
        (("app", 1, "xyz"), "Its rules: triage, verify"),
        (("app", 7, "triage"), "own/app has no open issue #7"),
        (("app", 2, "triage"), "own/app has no open issue #2"),  # closed
    ],
)
def test_what_there_is_not(
    stage: IssueStage,
    dispatch: By,
    capsys: pytest.CaptureFixture[str],
    words: tuple[object, ...],
    said: str,
) -> None:
    for _ in range(2):
        stage.issue("bug")
    stage.edit(2, state="closed")
    assert dispatch(*words) == Exit.NOINPUT
    assert said in capsys.readouterr().err
    assert requests_in(stage.state_dir) == {}


def test_a_forge_that_is_down(
    stage: IssueStage, dispatch: By, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.issue("bug")
    stage.forge.down = True
    assert dispatch("app", 1, "triage") == Exit.UNAVAILABLE
    assert "503" in capsys.readouterr().err


def test_an_author_client(
    dispatch: By, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    author = Settings(role=Role.AUTHOR)
    monkeypatch.setattr(assembly, "open_settings", lambda *_a, **_k: author)
    assert dispatch("app", 1, "triage") == Exit.CONFIG
    assert "dispatcher" in capsys.readouterr().err
