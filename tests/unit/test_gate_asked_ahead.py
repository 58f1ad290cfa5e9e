"""Gate ``forgejo``: what was asked about a request when its merge was reported, before the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, TypeVar

import pytest

from dispatcher.errors import Dependency, DisintoError, Unavailable
from dispatcher.forge import TooLarge
from dispatcher.forge.records import Request, Review
from dispatcher.gate import Answer
from dispatcher.gate.asked_ahead import LASTS_S, MOST, AskedAhead
from dispatcher.gate.forgejo import FRESH_S, ForgejoGate
from tests.fakes.forge import MERGE, OTHER, TOPIC, FakeForge, FakeHistory, Scene, request, review

T = TypeVar("T")

ONCE = {"request": 1, "reviews": 1, "pushes": 1, "request_commits": 1, "permission": 1}
"""The calls of a decision."""


class AtOnce(Executor):
    """Does what is handed to it before it returns."""

    def submit(self, call: Callable[..., T], /, *args: Any, **named: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(call(*args, **named))
        except DisintoError as error:
            future.set_exception(error)
        return future


@dataclass
class Ahead(Scene):
    """A gate that is told of merges, beside a clone whose merge commit names the request."""

    history: FakeHistory = field(default_factory=lambda: FakeHistory(named=5))
    threads: Executor = field(default_factory=AtOnce)
    asked: AskedAhead = field(init=False)

    def __post_init__(self) -> None:
        self.asked = AskedAhead(
            self.forge, branch="main", permissions=True, clock=self.clock, threads=self.threads
        )
        self.gate = ForgejoGate(
            forge=self.forge,
            history=self.history,
            branch="main",
            approvers=self.approvers,
            ahead=self.asked,
            clock=self.clock,
            wall=self.wall,
            pause_s=0.001,
        )

    def reported(self, number: int = 5, commit: str = MERGE) -> None:
        """A webhook names a request and the commit that merged it; the forge has answered all calls."""
        self.asked.ask(number, commit)

    @property
    def counted(self) -> dict[str, int]:
        return {name: self.forge.calls.count(name) for name in dict.fromkeys(self.forge.calls)}


def test_answers_that_were_asked_for_ahead_serve_the_question() -> None:
    scene = Ahead()
    scene.reported()
    assert scene.counted == ONCE
    assert scene.ask().approved_by == ("boss",)
    assert scene.counted == ONCE, "and nothing is asked twice"
    other = "vault/actions/x2.toml"
    scene.forge.blobs[("b" * 40, other)] = "1" * 40
    assert scene.ask(path=other).answer is Answer.APPROVED
    assert scene.counted == ONCE, "they serve the request's other files"


@pytest.mark.parametrize(
    ("number", "commit"),
    [(6, MERGE), (5, OTHER), (5, MERGE)],
    ids=["another request", "another commit", "a commit that did not merge it"],
)
def test_what_the_webhook_names_is_not_believed(number: int, commit: str) -> None:
    elsewhere = [request(number, merge_commit_sha=OTHER) for number in (5, 6)]
    scene = Ahead(FakeForge(closed=[elsewhere]))
    scene.reported(number, commit)
    assert scene.ask().answer is Answer.REFUSED, "no request was merged by the commit of the branch"


@pytest.mark.parametrize(
    "changed",
    [{"merged": False, "state": "open"}, {"merge_commit_sha": OTHER}, {"base": "other"}],
)
def test_of_a_request_that_was_not_merged_yet_all_is_asked_again(changed: dict[str, str]) -> None:
    class Merging(FakeForge):
        def request(self, number: int) -> Request | None:
            found = super().request(number)
            if self.calls.count("request") > 1 or found is None:
                return found
            base = found.base.model_copy(update={"ref": changed.get("base", "main")})
            return found.model_copy(update={**changed, "base": base})

    scene = Ahead(Merging())
    scene.reported()
    assert scene.ask().answer is Answer.APPROVED
    assert scene.counted == dict.fromkeys(ONCE, 2)


def test_such_answers_can_only_approve() -> None:
    scene = Ahead(FakeForge(said=[]))
    scene.reported()
    scene.forge.said = [review()]
    assert scene.ask().answer is Answer.APPROVED, "it was approved meanwhile"
    assert scene.counted["reviews"] == 2


def test_what_is_refused_by_such_answers_is_refused_by_answers_of_now() -> None:
    class Large(FakeForge):
        def reviews(self, number: int) -> Sequence[Review]:
            super().reviews(number)
            if self.calls.count("reviews") == 1:
                raise TooLarge("too many")
            return self.said

    scene = Ahead(Large())
    scene.reported()
    assert scene.ask().answer is Answer.APPROVED
    assert scene.counted["reviews"] == 2


def test_a_withdrawn_approval_counts_for_no_longer_than_an_answer_lasts() -> None:
    scene = Ahead()
    scene.reported()
    scene.forge.said = []
    scene.clock.now += LASTS_S * 0.9
    assert scene.ask().answer is Answer.APPROVED
    scene.clock.now += LASTS_S * 0.2
    assert scene.ask().answer is Answer.WAITING, "its age counts from when it was asked for"
    assert LASTS_S <= FRESH_S


def test_old_answers_are_not_used() -> None:
    scene = Ahead()
    scene.reported()
    scene.forge.said = []
    scene.clock.now += LASTS_S
    assert scene.ask().answer is Answer.WAITING


@pytest.mark.parametrize("keep_approvals", [True, False])
def test_a_review_drops_them_and_a_push_does_not(*, keep_approvals: bool) -> None:
    scene = Ahead()
    scene.reported()
    scene.forge.said = []
    scene.gate.invalidate(keep_approvals=keep_approvals)
    expected = Answer.APPROVED if keep_approvals else Answer.WAITING
    assert scene.ask().answer is expected


def test_a_forge_that_was_down_is_asked_by_the_gate() -> None:
    scene = Ahead(FakeForge(fault=Unavailable(Dependency.FORGE, "no answer")))
    scene.reported()
    with pytest.raises(Unavailable):
        scene.ask()
    scene.forge.fault = None
    assert scene.ask().answer is Answer.APPROVED


def test_repeated_reports_cost_a_bounded_number_of_calls() -> None:
    scene = Ahead()
    for number in range(100):
        scene.reported(5)
        scene.reported(number + 10)
    assert scene.counted["request"] == MOST
    scene.clock.now += LASTS_S
    scene.reported(5)
    assert scene.counted["request"] == MOST + 1


def test_dropped_answers_count_among_those_that_were_asked_for() -> None:
    scene = Ahead()
    for _ in range(100):
        scene.reported()
        scene.gate.invalidate()
    assert scene.counted["request"] == MOST


class Never(Executor):
    """Of a forge that does not answer."""

    def __init__(self) -> None:
        self.handed = 0

    def submit(self, call: Callable[..., T], /, *args: Any, **named: Any) -> Future[T]:
        self.handed += 1
        return Future()


def test_a_forge_that_does_not_answer_is_not_asked_about_ever_more_requests() -> None:
    scene, threads = Ahead(), Never()
    asked = AskedAhead(
        scene.forge, branch="main", permissions=True, clock=scene.clock, threads=threads
    )
    for number in range(100):
        asked.ask(number, MERGE)
        asked.drop()
        scene.clock.now += LASTS_S
    assert threads.handed == MOST * 4


def test_the_gate_waits_for_no_answer_longer_than_it_lasts() -> None:
    scene = Ahead()
    asked = AskedAhead(
        scene.forge, branch="main", permissions=True, clock=scene.clock, threads=Never()
    )
    asked.ask(5, MERGE)
    scene.clock.now += LASTS_S * 0.99
    found: list[object] = []
    waiting = Thread(target=lambda: found.append(asked.of(5, MERGE)), daemon=True)
    waiting.start()
    waiting.join(20)
    assert found == [None]


class Some(AtOnce):
    """Of a forge that does not answer one kind of call."""

    def __init__(self, silent: str) -> None:
        self._silent = silent

    def submit(self, call: Callable[..., T], /, *args: Any, **named: Any) -> Future[T]:
        return Future() if call.__name__ == self._silent else super().submit(call, *args, **named)


@pytest.mark.parametrize("silent", ["reviews", "request_commits", "pushes", "permission"])
def test_of_a_call_that_is_not_answered_in_time_the_gate_asks_again(silent: str) -> None:
    scene = Ahead(threads=Some(silent))
    scene.reported()
    scene.clock.now += LASTS_S * 0.99
    found: list[object] = []
    waiting = Thread(target=lambda: found.append(scene.ask().answer), daemon=True)
    waiting.start()
    waiting.join(20)
    assert found == [Answer.APPROVED]
    assert scene.counted["reviews"] == (1 if silent == "reviews" else 2)


def test_of_a_question_that_failed_the_gate_asks_again() -> None:
    class Failing(FakeForge):
        def reviews(self, number: int) -> Sequence[Review]:
            super().reviews(number)
            if self.calls.count("reviews") == 1:
                raise Unavailable(Dependency.FORGE, "no answer")
            return self.said

    scene = Ahead(Failing())
    scene.reported()
    assert scene.ask().answer is Answer.APPROVED


def test_a_head_that_such_answers_name_and_do_not_approve_is_not_kept() -> None:
    scene = Ahead()
    scene.forge.head = "9" * 40
    scene.reported()
    scene.forge.head = TOPIC
    assert scene.ask().answer is Answer.APPROVED


def test_a_commit_that_names_no_request_finds_nothing() -> None:
    scene = Ahead(history=FakeHistory(named=0))
    scene.reported()
    assert scene.ask().answer is Answer.APPROVED
    assert scene.counted["reviews"] == 2
