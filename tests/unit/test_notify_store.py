"""The store: nothing twice, nothing lost but what is counted; and the sender over it, in time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.model.notice import Notice
from dispatcher.notify.base import MessageRefused, SinkUnavailable
from dispatcher.notify.conditions import Episode
from dispatcher.notify.sender import LOOK_EVERY_S, REFUSALS, Sender
from dispatcher.notify.store import NAME, WINDOW_S, Store
from dispatcher.notify.text import Cleaner
from tests.support.notices import NOTICES, notice, sink
from tests.support.thorough import tries


class Bench:
    """A sender over a store, a sink in memory, and a clock.

    Attributes:
        fault: raised by the sink.
        sent: what it took.
        events: what was reported.
    """

    def __init__(self, folder: Path, *, per_minute: int = 3, limit: int = 1_000) -> None:
        self.folder, self.now = folder, 1_000_000.0
        self.settings = sink(per_minute=per_minute)
        self.limit = limit
        self.fault: Exception | None = None
        self.sent: list[Notice] = []
        self.events: list[str] = []
        self.restart()

    def restart(self) -> None:
        self.store = Store(self.folder, limit=self.limit)
        self.sender = Sender(
            self.settings,
            lambda: self,
            self.store,
            summary=self.summary,
            cleaner=Cleaner(dict),
            report=lambda name, **_: self.events.append(name),
            wall=lambda: self.now,
            clock=lambda: self.now,
        )

    def summary(self, unsent: Mapping[str, int], serial: int) -> Notice:
        return NOTICES.of_unsent("ops", unsent, serial=serial, now=self.now)

    def send(self, notice: Notice) -> str:
        if self.fault is not None:
            raise self.fault
        self.sent.append(notice)
        return ""

    def add(self, *numbers: int) -> int:
        return self.store.add([("ops", notice(number)) for number in numbers])

    def run(self) -> float:
        """Turn until there is nothing to do at once; the pause that is wanted then."""
        while (pause_s := self.sender.turn()) == 0:
            pass
        return pause_s

    def titles(self) -> list[str]:
        return [each.title.split(" ")[0] if each.condition else each.title for each in self.sent]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_notice_is_sent_once_also_after_a_restart(bench: Bench) -> None:
    assert bench.add(1, 1) == 1
    bench.run()
    bench.restart()
    assert bench.add(1) == 0
    assert bench.run() == LOOK_EVERY_S
    assert len(bench.sent) == 1


def test_what_was_not_sent_is_sent_after_a_restart_with_the_same_id(bench: Bench) -> None:
    bench.add(1, 2)
    bench.restart()
    bench.run()
    assert [each.id for each in bench.sent] == [notice(1).id, notice(2).id]


def test_a_sink_gets_what_it_wants_and_the_file_is_private(bench: Bench) -> None:
    bench.store.add([("other", notice(1)), ("ops", notice(2))])
    bench.run()
    assert bench.titles() == ["deploy-2"]
    assert bench.store.states()["other"].waiting == 1
    assert (bench.folder / NAME).stat().st_mode & 0o077 == 0


def test_beyond_the_rate_one_summary_tells_how_many(bench: Bench) -> None:
    bench.add(*range(10))
    pause_s = bench.run()
    assert bench.titles() == ["deploy-0", "deploy-1", "deploy-2"]
    assert 0 < pause_s <= WINDOW_S
    bench.add(10)
    bench.restart()  # neither the rate nor the count is forgotten
    bench.run()
    assert len(bench.sent) == 3
    bench.now += WINDOW_S
    bench.add(11)
    bench.run()
    assert bench.titles()[3:] == ["8 more were not sent", "deploy-11"]
    assert "8 failed" in bench.sent[3].detail
    bench.now += 2 * WINDOW_S
    bench.run()
    assert len(bench.sent) == 5
    assert bench.store.states()["ops"].dropped == 8


def test_a_flood_does_not_hold_up_the_summary(bench: Bench) -> None:
    for window in range(3):
        bench.add(*range(100 * window, 100 * window + 50))
        bench.run()
        bench.now += WINDOW_S
    summaries = [each for each in bench.sent if each.condition is None]
    assert [each.title.split(" ")[0] for each in summaries] == ["47", "48"]
    assert len({each.id for each in summaries}) == 2


def test_a_dead_sink_is_left_alone_ever_longer_and_loses_nothing(bench: Bench) -> None:
    bench.add(1)
    bench.fault = SinkUnavailable("down")
    pauses = []
    for _ in range(12):
        pauses.append(bench.sender.turn())
        bench.now += pauses[-1]
    assert pauses[0] < 2
    assert 200 < max(pauses) < 400
    assert bench.events == ["notify_failed"]
    assert bench.store.states()["ops"].failing_since == 1_000_000.0
    bench.fault = None
    bench.run()
    assert bench.titles() == ["deploy-1"]
    state = bench.store.states()["ops"]
    assert (state.failing_since, state.error, state.sent) == (0.0, "", 1)


def test_a_server_that_asks_for_time_gets_it(bench: Bench) -> None:
    bench.add(1)
    bench.fault = SinkUnavailable("too many", retry_after_s=120.0)
    assert bench.sender.turn() == 120.0


def test_the_oldest_make_room_and_are_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, per_minute=100, limit=5)
    bench.add(*range(8))
    assert bench.store.states()["ops"].waiting == 5
    bench.run()
    assert bench.titles() == ["3 more were not sent", *(f"deploy-{n}" for n in range(3, 8))]


def test_a_message_that_is_refused_itself_makes_way_for_the_next(bench: Bench) -> None:
    bench.add(1, 2)
    bench.fault = MessageRefused("400")
    for _ in range(REFUSALS):
        bench.sender.turn()
    assert bench.events == ["notice_refused"]
    bench.fault = None
    bench.run()
    assert bench.titles() == ["1 more was not sent", "deploy-2"]


def test_a_refused_message_does_not_make_its_sink_a_dead_one(bench: Bench) -> None:
    bench.add(1)
    bench.fault = MessageRefused("400")
    for _ in range(REFUSALS):
        bench.sender.turn()
    state = bench.store.states()["ops"]
    assert (state.failing_since, state.error, state.waiting) == (0.0, "400", 0)


def test_a_notice_that_cannot_be_sent_by_a_defect_makes_way_for_the_next(bench: Bench) -> None:
    bench.add(1, 2)
    bench.fault = ZeroDivisionError("oops")
    for _ in range(REFUSALS):
        bench.sender.turn()
    bench.fault = None
    bench.run()
    assert bench.titles() == ["1 more was not sent", "deploy-2"]


def test_an_error_that_nobody_expected_is_a_defect_and_is_tried_again(bench: Bench) -> None:
    bench.add(1)
    bench.fault = ZeroDivisionError("oops")
    assert bench.sender.turn() > 0
    assert bench.events == ["defect"]
    bench.fault = None
    bench.run()
    assert len(bench.sent) == 1


def test_what_was_sent_is_not_sent_again_while_the_disk_is_full(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(1)
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        patch.setattr(Store, "sent", full)
        for _ in range(3):
            assert bench.sender.turn() > 0
    bench.run()
    assert len(bench.sent) == 1
    assert bench.store.states()["ops"].waiting == 0


def test_a_clock_that_is_set_back_does_not_stop_the_sending(bench: Bench) -> None:
    bench.add(1, 2, 3)
    bench.run()
    bench.now -= 1_000_000
    bench.add(4)
    bench.run()
    assert bench.titles()[-1] == "deploy-4"


def test_a_damaged_file_is_put_aside(bench: Bench) -> None:
    (bench.folder / NAME).write_bytes(b"no database at all" * 100)
    bench.restart()
    bench.add(1)
    bench.run()
    assert len(bench.sent) == 1
    assert (bench.folder / "notify.damaged").exists()


def test_sinks_that_are_gone_are_forgotten(bench: Bench) -> None:
    bench.store.add([("gone", notice(1)), ("ops", notice(2))])
    bench.store.keep_only(["ops"])
    assert set(bench.store.states()) == {"ops"}


def test_outages_are_kept(bench: Bench) -> None:
    episodes = {"vault": Episode(since=1.0, up_since=2.0)}
    bench.store.add([], episodes=episodes)
    bench.restart()
    assert bench.store.episodes() == episodes


def test_threads_write_side_by_side(bench: Bench) -> None:
    threads = [
        threading.Thread(target=bench.add, args=range(10 * n, 10 * n + 10)) for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.store.states()["ops"].waiting == 50


STEP = st.sampled_from(["add", "turn", "fault", "mend", "restart", "wait"])


@settings(max_examples=tries(10, 30), deadline=None)
@given(steps=st.lists(STEP, max_size=40))
def test_each_notice_is_sent_once_or_counted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    bench, added = Bench(tmp_path_factory.mktemp("bench"), limit=6), 0
    for step in steps:
        match step:
            case "add":
                bench.add(added, added + 1)
                added += 2
            case "turn":
                bench.sender.turn()
            case "fault":
                bench.fault = SinkUnavailable("down")
            case "mend":
                bench.fault = None
            case "restart":
                bench.restart()
            case _:
                bench.now += WINDOW_S / 2
    bench.fault = None
    for _ in range(6):
        bench.run()
        bench.now += WINDOW_S
    told = [each for each in bench.sent if each.condition]
    counted = sum(int(t.title.split(" ")[0]) for t in bench.sent if t.condition is None)
    assert len({each.id for each in bench.sent}) == len(bench.sent)
    assert len(told) + counted == added
