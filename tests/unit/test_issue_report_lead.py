"""Two dispatchers on the same issues: who leads reports, and nobody else."""

from __future__ import annotations

import pytest

from dispatcher.decide.sidecars import Decision, Why
from dispatcher.errors import TemporaryError
from dispatcher.model.verdicts import Verdict
from tests.fakes.issue_board import IssueScene

USED_UP = Decision(
    project="app",
    issue=7,
    rule="reproduce",
    why=Why.ATTEMPTS,
    reason="5 runs used up (attempts)",
)


class Lost(TemporaryError):
    """The lead is lost."""


class Lead:
    """The lead of one dispatcher, which is lost before a certain check."""

    def __init__(self, *, checks: int) -> None:
        self.left = checks

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Lost("this dispatcher is no longer the leader")


@pytest.fixture
def scene() -> IssueScene:
    return IssueScene()


def test_a_budget_is_written_once_however_often_the_leader_changes(scene: IssueScene) -> None:
    first, second = scene.reporter(led=None), scene.reporter(led=None)
    for reporter, other in ((first, second), (second, first), (first, second)):
        reporter.lead(lambda: None)
        assert reporter.report_budgets([USED_UP]) == {}
        assert other.report_budgets([USED_UP]) == {}
        reporter.rest()
    assert scene.board.writes == ["add"]


def test_who_does_not_lead_writes_no_budget(scene: IssueScene) -> None:
    reporter = scene.reporter(led=None)
    assert reporter.report_budgets([USED_UP]) == {}
    reporter.lead(lambda: None)
    reporter.rest()
    assert reporter.report_budgets([USED_UP]) == {}
    assert scene.board.calls == 0
    reporter.lead(lambda: None)
    assert reporter.report_budgets([USED_UP]) == {}
    assert scene.board.writes == ["add"]


def test_who_loses_the_lead_meanwhile_writes_nothing_more(scene: IssueScene) -> None:
    outputs = {"outcome": "reproduced", "labels": {"add": ["in-triage"]}}
    ended = scene.actions.ended(outputs=outputs)
    writes = []
    for checks in range(3):
        board = IssueScene(actions=scene.actions)
        reporter = board.reporter(led=Lead(checks=checks))
        failures = reporter.report_ended([ended])
        assert [type(error) for error in failures.values()] == [Lost] * (checks < 2)
        writes.append(board.board.writes)
    assert writes == [[], ["+in-triage"], ["+in-triage", "add"]]


def test_who_loses_the_lead_while_a_budget_is_written(scene: IssueScene) -> None:
    scene.reporter().report_ended([scene.actions.ended(verdict=Verdict.FAILED)])
    reporter = scene.reporter(led=Lead(checks=0))
    assert [type(e) for e in reporter.report_budgets([USED_UP]).values()] == [Lost]
    assert scene.board.writes == ["add"]
