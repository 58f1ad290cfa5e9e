"""What every source promises. Subclasses give the fixture ``case``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dispatcher.model.names import is_id
from dispatcher.sources import Look, Source, action_text, problems_of
from dispatcher.sources.base import MARK_CHARACTERS, WANTED_LIMIT


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source, and a look at which it wants something.

    Attributes:
        make: makes the source; each call another object over the same definitions.
        look: with the marks of a source that has nothing left to want before it.
    """

    make: Callable[[], Source]
    look: Look


class SourceContract:
    """Subclass in a module whose name begins with ``test_``."""

    def test_what_it_wants_is_an_action(self, case: Case) -> None:
        source = case.make()
        wants = source.look(case.look)
        assert wants.actions
        assert len(wants.actions) <= WANTED_LIMIT
        for wanted in wants.actions:
            assert problems_of(source.kind, wanted) == ()
            assert is_id(wanted.name)
            assert (wanted.definition == "") == (wanted.blob == "")
        assert all(len(mark) <= MARK_CHARACTERS for mark in wants.marks.values())

    def test_it_keeps_no_state(self, case: Case) -> None:
        source = case.make()
        assert source.look(case.look) == source.look(case.look) == case.make().look(case.look)

    def test_the_same_wish_has_the_same_id_and_the_same_text(self, case: Case) -> None:
        first, later = case.look, replace(case.look, now=case.look.now + 0.001)
        source = case.make()
        texts = [
            {w.action_id: action_text(source.kind, w) for w in source.look(look).actions}
            for look in (first, later)
        ]
        assert texts[0] == texts[1]

    def test_each_occasion_has_an_id_of_its_own(self, case: Case) -> None:
        actions = case.make().look(case.look).actions
        assert len({w.action_id for w in actions}) == len(actions)
        assert len({(w.name, w.occasion) for w in actions}) == len(actions)

    def test_it_wants_nothing_again_that_its_marks_say_is_written(self, case: Case) -> None:
        wants = case.make().look(case.look)
        ids = {w.action_id for w in wants.actions}
        written = replace(
            case.look,
            marks=wants.marks,
            is_open=lambda i: i in ids or case.look.is_open(i),
            is_used=lambda i: i in ids or case.look.is_used(i),
        )
        again = case.make().look(written)
        assert not ids & {w.action_id for w in again.actions if not written.is_used(w.action_id)}
        assert case.make().look(replace(written, marks=again.marks)).marks == again.marks

    def test_what_was_deleted_before_it_ran_is_not_wanted_again(self, case: Case) -> None:
        wants = case.make().look(case.look)
        ids = {w.action_id for w in wants.actions}
        deleted = replace(
            case.look, marks=wants.marks, is_used=lambda i: i in ids or case.look.is_used(i)
        )
        again = case.make().look(deleted)
        assert not [w for w in again.actions if not deleted.is_used(w.action_id)]

    def test_it_keeps_marks_for_nothing_that_is_gone(self, case: Case) -> None:
        stale = replace(case.look, marks={**case.look.marks, "was-never-defined": "1"})
        assert "was-never-defined" not in case.make().look(stale).marks
