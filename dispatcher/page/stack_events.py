"""How far a stack is, as events: its state now, then each other one, until nothing changes it any more.

Each event is the whole state, and its id a digest of it. So a browser that comes back with the last id gets what
it has missed, or nothing if nothing has changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator

from pydantic_core import to_jsonable_python

from dispatcher.errors import DisintoError
from dispatcher.page.acting import followed
from dispatcher.page.problems import RETRY_S, Problem
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.page.stacks import StackCard, stack_card
from dispatcher.page.streams import event

LONGEST_S = 3_600.0
"""Seconds after which the state is looked at, although nothing was announced."""

_ID = re.compile("[0-9a-f]{16}")

PAUSE_S = 0.4
"""Seconds between two looks at least."""


async def states(site: Site, person: Person, stack_id: str, last: str) -> AsyncIterator[bytes]:
    """``status`` events, then one ``end``.

    Args:
        last: id of the last event that the reader has; "", or anything else, for none.
    """
    live = followed(site)
    last = last if _ID.fullmatch(last) else ""
    while True:
        version, within_s = live.version, LONGEST_S
        try:
            card = await asyncio.to_thread(stack_card, site, person, stack_id)
        except DisintoError:
            within_s = (
                RETRY_S  # what is down or refuses may be up again; the reader has the last state
            )
        except Problem as problem:
            if problem.status == 503:
                await asyncio.sleep(RETRY_S)  # it is not known now whose it is
                continue
            yield event({"state": ""}, name="end", event_id=last)  # nobody's any more
            return
        else:
            event_id = digest(card)
            if event_id != last:
                last = event_id
                yield event(to_jsonable_python(card), name="status", event_id=last)
            if card.ended:
                yield event({"state": card.state, "url": card.url}, name="end", event_id=last)
                return
        await asyncio.sleep(PAUSE_S)
        await live.changed(version, within_s=within_s)


def digest(card: StackCard) -> str:
    """The id of the event that has this state."""
    text = json.dumps(to_jsonable_python(card), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
