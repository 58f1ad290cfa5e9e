"""The ids that a dispatcher gives to the actions of slots."""

from __future__ import annotations

from typing import Any

from dispatcher.loop.signing import id_secret
from dispatcher.model.schedule import action_stem
from dispatcher.settings import Settings
from dispatcher.sources.id_code import id_code

_NO_VAULT: Any = None  # the key is a file


def slot_id(settings: Settings, name: str, slot: float) -> str:
    """The id of a slot's action, with the key in the state directory."""
    stem = action_stem(name, slot)
    return f"{stem}-{id_code(id_secret(settings, _NO_VAULT)(), f'schedule/{stem}')}"
