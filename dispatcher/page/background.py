"""Work that takes longer than a request may: done on a thread, one at a time, shown while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from dispatcher.errors import DisintoError

T = TypeVar("T")

FRESH_S = 20.0
"""Seconds for which what was found counts, however often it is asked for."""

LONGEST_S = 180.0
"""Seconds after which work is stopped before its next step. A step ends by the timeouts of its servers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work(Generic[T]):
    """What was found, or is being found.

    Attributes:
        found: so far; of finished work, everything.
        running: whether it goes on.
        began_at, ended_at: seconds since the epoch; None if it did not.
        problem, remedy: why it ended early, in words; "" if it did not.
    """

    found: tuple[T, ...] = ()
    running: bool = False
    began_at: float | None = None
    ended_at: float | None = None
    problem: str = ""
    remedy: str = ""


class Background(Generic[T]):
    """Work that is begun when somebody asks. Thread-safe.

    Args:
        steps: does the work, and yields what it finds; may raise ``DisintoError`` or ``OSError``.
        clock: seconds since the epoch.
        defect: called with an unexpected error.
    """

    def __init__(
        self,
        steps: Callable[[], Generator[T, None, None]],
        *,
        clock: Callable[[], float] = time.time,
        defect: Callable[[Exception], None] = lambda _error: None,
        fresh_s: float = FRESH_S,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._steps, self._clock, self._defect = steps, clock, defect
        self._fresh_s, self._longest_s = fresh_s, longest_s
        self._lock = threading.Lock()
        self._work: Work[T] = Work()

    @property
    def work(self) -> Work[T]:
        """As it is now."""
        with self._lock:
            return self._work

    def begin(self) -> bool:
        """Begin, unless it is going on or was done a moment ago; whether it was begun."""
        with self._lock:
            last, now = self._work, self._clock()
            if last.running or (last.ended_at and 0 <= now - last.ended_at < self._fresh_s):
                return False
            self._work = Work(running=True, began_at=now)
        threading.Thread(target=self._run, name="page-background", daemon=True).start()
        return True

    def _run(self) -> None:
        problem, remedy = "", ""
        found: tuple[T, ...] = ()
        until = time.monotonic() + self._longest_s
        try:
            with closing(self._steps()) as steps:
                for step in steps:
                    found = (*found, step)
                    self._set(found, running=True)
                    if time.monotonic() > until:
                        problem = (
                            f"stopped after {self._longest_s:.0f} s; the rest was not looked at"
                        )
                        break
        except DisintoError as error:
            problem, remedy = error.what.rstrip("."), error.remedy or ""
        except OSError as error:
            problem = f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
        except Exception as error:  # noqa: BLE001 - the page must say that it ended
            self._defect(error)
            problem = "an unexpected error occurred; it is in the log of the page"
        self._set(found, running=False, problem=problem, remedy=remedy)

    def _set(
        self, found: tuple[T, ...], *, running: bool, problem: str = "", remedy: str = ""
    ) -> None:
        with self._lock:
            self._work = Work(
                found=found,
                running=running,
                began_at=self._work.began_at,
                ended_at=None if running else self._clock(),
                problem=problem,
                remedy=remedy,
            )
