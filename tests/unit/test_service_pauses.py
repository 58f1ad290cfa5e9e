"""Pauses: of dependencies that are down, and of steps that failed; and the writer of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dispatcher.errors import Dependency, TemporaryError
from dispatcher.loop.outages import Outages
from dispatcher.loop.outgoing import Entry, Pushed
from dispatcher.loop.output_keeping import NoOutputs
from dispatcher.loop.result_writer import ResultWriter
from dispatcher.loop.retries import FIRST_RETRY_S, LONGEST_RETRY_S, Retries
from dispatcher.loop.verifying import Unsigned
from dispatcher.ops_repo import NewFile, OutputFile, Published


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pause_that_is_over_wakes_nobody() -> None:
    """The loop would turn without rest for something that nobody asks about any more."""
    clock = Clock()
    dependencies, retries = Outages(clock=clock), Retries(clock=clock)
    dependencies.failed(Dependency.FORGE, TemporaryError("away"))
    retries.failed("x", TemporaryError("no"))
    assert (dependencies.next_try_in() or 0) > 0
    assert retries.next_try_in() == FIRST_RETRY_S
    clock.now += 1_000
    assert dependencies.next_try_in() is None
    assert retries.next_try_in() is None
    assert dependencies.outages().keys() == {Dependency.FORGE}, "it is down until it answers"


def test_pauses_go_on_growing_where_only_half_of_a_dependency_is_back() -> None:
    clock = Clock()
    dependencies = Outages(clock=clock)

    def fail() -> int:
        dependencies.failed(Dependency.LEDGER, TemporaryError("the disk is full"))
        clock.now += 31
        return dependencies.outages()[Dependency.LEDGER].tries

    assert fail() == 1
    assert dependencies.answered(Dependency.LEDGER, proven=False)
    assert fail() == 2
    dependencies.answered(Dependency.LEDGER, proven=False)
    clock.now += 61
    assert fail() == 1
    dependencies.answered(Dependency.LEDGER, proven=False)
    assert not dependencies.answered(Dependency.LEDGER)
    assert fail() == 1


def test_the_last_error_is_known_until_a_step_succeeds() -> None:
    clock = Clock()
    retries = Retries(clock=clock)
    retries.failed("x", TemporaryError("first"))
    retries.failed("x", TemporaryError("second"))
    retries.note("y", TemporaryError("it is away"))
    clock.now += LONGEST_RETRY_S
    assert retries.errors() == {"x": "second", "y": "it is away"}, "also when the pause is over"
    assert retries.paused() == {}
    retries.keep({"y"}, set())
    assert retries.errors() == {"y": "it is away"}
    assert not retries, "what waits for a dependency is no retry"
    retries.succeeded("y")
    assert retries.errors() == {}


def test_pauses_of_a_step_grow_to_a_limit_and_end_with_a_success() -> None:
    clock = Clock()
    retries = Retries(clock=clock)
    pauses = []
    for tries in range(1, 13):
        assert retries.failed("x", TemporaryError("no")) == tries
        pauses.append(retries.next_try_in())
    assert pauses[:3] == [1, 2, 4]
    assert pauses[-1] == LONGEST_RETRY_S
    assert retries.paused() == {"x": "no"}
    assert isinstance(retries.hopeless(12), TemporaryError)
    assert retries.hopeless(13) is None
    retries.succeeded("x")
    assert not retries


def test_an_unexpected_error_is_told_with_its_type() -> None:
    retries = Retries()
    retries.failed("x", KeyError("name"))
    assert retries.errors()["x"].startswith("unexpected KeyError: 'name'")
    assert retries.paused() == retries.errors()


def test_ids_that_are_gone_are_not_tried_for_ever() -> None:
    retries = Retries()
    for action_id in ("open", "claimed", "gone"):
        retries.failed(action_id, ValueError("no"))
    retries.keep({"open": 1}, {"claimed": 1})
    assert retries.paused().keys() == {"open", "claimed"}


class Repo:
    """Counts what is pushed; the check comes before each push, as in the real one."""

    def __init__(self) -> None:
        self.pushed: list[str] = []

    def publish(
        self,
        files: Sequence[NewFile],
        *,
        message: str,
        check: Callable[[], None],
        outputs: Sequence[OutputFile],
    ) -> Published:
        check()
        assert not outputs
        self.pushed += [f.path for f in files]
        return Published(commit="c", written=(), skipped=())

    def expect_nothing(self) -> None:
        """Nothing was prepared."""


def write(*entries: Entry, **more: Any) -> tuple[list[Pushed], list[str]]:
    reports: list[Pushed] = []
    repo: Any = Repo()
    writer = ResultWriter(
        repo,
        verifier=Unsigned(),
        report=reports.append,
        outputs=NoOutputs(),
        **more,
    )
    writer.start()
    for entry in entries:
        writer.put(entry)
    writer.stop()
    return reports, repo.pushed


def test_who_lost_the_lead_pushes_nothing() -> None:
    def lost() -> None:
        raise TemporaryError("no longer the leader")

    entry = Entry(action_id="x", text="{}")
    reports, pushed = write(entry, sign_result=lambda e: e.text, check=lost)
    assert [str(r.error) for r in reports] == ["no longer the leader"]
    assert pushed == []


def test_one_entry_that_cannot_be_sealed_is_told_alone() -> None:
    def sign_result(entry: Entry) -> str:
        if entry.action_id == "odd":
            raise KeyError("timestamp")
        return entry.text

    reports, pushed = write(
        *(Entry(action_id=i, text="{}") for i in ("a", "odd", "b")), sign_result=sign_result
    )
    assert pushed == ["vault/actions/a.result.json", "vault/actions/b.result.json"]
    failed = [[e.action_id for e in r.entries] for r in reports if r.error]
    assert failed == [["odd"]]


def test_the_writer_survives_what_nobody_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(*_: object, **__: object) -> Published:
        raise OSError("no such luck")

    monkeypatch.setattr(Repo, "publish", publish)
    reports, _ = write(Entry(action_id="x", text="{}"), sign_result=lambda e: e.text)
    assert isinstance(reports[0].error, OSError)
