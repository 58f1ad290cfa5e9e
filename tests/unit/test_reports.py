"""Reports of results: none is lost when the process dies or the forge is down, and none holds up
anything for longer than one attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dispatcher.errors import Denied, Dependency, DisintoError, Unavailable
from dispatcher.forge import ForgeRefused
from dispatcher.gate import Decision, Question
from dispatcher.gate.ended import Ended
from dispatcher.gate.report import Queued
from dispatcher.loop.effects.acting import LeadLost
from dispatcher.loop.executor import Executor
from dispatcher.loop.outbox import Outbox
from dispatcher.loop.reports import BATCH, GIVE_UP_S, Reports
from dispatcher.model.result import Result
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Tree
from tests.support.stage import Follower

DOWN = Unavailable(Dependency.FORGE, "no answer")


@dataclass
class FakeReporter:
    told: list[str] = field(default_factory=list)
    attempts: int = 0
    error: Exception | None = None
    forgotten: int = 0

    def report(self, question: Question, decision: Decision) -> None:
        raise AssertionError

    def leads_from(self, commit: str) -> None:
        raise AssertionError

    def report_queued(self, queued: Sequence[Queued]) -> None:
        raise AssertionError

    def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
        self.attempts += 1
        if isinstance(self.error, DisintoError):
            return {each.result.id: self.error for each in ended}
        if self.error is not None:
            raise self.error
        self.told += [each.result.id for each in ended]
        return {}

    def forget(self) -> None:
        self.forgotten += 1


class PublishedTree(Tree):
    """Every id has a result."""

    def result_path(self, action_id: str) -> str | None:
        return f"vault/actions/{action_id}.result.json"


class Dispatcher:
    """One life of the process, over what outlives it."""

    def __init__(self, folder: Path) -> None:
        self.reporter, self.tracker = FakeReporter(), Follower()
        self.folder = folder
        self.now = 1_000_000.0
        self.down: set[Dependency] = set()
        self.tree: Tree = PublishedTree()
        self.begin()

    def begin(self) -> None:
        self.executor = Executor(1)
        self.reports = Reports(
            self.reporter,
            Outbox(self.folder / "reports"),
            executor=self.executor,
            resting=lambda: self.down,
            tracker=self.tracker,
            wall=lambda: self.now,
            clock=lambda: self.now,
        )
        self.reports.open()

    def round(self) -> None:
        self.reports.work(self.tree)
        while self.reports:
            self.executor.attend(10)

    @property
    def kept(self) -> list[str]:
        return sorted(file.name for file in (self.folder / "reports").glob("*"))

    def events(self, what: str) -> int:
        return sum(event == what for event, _ in self.tracker.events)


@pytest.fixture
def dispatcher(tmp_path: Path) -> Dispatcher:
    return Dispatcher(tmp_path)


def result(action_id: str = "x") -> Result:
    return Result(id=action_id, exit_code=3, timestamp="2026-01-01", verdict=Verdict.FAILED)


def claim(action_id: str = "x") -> Claim:
    return Claim(
        key=RunKey(action_id=action_id, blob="b" * 40),
        phase=Phase.ENDED,
        commit="c" * 40,
        result=result(action_id).to_json(),
    )


def test_a_claim_is_held_for_one_attempt(dispatcher: Dispatcher) -> None:
    assert dispatcher.reports.hold(claim(), dispatcher.tree)
    assert dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    assert not dispatcher.reports.hold(claim(), dispatcher.tree)
    assert dispatcher.reporter.told == ["x"]
    assert dispatcher.kept == []


def test_a_claim_that_is_held_has_the_loop_go_round_at_once(dispatcher: Dispatcher) -> None:
    assert dispatcher.reports.next_in() is None
    dispatcher.reports.hold(claim(), dispatcher.tree)
    assert dispatcher.reports.next_in() == 0
    dispatcher.round()
    assert dispatcher.reports.next_in() is None


def test_a_crash_before_the_attempt_loses_nothing_though_the_claim_is_gone(
    dispatcher: Dispatcher,
) -> None:
    dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.begin()
    dispatcher.round()
    assert dispatcher.reporter.told == ["x"]
    dispatcher.begin()
    dispatcher.round()
    assert dispatcher.reporter.told == ["x"]


@pytest.mark.parametrize("error", [DOWN, Denied(Dependency.FORGE, "no"), RuntimeError("a defect")])
def test_a_forge_that_fails_holds_no_claim(dispatcher: Dispatcher, error: Exception) -> None:
    dispatcher.reporter.error = error
    assert dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    assert not dispatcher.reports.hold(claim(), dispatcher.tree)


def test_a_forge_that_is_known_to_be_down_holds_no_claim(dispatcher: Dispatcher) -> None:
    dispatcher.down = {Dependency.FORGE}
    assert not dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    assert dispatcher.reporter.attempts == 0
    dispatcher.begin()
    dispatcher.down = set()
    dispatcher.round()
    assert dispatcher.reporter.told == ["x"]


def test_a_forge_that_is_down_for_hours_is_told_when_it_is_back(dispatcher: Dispatcher) -> None:
    dispatcher.reporter.error = DOWN
    dispatcher.reports.hold(claim(), dispatcher.tree)
    for _ in range(3_600):
        dispatcher.round()
        dispatcher.now += 1
    assert dispatcher.reporter.attempts < 25
    assert dispatcher.events("report_failed") == 1
    dispatcher.reporter.error = None
    dispatcher.now += 600
    dispatcher.round()
    assert dispatcher.reporter.told == ["x"]
    assert dispatcher.reports.next_in() is None


def test_a_day_is_the_end(dispatcher: Dispatcher) -> None:
    dispatcher.reporter.error = DOWN
    dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    dispatcher.now += GIVE_UP_S + 1
    dispatcher.reporter.error = None
    dispatcher.round()
    assert dispatcher.reporter.told == []
    assert dispatcher.kept == []
    assert dispatcher.events("report_given_up") == 1


def test_what_the_forge_rejects_is_not_tried_again(dispatcher: Dispatcher) -> None:
    dispatcher.reporter.error = ForgeRefused("it is gone", status=422)
    dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    dispatcher.now += 600
    dispatcher.round()
    assert dispatcher.reporter.attempts == 1
    assert dispatcher.kept == []
    assert dispatcher.events("report_given_up") == 1


def test_a_rejection_is_reported_when_its_result_is_published(dispatcher: Dispatcher) -> None:
    dispatcher.reports.expect(result("bad"))
    dispatcher.round()
    assert dispatcher.reporter.told == []
    dispatcher.reports.published(["bad"])
    dispatcher.round()
    assert dispatcher.reporter.told == ["bad"]


def test_a_rejection_survives_a_crash_and_waits_for_its_result(dispatcher: Dispatcher) -> None:
    dispatcher.tree = Tree()
    dispatcher.reports.expect(result("bad"))
    dispatcher.begin()
    dispatcher.round()
    assert dispatcher.reporter.told == []
    dispatcher.tree = PublishedTree()
    dispatcher.round()
    assert dispatcher.reporter.told == ["bad"]


def test_many_are_reported_in_batches(dispatcher: Dispatcher) -> None:
    for n in range(2 * BATCH + 1):
        dispatcher.reports.hold(claim(f"r{n}"), dispatcher.tree)
    for _ in range(3):
        dispatcher.round()
    assert len(dispatcher.reporter.told) == 2 * BATCH + 1
    assert dispatcher.reporter.attempts == 3


def test_nothing_is_held_that_cannot_be_reported(dispatcher: Dispatcher) -> None:
    assert not dispatcher.reports.hold(claim(), Tree()), "no result of this id can be linked to"
    assert not dispatcher.reports.hold(replace(claim(), result="{}"), dispatcher.tree)
    assert not dispatcher.reports.hold(replace(claim(), result=""), dispatcher.tree)


def test_what_lies_in_the_outbox_and_is_no_report_is_removed(dispatcher: Dispatcher) -> None:
    (dispatcher.folder / "reports").mkdir()
    (dispatcher.folder / "reports" / "x.json").write_text('{"since": 1}')
    (dispatcher.folder / "reports" / "y.new").write_text("half of")
    dispatcher.begin()
    dispatcher.round()
    assert dispatcher.kept == []
    assert dispatcher.reporter.attempts == 0


def test_a_disk_that_is_full_costs_no_report_as_long_as_the_process_lives(
    dispatcher: Dispatcher,
) -> None:
    (dispatcher.folder / "reports").write_text("in the way")
    dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    assert dispatcher.reporter.told == ["x"]
    assert dispatcher.events("trouble") == 1


def test_what_an_earlier_dispatcher_may_not_have_reported_is_reported_once(
    dispatcher: Dispatcher,
) -> None:
    assert not dispatcher.reports.knows("x")
    for _ in range(2):
        dispatcher.reports.recall(result(), ended_at=dispatcher.now - 60)
        assert dispatcher.reports.next_in() in {0.0, None}
        assert dispatcher.reports.knows("x")
        assert dispatcher.kept == [], "git has it"
        dispatcher.round()
    assert dispatcher.reporter.told == ["x"]


def test_what_is_recalled_is_given_up_a_day_after_its_end(dispatcher: Dispatcher) -> None:
    dispatcher.reporter.error = DOWN
    dispatcher.reports.recall(result(), ended_at=dispatcher.now - GIVE_UP_S / 2)
    dispatcher.round()
    dispatcher.now += GIVE_UP_S / 2 + 1
    dispatcher.reporter.error = None
    dispatcher.round()
    assert dispatcher.reporter.told == []


def test_what_is_recalled_does_not_hold_a_claim_twice(dispatcher: Dispatcher) -> None:
    dispatcher.reports.recall(result(), ended_at=dispatcher.now)
    dispatcher.round()
    dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    assert dispatcher.reporter.told == ["x"]


def test_who_lost_the_lead_gives_nothing_up(dispatcher: Dispatcher) -> None:
    dispatcher.reporter.error = LeadLost("this dispatcher is no longer the leader")
    dispatcher.reports.hold(claim(), dispatcher.tree)
    dispatcher.round()
    assert dispatcher.events("report_given_up") == dispatcher.events("report_failed") == 0
    assert dispatcher.kept == ["x.json"]
