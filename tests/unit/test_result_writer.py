"""Group commit: what is handed in alone is pushed at once, what arrives meanwhile goes together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dispatcher.loop import result_writer
from dispatcher.loop.outgoing import Entry, NewAction, Pushed
from dispatcher.loop.output_keeping import NoOutputs
from dispatcher.loop.result_writer import PUSH_INTERVAL_S, PUSHES_AT_ONCE, ResultWriter
from dispatcher.loop.token_bucket import TokenBucket
from dispatcher.loop.verifying import Unsigned
from dispatcher.model.result import KeptStream, ResultOutput
from dispatcher.ops_repo import NewFile, Published
from dispatcher.ops_repo.output_commits import OutputFile

LONGEST_S = 30.0
MANY = 300


class Repo:
    """A remote whose pushes take until they are let through."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.announced: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._begun = threading.Semaphore(0)
        self._may_end = threading.Semaphore(0)

    def publish(
        self,
        files: Sequence[NewFile],
        *,
        message: str,
        check: Callable[[], None],
        outputs: Sequence[OutputFile],
    ) -> Published:
        self.commits.append([file.path.split("/")[-1].split(".")[0] for file in files])
        self._begun.release()
        assert self._may_end.acquire(timeout=LONGEST_S)
        return Published(commit="c", written=(), skipped=())

    def expect_publish(self) -> None:
        self.announced.put("publish")

    def expect_nothing(self) -> None:
        self.announced.put("nothing")

    def wait_for_a_push(self) -> None:
        assert self._begun.acquire(timeout=LONGEST_S)

    def let_through(self, pushes: int = 1) -> None:
        self._may_end.release(pushes)


class Kept(NoOutputs):
    def missing(self, action_id: str, output: ResultOutput) -> str:
        return ""


@contextmanager
def writing(repo: Any, *, pace: TokenBucket) -> Iterator[ResultWriter]:
    def report(pushed: Pushed) -> None:
        assert pushed.error is None

    writer = ResultWriter(
        repo,
        sign_result=lambda entry: entry.text,
        sign_action=lambda text: text,
        verifier=Unsigned(),
        report=report,
        outputs=Kept(),
        pace=pace,
    )
    writer.start()
    try:
        yield writer
    finally:
        repo.let_through(MANY)
        writer.stop()


def result(action_id: str, *, packed: int = 0) -> Entry:
    stream = KeptStream(bytes=packed, packed=packed, sha256="0" * 64, object="0" * 40)
    output = ResultOutput(month="2026-11", stdout=stream) if packed else None
    return Entry(action_id=action_id, text="{}", output=output)


def stopped() -> float:
    """A clock in whose world no time passes: whoever waits for company waits forever."""
    return 0.0


def paced(*, at_once: int = PUSHES_AT_ONCE) -> TokenBucket:
    """A pace that is never due again."""
    return TokenBucket(interval_s=PUSH_INTERVAL_S, at_once=at_once, clock=stopped)


def test_hundreds_that_arrive_during_a_push_are_one_commit() -> None:
    repo, names = Repo(), [f"a{number}" for number in range(MANY)]
    with writing(repo, pace=paced()) as writer:
        writer.put(result("first"))
        repo.wait_for_a_push()  # it waits for nobody
        for name in names:
            writer.put(result(name))
        repo.let_through()
        repo.wait_for_a_push()
    assert repo.commits == [["first"], names]


def test_under_load_the_next_push_waits_and_the_end_does_not() -> None:
    repo = Repo()
    with writing(repo, pace=paced()) as writer:
        for number in range(PUSHES_AT_ONCE):
            writer.put(result(f"free{number}"))
            repo.wait_for_a_push()
            repo.let_through()
        writer.put(result("x"))
        writer.put(result("y"))
    assert repo.commits == [*([f"free{number}"] for number in range(PUSHES_AT_ONCE)), ["x", "y"]]


@pytest.mark.parametrize("comes", [True, False])
def test_a_push_that_is_announced_is_prepared_and_ended_if_nothing_comes(
    monkeypatch: pytest.MonkeyPatch, *, comes: bool
) -> None:
    if not comes:
        monkeypatch.setattr(result_writer, "EXPECTING_S", 0.01)
    repo = Repo()
    with writing(repo, pace=paced()) as writer:
        writer.expect()
        assert repo.announced.get(timeout=LONGEST_S) == "publish"
        if comes:
            writer.put(result("x"))
            repo.wait_for_a_push()
            writer.expect()  # it may be part of the next commit, or of none
        else:
            assert repo.announced.get(timeout=LONGEST_S) == "nothing"
    assert repo.commits == [["x"]] * comes
    ends = [repo.announced.get_nowait() for _ in range(repo.announced.qsize())]
    assert ends == ["nothing", "publish", "nothing"] * comes


def test_what_was_prepared_is_ended_if_nothing_of_a_batch_is_pushed() -> None:
    """No output, or no signature: who waits at the remote would wait until the next result."""
    repo = Repo()
    fake: Any = repo
    reported: queue.SimpleQueue[Pushed] = queue.SimpleQueue()

    def sign(entry: Entry) -> str:
        raise ValueError(entry)

    writer = ResultWriter(
        fake,
        sign_result=sign,
        verifier=Unsigned(),
        report=reported.put,
        outputs=Kept(),
        pace=paced(),
    )
    writer.start()
    try:
        writer.expect()
        assert repo.announced.get(timeout=LONGEST_S) == "publish"
        writer.put(result("x"))
        assert isinstance(reported.get(timeout=LONGEST_S).error, ValueError)
        assert repo.announced.get(timeout=LONGEST_S) == "nothing"
    finally:
        writer.stop()


def test_what_is_handed_in_together_is_one_commit() -> None:
    repo = Repo()
    actions = [NewAction(action_id=f"s-{n}", text="", origin="schedule s") for n in range(3)]
    with writing(repo, pace=paced()) as writer:
        writer.put(*actions)
        repo.wait_for_a_push()
    assert repo.commits == [[action.action_id for action in actions]]


@pytest.mark.parametrize("limit", ["BATCH_LIMIT", "BATCH_BYTES"])
def test_a_full_batch_waits_for_no_more(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(result_writer, limit, 2)
    repo = Repo()
    with writing(repo, pace=paced(at_once=0)) as writer:
        for name in "abc":
            writer.put(result(name, packed=1))
        repo.wait_for_a_push()
        assert repo.commits == [["a", "b"]]
