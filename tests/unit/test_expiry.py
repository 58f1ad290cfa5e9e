"""What is wanted destroyed at a look, and when the next look is due."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.loop.expiry import KIND, NOTES, Expiry, stem_of
from dispatcher.loop.expiry_attempts import ATTEMPTS, AttemptIds
from dispatcher.loop.inventory import InventoryEntry, InventoryReader
from dispatcher.model.sure_time import SureTime
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.sources import Look, SourceState, Wants, problems_of
from dispatcher.sources.base import WANTED_LIMIT

AT = 1_800_000_000.0
ACTION = b'id = "web"\nformula = "make"\ncontext = "c"\nsecrets = []\n'
BLOB = "b" * 40
SECRET = b"k" * 32
GIVEN = {"unmake": ("number", "not-there", "none", "place")}


class Repo:
    """Has the action that created everything."""

    def read_present(self, blobs: Any, *, limit: int) -> dict[str, bytes | int]:
        return {blob: ACTION for blob in blobs if blob == BLOB}


def entry(entry_id: str = "web", *, action_blob: str = BLOB) -> InventoryEntry:
    return InventoryEntry(
        kind="machine",
        id=entry_id,
        blob="a" * 40,
        result="web",
        at=rfc3339(AT - 3_600),
        expires_at=rfc3339(AT),
        destroyed_by="unmake",
        action_blob=action_blob,
    )


def wants(
    *entries: InventoryEntry, behind_s: float = 0.0, failed: bool = False, after_s: float = 0.5
) -> Wants:
    """What is wanted shortly after the end.

    Args:
        behind_s: seconds by which Vault's clock is behind.
        failed: whether all attempts about those were made that are named so, and failed.
    """
    inventory = SimpleNamespace(read=lambda *_args, **_more: list(entries))
    now = AT + after_s
    ended = SimpleNamespace(verdict=Verdict.FAILED, timestamp=rfc3339(AT))
    run = SimpleNamespace(result=ended, withdrawn_at=None)
    lasting = [each for each in entries if failed and each.id.startswith("lasting-")]
    ids = [AttemptIds(stem=stem_of(each), secret=SECRET) for each in lasting]
    used = {each.of(number) for each in ids for number in range(1, ATTEMPTS + 1)}
    look = SimpleNamespace(
        now=now,
        commit="c" * 40,
        sure=lambda: SureTime(now=now - behind_s),
        kept_results=dict,
        marks={},
        ids=frozenset,
        formulas=None,
        is_used=used.__contains__,
        written=lambda action_id: run,
    )
    expiry = Expiry(
        Repo(),
        cast(InventoryReader, inventory),
        lambda: SECRET,
        lambda name, _: GIVEN.get(name, ()),
    )
    return expiry.look(cast(Look, look))


def test_what_is_over_is_wanted_destroyed() -> None:
    (wanted,) = wants(entry()).actions
    assert wanted.action["formula"] == "unmake"
    assert wanted.action["params"] == {"id": "web"}


def test_a_destroying_formula_is_given_what_it_declares() -> None:
    made = {"number": 7, "place": "here", "none": None, "secret": "no", "id": "other"}
    (wanted,) = wants(replace(entry(), entry=made)).actions
    assert wanted.action["params"] == {"id": "web", "number": 7, "place": "here"}


@pytest.mark.parametrize("odd", [{"number": 2**70}, {"place": "x" * 70_000}, {"place": "\x00"}])
def test_an_entry_with_odd_values_keeps_no_other_from_expiring(odd: dict[str, Any]) -> None:
    """Of a source that wants one invalid action, nothing is written."""
    done = wants(replace(entry("odd"), entry=odd), entry())
    assert not any(problems_of(KIND, wanted) for wanted in done.actions)
    assert "web" in [wanted.name for wanted in done.actions]
    if "\x00" not in odd.values():  # in params any text is allowed
        (note,) = done.notes
        assert (note.name, note.state) == ("odd", SourceState.BROKEN)
        assert "is invalid by what its entry says" in note.reason


@pytest.mark.parametrize("behind_s", [0.75, 20.0])
def test_the_next_look_is_when_the_clock_of_vault_shows_the_end_too(behind_s: float) -> None:
    """Vault's clock shows whole seconds, so it is always a little behind."""
    early = wants(entry(), behind_s=behind_s)
    assert early.actions == ()
    assert early.next_at == pytest.approx(AT + behind_s)
    assert wants(entry(), behind_s=behind_s, after_s=behind_s + 0.01).actions


def test_what_cannot_be_destroyed_takes_no_place_of_what_can() -> None:
    """As many whose attempts failed as are written at once, and whose action is gone, and one more."""
    failing = [entry(f"lasting-{number}") for number in range(WANTED_LIMIT)]
    odd = [entry(f"odd-{number}", action_blob="d" * 40) for number in range(WANTED_LIMIT)]
    done = wants(*failing, *odd, entry(), failed=True)
    assert [each.name for each in done.actions] == ["web"]
    assert len(done.notes) == NOTES
    assert all("of your own" in each.reason for each in wants(*failing, failed=True).notes)
