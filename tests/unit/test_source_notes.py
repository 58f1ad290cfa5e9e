"""The marks of sources: read from the ledger once, and again when it has others than the leader believes."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.errors import Conflict, Dependency, Unavailable
from dispatcher.ledger.base import Note
from dispatcher.loop.sources import Answer, ask, store
from dispatcher.sources.base import Look, Wants


class Ledger:
    """One note."""

    def __init__(self) -> None:
        self.held: Note | None = None
        self.reads = 0
        self.answer_lost = False

    def note(self, _name: str) -> Note | None:
        self.reads += 1
        return self.held

    def write_note(self, _name: str, text: str, *, version: int) -> Note:
        if version != (self.held.version if self.held else 0):
            raise Conflict("it changed")
        self.held = Note(text=text, version=version + 1)
        if self.answer_lost:
            raise Unavailable(Dependency.LEDGER, "no answer")
        return self.held


class Counting:
    """A source whose mark counts its looks."""

    kind = "count"

    def look(self, look: Look) -> Wants:
        return Wants(marks={"looks": str(int(look.marks.get("looks", "0")) + 1)})


class Leader:
    """Asks and stores in turn, as ``Sources`` does."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._known: dict[str, Note | None] = {}
        limits = SimpleNamespace(max_action_bytes=1_000)
        settings = SimpleNamespace(limits=limits)
        self._components = cast(Any, SimpleNamespace(ledger=self.ledger, settings=settings))

    def look(self) -> Answer:
        def of(marks: Mapping[str, str]) -> Look:
            return cast(Look, SimpleNamespace(marks=marks))

        source = cast(Any, Counting())
        answer = ask(source, self._components, of, known=self._known)
        assert answer.error is None
        store(self._components, answer, led=lambda: None, known=self._known)
        return answer


def test_marks_are_read_once() -> None:
    leader = Leader()
    for _ in range(3):
        leader.look()
    assert leader.ledger.reads == 1
    assert leader.ledger.held is not None
    assert leader.ledger.held.text == '{"looks":"3"}'


def test_marks_that_another_wrote_are_read_again() -> None:
    leader = Leader()
    leader.look()
    leader.ledger.held = Note(text='{"looks":"9"}', version=7)
    leader.look()
    assert leader.look().wants.marks == {"looks": "10"}
    assert leader.ledger.reads == 2


def test_marks_are_read_again_if_it_is_unknown_what_was_written() -> None:
    leader = Leader()
    leader.look()
    leader.ledger.answer_lost = True
    with pytest.raises(Unavailable):
        leader.look()
    leader.ledger.answer_lost = False
    assert leader.look().wants.marks == {"looks": "3"}
    assert leader.ledger.reads == 2
