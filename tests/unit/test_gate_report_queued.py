"""What a pull request's comment says of approved actions that wait for their lock: once, however
long the queue is and however often it moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dispatcher.decide.steps import Wait
from dispatcher.errors import Dependency, Unavailable
from dispatcher.gate import Answer, Decision, Question
from dispatcher.gate.report import Queued
from dispatcher.loop.answer_reports import AnswerReports
from dispatcher.loop.executor import Executor
from dispatcher.loop.outages import Outages
from dispatcher.loop.pollers import Pollers
from dispatcher.model.health import LockPlace, WaitingFor
from tests.fakes.board import FakeBoard, reporter_of
from tests.support.stage import Follower
from tests.unit.test_gate_report import APPROVED, REFUSED, WAITING, question
from tests.unit.test_reports import FakeReporter

HELD = LockPlace(name="web", holder="c", first="a", ahead=2)
NOTED = "| `x` | approved | approved by boss; at first it waited for lock web, held by c, with 2 before it |"


def queued(action_id: str = "x", decision: Decision = APPROVED, lock: LockPlace = HELD) -> Queued:
    return Queued(action_id=action_id, decision=decision, lock=lock)


def rows(board: FakeBoard) -> list[str]:
    return [line for line in board.said[1].body.splitlines() if line.startswith("| `")]


def commented() -> FakeBoard:
    """A comment is there: the action waited for its approval, and has it now."""
    board = FakeBoard()
    reporter = reporter_of(board)
    reporter.report(question(), WAITING)
    reporter.report(question(), APPROVED)
    board.writes.clear()
    return board


def test_the_row_of_an_approved_action_names_the_holder() -> None:
    board = commented()
    reporter_of(board).report_queued([queued()])
    assert rows(board) == [NOTED]
    assert board.writes == ["edit"]


def test_it_is_not_edited_again_when_the_queue_moves_or_the_gate_answers_the_same() -> None:
    board = commented()
    for holder in "cde":  # each time as after a restart
        reporter = reporter_of(board)
        reporter.report_queued([queued(lock=replace(HELD, holder=holder))])
        reporter.report(question(), APPROVED)
    assert rows(board) == [NOTED]
    assert board.writes == ["edit"]


def test_another_decision_takes_the_place_of_the_note() -> None:
    board = commented()
    reporter = reporter_of(board)
    reporter.report_queued([queued()])
    reporter.report(question(), REFUSED)
    assert rows(board) == ["| `x` | refused | it was changed |"]


def test_no_comment_is_created_for_it() -> None:
    board = FakeBoard()
    reporter_of(board).report_queued([queued()])
    reporter_of(board).report_queued([queued(decision=replace(APPROVED, request=0))])
    assert board.writes == []


def test_many_of_one_request_cost_one_edit() -> None:
    board = commented()
    reporter_of(board).report_queued([queued(f"x{n}") for n in range(60)])
    assert board.writes == ["edit"]
    assert len(rows(board)) == 61


def test_comments_that_are_turned_off_stay_so() -> None:
    board = commented()
    reporter_of(board, comment=False).report_queued([queued()])
    assert board.writes == []


# -- when it is reported -----------------------------------------------------------------------------


@dataclass
class Queue(FakeReporter):
    reported: list[list[str]] = field(default_factory=list)
    decided: list[tuple[str, Answer]] = field(default_factory=list)

    def report(self, question: Question, decision: Decision) -> None:
        self.decided.append((question.action_id, decision.answer))

    def report_queued(self, queued: Sequence[Queued]) -> None:
        self.reported.append([each.action_id for each in queued])
        if self.error is not None:
            raise self.error


class Round:
    """Rounds of a loop, with all that it reports."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reporter = Queue(error=error)
        self._executor = Executor(1)
        self._outages = Outages()
        pollers = Pollers(self._executor, self._outages, Follower())
        self._reports = AnswerReports(self.reporter, self._executor, self._outages, pollers)

    def __call__(self, decisions: dict[str, Decision], *, holder: str = "c") -> list[list[str]]:
        place = replace(HELD, holder=holder)
        waits = [
            Wait(action_id=i, waiting_for=WaitingFor.LOCK, reason="r", lock=place)
            for i in decisions
        ]
        self._reports.show_queued(waits, decisions.get)
        self._attend()
        reported, self.reporter.reported = self.reporter.reported, []
        return reported

    def decide(self, action_id: str, decision: Decision, *, busy: Sequence[str]) -> None:
        """A decision comes in, and a round follows."""
        self._reports.show(question(action_id), decision)
        self.end(busy=busy)

    def end(self, *, busy: Sequence[str]) -> None:
        """A round ends, with these steps under way; what it reports is reported."""
        self._reports.release(busy)
        reported: list[None] = []
        self._executor.question(lambda: None, reported.append, lambda _error: None)
        while not reported:  # the one thread for questions has done what was there before
            self._executor.attend(10)

    @property
    def under_way(self) -> bool:
        return bool(self._reports)

    def _attend(self) -> None:
        while self._reports:
            self._executor.attend(10)


def test_each_approval_is_reported_once_while_the_queue_moves() -> None:
    a_round = Round()
    approved = {f"x{n}": APPROVED for n in range(100)}
    assert a_round(approved) == [list(approved)]
    for number in range(100):
        assert a_round(approved, holder=f"y{number}") == []
    anew = replace(APPROVED, reason="approved by ann")
    assert a_round({**approved, "x7": anew, "y": APPROVED}) == [["x7", "y"]]
    assert a_round({}) == []
    assert a_round({"x7": anew}) == [["x7"]], "it waits once more"


def test_what_no_person_approved_or_no_request_has_is_not_reported() -> None:
    a_round = Round()
    plain = replace(APPROVED, request=0)
    assert a_round({"low": plain, "waiting": WAITING}) == []


def test_a_forge_that_is_down_is_left_alone() -> None:
    a_round = Round(Unavailable(Dependency.FORGE, "no answer"))
    assert a_round({"x": APPROVED}) == [["x"]]
    assert a_round({"x": APPROVED, "y": APPROVED}) == []


def test_an_approval_is_reported_once_its_run_is_on_its_way() -> None:
    a_round = Round()
    a_round.decide("x", APPROVED, busy=["x"])
    assert a_round.reporter.decided == []
    assert a_round.under_way, "a dispatcher that ends waits for it"
    a_round.end(busy=["x"])
    assert a_round.reporter.decided == []
    a_round.end(busy=["another"])
    assert a_round.reporter.decided == [("x", Answer.APPROVED)]
    a_round.end(busy=[])
    assert a_round.reporter.decided == [("x", Answer.APPROVED)]


def test_what_is_not_approved_is_reported_at_once_and_instead_of_an_approval() -> None:
    a_round = Round()
    a_round.decide("x", APPROVED, busy=["x"])
    a_round.decide("x", WAITING, busy=["x"])
    assert a_round.reporter.decided == [("x", Answer.WAITING)]
    a_round.end(busy=[])
    assert a_round.reporter.decided == [("x", Answer.WAITING)]
