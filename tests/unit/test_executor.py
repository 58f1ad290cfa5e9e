"""How long the loop waits for more events: not at all after a rest, and in a row as long as it has to."""

from __future__ import annotations

import math
import threading
import time

from dispatcher.loop.executor import Executor

LONGEST_S = 30.0


def test_after_a_rest_an_event_is_acted_on_with_what_is_queued_and_nothing_more() -> None:
    executor, handled = Executor(1), list[str]()
    executor.post(lambda: handled.append("first"))
    executor.post(lambda: handled.append("second"))
    executor.attend(LONGEST_S, gather_until=time.monotonic())
    assert handled == ["first", "second"]
    executor.dismiss()


def test_while_rounds_follow_each_other_more_events_are_waited_for() -> None:
    executor, handled = Executor(1), list[str]()
    until = time.monotonic() + 0.2

    def first() -> None:
        handled.append("first")
        threading.Timer(0.01, executor.post, [lambda: handled.append("late")]).start()

    executor.post(first)
    executor.attend(LONGEST_S, gather_until=until)
    assert handled == ["first", "late"]
    assert time.monotonic() >= until
    executor.dismiss()


def test_nothing_is_gathered_without_an_event() -> None:
    executor = Executor(1)
    executor.attend(0.0, gather_until=math.inf)
    executor.dismiss()
