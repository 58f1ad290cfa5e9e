"""What ``disinto status`` shows on a terminal while hundreds of runs of one formula are open."""

from __future__ import annotations

import pytest

from dispatcher.cli import console
from dispatcher.cli.status_screen import ALIKE, show_overview
from dispatcher.status.overview import OpenAction, Overview, State


def crowd() -> Overview:
    sidecars = [
        OpenAction(id=f"triage-app-{n}-1", state=State.RUNNING, formula="triage")
        for n in range(1, 201)
    ]
    mine = OpenAction(id="deploy-website", state=State.RUNNING, formula="deploy")
    waits = OpenAction(id="triage-app-900-1", state=State.WAITING, formula="triage", reason="r")
    return Overview(at=1.0, open=(*sidecars, mine, waits), open_actions=202)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "interactive", lambda *_: True)


@pytest.mark.usefixtures("terminal")
def test_a_person_sees_what_is_different(capsys: pytest.CaptureFixture[str]) -> None:
    show_overview(crowd(), [])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("triage-app-")]) == ALIKE + 1
    assert any(line.startswith("deploy-website") for line in lines)
    assert any(line.startswith("triage-app-900-1") for line in lines)
    hidden = 200 - ALIKE
    assert (
        f"… and {hidden} more running with formula triage: 'disinto status --formula triage'"
        in lines
    )


@pytest.mark.usefixtures("terminal")
def test_who_asks_for_them_sees_all(capsys: pytest.CaptureFixture[str]) -> None:
    show_overview(crowd(), [], chosen=True)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("triage-app-")]) == 201
    assert not any("more running" in line for line in lines)


def test_a_pipe_gets_all(capsys: pytest.CaptureFixture[str]) -> None:
    show_overview(crowd(), [])
    assert capsys.readouterr().out.count("triage-app-") == 201
