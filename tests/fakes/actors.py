"""Steps that are taken one call at a time, so that a test decides what happens between two calls."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeAlias, TypeVar

from dispatcher.errors import Dependency, Unavailable

T = TypeVar("T")


class Fate(Enum):
    """What becomes of one micro-step."""

    DONE = auto()
    NO_ANSWER = auto()  # it was not done, and the caller learns no more than that
    ANSWER_LOST = auto()  # it was done, and the caller does not learn it


class Killed(BaseException):
    """The process is gone; nothing catches this."""


Work: TypeAlias = "queue.SimpleQueue[Callable[[], None]]"

_idle: list[Work] = []
"""Of threads without work. They are used again: to start one takes longer than most steps do."""


def _serve(work: Work) -> None:
    while True:
        work.get()()


class Actor:
    """One step of a dispatcher, on a thread that stands still before each micro-step."""

    current: threading.local = threading.local()

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._go, self._stands = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._stands.acquire()
        self._fate: Fate | None = Fate.DONE
        self.over = False
        self.answer: object = None
        self.error: Exception | None = None
        if _idle:
            self._thread = _idle.pop()
        else:
            self._thread = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._thread,), daemon=True).start()
        self._thread.put(self._work)
        self._stands.acquire()

    def go_on(self, fate: Fate | None) -> None:
        """Do the next micro-step; None kills."""
        self._fate = fate
        self._go.release()
        self._stands.acquire()

    def before(self, dependency: Dependency, do: Callable[[], T]) -> T:
        """A micro-step, on the actor's own thread."""
        self._stands.release()
        self._go.acquire()
        if self._fate is None:
            raise Killed
        if self._fate is Fate.NO_ANSWER:
            raise Unavailable(dependency, "no answer")
        answer = do()
        if self._fate is Fate.ANSWER_LOST:
            raise Unavailable(dependency, "the answer was lost")
        return answer

    def _work(self) -> None:
        Actor.current.actor = self
        try:
            self.answer = self._act()
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001 - the dispatcher's to judge
            self.error = error
        self.over = True
        _idle.append(self._thread)
        self._stands.release()


def micro(dependency: Dependency, do: Callable[[], T]) -> T:
    """A micro-step of the actor whose thread this is; elsewhere it is done at once."""
    actor: Actor | None = getattr(Actor.current, "actor", None)
    return actor.before(dependency, do) if actor else do()
