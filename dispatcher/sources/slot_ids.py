"""Ids of the actions of a schedule's slots.

An id is name, slot, and a code that nobody can guess: whoever knew it could write a file under it before the
schedule does, and the slot would start nothing. An earlier version gave ids without a code, and with another
key the codes are others; so what was written for a slot is looked for under all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property

from dispatcher.model.schedule import action_stem
from dispatcher.sources.base import Look, WrittenRun
from dispatcher.sources.id_code import CODE_PATTERN, id_code

OTHERS = 10
"""Maximum of ids with other codes that are looked at for a slot: anybody can make files with such names."""

_OF_SLOT = re.compile(rf"(?P<stem>.+-[0-9]{{8}}t[0-9]{{4}}z)-{CODE_PATTERN}", re.ASCII)


def stem_of(action_id: str) -> str:
    """With what the id of a slot's action begins, whoever wrote it; another id as it is."""
    found = _OF_SLOT.fullmatch(action_id)
    return found["stem"] if found else action_id


class SlotIds:
    """The ids of slots at one look.

    Args:
        look: which ids are used, and what we wrote under them.
        secret: see ``id_code``. Raises ``Unavailable`` or ``Denied``.
    """

    def __init__(self, look: Look, secret: Callable[[], bytes]) -> None:
        self._look, self._secret = look, secret

    def of(self, name: str, slot: float) -> str:
        """The id of a slot's action.

        Raises:
            Unavailable, Denied: our key is in Vault and cannot be read.
        """
        stem = action_stem(name, slot)
        return f"{stem}-{id_code(self._secret(), f'schedule/{stem}')}"

    def written(self, name: str, slot: float) -> tuple[str, WrittenRun] | None:
        """The action that we wrote for a slot, with its id; None if we wrote none. Raises as ``of``."""
        for action_id in self._candidates(name, slot):
            run = self._look.written(action_id) if self._look.is_used(action_id) else None
            if run is not None:
                return action_id, run
        return None

    def is_open(self, name: str, slot: float) -> bool:
        """Whether the action that we wrote for a slot has not ended; a file of anybody else's is none. Raises
        as ``of``.
        """
        written = self.written(name, slot)
        return written is not None and written[1].result is None and written[1].withdrawn_at is None

    def _candidates(self, name: str, slot: float) -> Iterator[str]:
        own, stem = self.of(name, slot), action_stem(name, slot)
        yield own
        yield stem
        others = (each for each in sorted(self._in_git.get(stem, ())) if each != own)
        yield from (each for _, each in zip(range(OTHERS), others, strict=False))

    @cached_property
    def _in_git(self) -> dict[str, list[str]]:
        """The ids with a code that exist, by what they begin with."""
        ids: dict[str, list[str]] = {}
        for action_id in self._look.ids():
            if found := _OF_SLOT.fullmatch(action_id):
                ids.setdefault(found["stem"], []).append(action_id)
        return ids
