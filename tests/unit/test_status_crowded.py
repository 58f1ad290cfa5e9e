"""What ``disinto status`` shows on a terminal while hundreds of runs of one formula are open."""

from __future__ import annotations

import click

from dispatcher.cli.screen import Screen
from dispatcher.cli.status_screen import ALIKE, overview_lines
from dispatcher.status.overview import OpenAction, Overview, State


def crowd() -> Overview:
    sidecars = [
        OpenAction(id=f"triage-app-{n}-1", state=State.RUNNING, formula="triage")
        for n in range(1, 201)
    ]
    mine = OpenAction(id="deploy-website", state=State.RUNNING, formula="deploy")
    waits = OpenAction(id="triage-app-900-1", state=State.WAITING, formula="triage", reason="r")
    return Overview(at=1.0, open=(*sidecars, mine, waits), open_actions=202)


TERMINAL = Screen(terminal=True, columns=80)


def test_a_person_sees_what_is_different() -> None:
    lines = [click.unstyle(line) for line in overview_lines(crowd(), [], TERMINAL)]
    assert len([line for line in lines if line.startswith("triage-app-")]) == ALIKE + 1
    assert any(line.startswith("deploy-website") for line in lines)
    assert any(line.startswith("triage-app-900-1") for line in lines)
    hidden = 200 - ALIKE
    assert (
        f"… and {hidden} more running with formula triage: 'disinto status --formula triage'"
        in lines
    )


def test_who_asks_for_them_sees_all() -> None:
    lines = overview_lines(crowd(), [], TERMINAL, chosen=True)
    assert len([line for line in lines if line.startswith("triage-app-")]) == 201
    assert not any("more running" in line for line in lines)


def test_a_pipe_gets_all() -> None:
    lines = overview_lines(crowd(), [], Screen(terminal=False, columns=80))
    assert len([line for line in lines if line.startswith("triage-app-")]) == 201
