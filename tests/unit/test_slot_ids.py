"""Ids of slots: nobody can take one before it is in git, and what was written under another one counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.model.names import is_id
from dispatcher.model.schedule import slot_of
from dispatcher.sources import SourceState
from dispatcher.sources.id_code import id_code
from dispatcher.sources.schedules import Schedules
from dispatcher.sources.slot_ids import OTHERS, stem_of
from tests.unit.test_schedules import DAY, NOON, Repo, ids, look, own, source, toml


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow"])
def test_nobody_can_take_the_id_of_a_slot_before_it_comes(overlap: str) -> None:
    schedules = source(Repo(nightly=toml(more=f'overlap = "{overlap}"')))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    stem = "nightly-20260302t0130z"
    guesses = {stem, *(f"{stem}-{letter * 9}" for letter in "abcdefghijklmnop")}
    there = look(
        first.next_at, first.marks, is_open=guesses.__contains__, theirs=guesses, named=guesses
    )
    wants = schedules.look(there)
    assert [wanted.action_id for wanted in wants.actions] == [own(stem)]
    assert wants.passed == ()
    with_another_key = f"{stem}-{id_code(b'l' * 32, f'schedule/{stem}')}"
    assert own(stem) != with_another_key


def test_an_id_is_one_however_long_the_name() -> None:
    name = "n" * 60
    schedules = source(Repo(**{name: toml()}))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    (wanted,) = schedules.look(look(first.next_at, first.marks)).actions
    assert is_id(wanted.action_id)
    assert slot_of(stem_of(wanted.action_id)) == (name, first.next_at)


@pytest.mark.parametrize("code", ["", "-bbbbbbbbb"])
def test_what_was_written_under_an_id_of_an_earlier_version_or_key_counts(code: str) -> None:
    """It is neither written again, nor does the next slot begin while it is open."""
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    former = f"nightly-20260302t0130z{code}"
    named = {former, *(f"nightly-20260302t0130z-{number:c>9}" for number in range(OTHERS))}
    there = look(first.next_at, first.marks, is_open={former}.__contains__, named=named)
    wants = schedules.look(there)
    assert [wanted.action_id for wanted in wants.actions] == [former], "there already"
    assert wants.marks["nightly"].endswith(" written")
    later = replace(there, now=first.next_at + DAY, marks=wants.marks)
    assert schedules.look(later).actions == ()
    assert schedules.look(later).marks["nightly"].endswith(" overlap")


def test_no_slot_is_lost_while_our_key_cannot_be_used() -> None:
    def down() -> bytes:
        raise Unavailable(Dependency.VAULT, "down")

    loose: Any = Repo(nightly=toml())
    without = Schedules(loose, limit=65_536, secret=down)
    first = without.look(look(NOON))  # nothing is due: the key is not needed
    assert first.notes[0].state is SourceState.ACTIVE
    assert first.next_at is not None
    during = without.look(look(first.next_at, first.marks))
    assert (during.actions, during.marks) == ((), first.marks)
    assert ids(source(loose).look(look(first.next_at + 60, during.marks)))
