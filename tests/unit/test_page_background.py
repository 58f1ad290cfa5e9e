"""Work in the background: one at a time, bounded, and its end is told however it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import pytest
import tenacity

from dispatcher.errors import Dependency, Unavailable
from dispatcher.page.background import Background, Work

soon = tenacity.retry(
    stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.005), reraise=True
)


@soon
def ended(background: Background[int]) -> Work[int]:
    work = background.work
    assert work.ended_at is not None
    assert not work.running
    return work


def test_one_at_a_time_and_what_is_found_is_shown_meanwhile() -> None:
    going_on, begun = threading.Event(), 0

    def steps() -> Generator[int, None, None]:
        nonlocal begun
        begun += 1
        yield 1
        going_on.wait(20)
        yield 2

    background = Background(steps, fresh_s=0)
    assert background.work == Work()
    assert background.begin()

    @soon
    def one_found() -> None:
        assert (background.work.found, background.work.running) == ((1,), True)

    one_found()
    assert not background.begin()
    going_on.set()
    assert ended(background).found == (1, 2)
    assert begun == 1
    assert background.begin()
    ended(background)
    assert begun == 2


def test_what_was_found_a_moment_ago_is_not_looked_for_again() -> None:
    now = 1_000.0

    def steps() -> Generator[int, None, None]:
        yield 1

    background = Background(steps, clock=lambda: now, fresh_s=20)
    background.begin()
    ended(background)
    now += 19
    assert not background.begin()
    now += 2
    assert background.begin()
    ended(background)


def test_it_is_stopped_before_its_next_step() -> None:
    closed = threading.Event()

    def steps() -> Generator[int, None, None]:
        try:
            yield from range(10_000)
        finally:
            closed.set()

    background = Background(steps, longest_s=0)
    background.begin()
    work = ended(background)
    assert work.found == (0,)
    assert "stopped after" in work.problem
    assert closed.is_set()


@pytest.mark.parametrize(
    ("error", "problem", "remedy", "defects"),
    [
        (
            Unavailable(Dependency.VAULT, "no Vault.", remedy="Start it."),
            "no Vault",
            "Start it.",
            0,
        ),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied", "", 0),
        (ZeroDivisionError("secret"), "in the log of the page", "", 1),
    ],
)
def test_an_error_ends_it(error: Exception, problem: str, remedy: str, defects: int) -> None:
    def steps() -> Generator[int, None, None]:
        yield 1
        raise error

    noted: list[Exception] = []
    note: Callable[[Exception], None] = noted.append
    background = Background(steps, defect=note)
    background.begin()
    work = ended(background)
    assert (work.found, work.remedy) == ((1,), remedy)
    assert problem in work.problem
    assert len(noted) == defects
