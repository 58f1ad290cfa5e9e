"""The file of one entry of the inventory, made from the result that wrote it. Pure.

Everything in the file is in the signed result, so the result decides whether a file is genuine: see
``dispatcher.loop.inventory`` for what else makes one believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from dispatcher.model.inventory import Change, Declaration
from dispatcher.model.names import is_id
from dispatcher.model.times import in_utc

if TYPE_CHECKING:
    from dispatcher.model.result import Result

INVENTORY_PATH = "vault/inventory"
"""Directory of the inventory, with one directory per kind."""

ENTRY_ENDING = ".json"

ENTRY_LIMIT = 16 * 1024
"""Bytes of what a formula hands back about one entry."""

FILE_LIMIT = 32 * 1024
"""Bytes of an entry's file; a larger one is not ours."""


def entry_path(kind: str, entry_id: str) -> str:
    """The path of an entry in the ops repo."""
    return f"{INVENTORY_PATH}/{kind}/{entry_id}{ENTRY_ENDING}"


def named_by(path: str) -> tuple[str, str] | None:
    """Kind and id of the entry at a path in the ops repo; None if it is that of none."""
    parts = path.removeprefix(f"{INVENTORY_PATH}/").removesuffix(ENTRY_ENDING).split("/")
    if len(parts) != 2 or not all(map(is_id, parts)) or entry_path(*parts) != path:
        return None
    return parts[0], parts[1]


def trailer(result: Result) -> str:
    """The line of a commit's message that names what its result does to the inventory; "" for
    nothing. By it a removal is found in the history even if somebody else removed the file first.
    """
    done = result.inventory
    return f"Inventory: {result.id} {done.change} {done.kind}/{done.id}" if done else ""


def rendered(result: Result) -> bytes:
    """The file that a result writes."""
    done = result.inventory
    if done is None or done.change is Change.DESTROYS:
        raise ValueError(f"result {result.id} writes no entry")
    plain = {
        "kind": done.kind,
        "id": done.id,
        "result": result.id,
        "at": result.timestamp,
        "tier": result.tier,
        "approved_by": list(result.approved_by),
        "destroyed_by": done.destroyed_by,
        "expires_at": done.expires_at,
        "entry": done.entry,
    }
    return (_indented(plain) + "\n").encode()


_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


def _indented(value: object, margin: str = "\n") -> str:
    """As ``json.dumps(value, indent=2, ensure_ascii=False)`` writes it, which with an indent is slow.
    Keys are texts.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    inner = margin + "  "
    if isinstance(value, dict) and value:
        pairs = [
            f"{encode_basestring(key)}: {_indented(each, inner)}" for key, each in value.items()
        ]
        return f"{{{inner}{f',{inner}'.join(pairs)}{margin}}}"
    if isinstance(value, list | tuple) and value:
        return f"[{inner}{f',{inner}'.join(_indented(each, inner) for each in value)}{margin}]"
    return _ENCODE(value)


def declared_change(
    declares: Declaration, outputs: Mapping[str, object], *, action_id: str, succeeded: bool
) -> tuple[dict[str, object] | None, str]:
    """What a run does to the inventory, as keys of ``ResultInventory``, by its approved schema and
    its outputs; and what is wrong with that, in words.

    A run that failed may still have left something: what its outputs name is entered, so that it can
    be destroyed. Only a run that succeeded removes an entry.
    """
    if "inventory" not in outputs:
        what = f"its schema declares that it {declares.change} one {declares.kind}"
        missing = f"{what}, and its outputs have no inventory: nothing was changed there"
        return None, missing if succeeded else ""
    given = outputs["inventory"]
    if not isinstance(given, Mapping):
        return None, "outputs.inventory is not an object: the inventory was not changed"
    entry = {key: value for key, value in given.items() if key != "id"}
    entry_id = given.get("id", action_id if declares.change is Change.CREATES else None)
    if declares.change is Change.CREATES and entry_id != action_id:
        return None, f"outputs.inventory.id is not {action_id}, the action that creates it"
    if not isinstance(entry_id, str) or not is_id(entry_id):
        return None, "outputs.inventory.id does not name an entry: the inventory was not changed"
    base: dict[str, object] = {
        "change": declares.change,
        "kind": declares.kind,
        "id": entry_id,
        "destroyed_by": declares.destroyed_by,
    }
    if declares.change is Change.DESTROYS:
        return (base, "") if succeeded else (None, "")
    return _with_entry(base, entry)


def _with_entry(base: dict[str, object], entry: dict[str, object]) -> tuple[dict[str, object], str]:
    """The change with its entry; of an unfit one only what is fit, since the thing exists."""
    given, trouble = entry.pop("expires_at", None), ""
    expires_at = in_utc(given) if isinstance(given, str) else None
    if given is not None and expires_at is None:
        trouble = "outputs.inventory.expires_at is no RFC 3339 time: no expiry"
    if len(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace")) > ENTRY_LIMIT:
        entry, trouble = {}, f"outputs.inventory has more than {ENTRY_LIMIT} bytes: left out"
    return {**base, "expires_at": expires_at, "entry": entry}, trouble
