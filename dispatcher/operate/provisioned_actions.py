"""The actions that a person asks for about what a provisioner made: with a free id, and checked before they
are sent. The commands and the page share these; what they send is only text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.provisioned import Kind, Resources, Unverified
from dispatcher.toml.source import quoted


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAction:
    """An action that is ready to be sent.

    Attributes:
        data: its file.
    """

    id: str
    data: bytes


class Destroying(Protocol):
    """Writes the action that destroys an entry, by a formula, with params that its entry gives."""

    def __call__(
        self, action_id: str, entry_id: str, *, formula: str, given: Mapping[str, Any]
    ) -> bytes: ...


def to_destroy(resources: Resources[Any], entry_id: str) -> InventoryEntry:
    """The entry that an action is to destroy.

    Raises:
        NotFound, BeingCreated: see ``Resources.standing``.
        AlreadyThere: an open action destroys it.
    """
    entry = resources.standing(entry_id)
    resources.refuse_second_destruction(entry_id)
    return entry


def destroying_formula(resources: Resources[Any], entry: InventoryEntry) -> str:
    """The formula that destroys an entry: the one that it names, if a signature proves that it does.

    Raises:
        Unverified: it names another than the usual one, and nothing is verified here.
    """
    usual = resources.kind.destroy
    named = entry.destroyed_by if not entry.problem else ""
    if named in ("", usual):
        return usual
    if not resources.reader.verifies:
        raise Unverified(
            f"the inventory entry of {entry.id} names {quoted(named)} as the formula that destroys it, and "
            "nothing here verifies that",
            remedy="Pass --key with the dispatcher's public key; if there is none, write the action yourself.",
        )
    return named


def destruction(
    resources: Resources[Any], entry: InventoryEntry, destroying: Destroying
) -> NewAction:
    """The action that destroys an entry; see ``destroying_formula``.

    Raises:
        Conflict: no id is free.
        Unverified: see ``destroying_formula``.
    """
    formula = destroying_formula(resources, entry)
    new_id = resources.free_id(f"destroy-{entry.id}")
    data = destroying(
        new_id, entry.id, formula=formula, given=_given(resources.kind, entry, formula)
    )
    return NewAction(id=new_id, data=data)


def _given(kind: Kind, entry: InventoryEntry, formula: str) -> dict[str, Any]:
    """What the entry gives to the usual formula; the params of another are not known. A value that no param
    has is left out, as at the end of a lifetime: a formula may have handed back any.
    """
    if entry.problem or formula != kind.destroy:
        return {}
    values = ((key, entry.entry.get(key)) for key in kind.given)
    return {key: value for key, value in values if isinstance(value, str | int)}
