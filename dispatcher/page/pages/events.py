"""The events: that something has changed, so that an open page can renew itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from dispatcher.page.answers import Answer, Events
from dispatcher.page.live import Live
from dispatcher.page.problems import not_found
from dispatcher.page.routing import Page
from dispatcher.page.streams import event
from dispatcher.page.visit import Visit

LONGEST_S = 3_600.0
"""Seconds after which nothing is sent once more, and the browser comes back."""

PAUSE_S = 0.4
"""Seconds between two events at least."""


def events(visit: Visit) -> Answer:
    """Announce each new version."""
    live = visit.site.live
    if live is None:
        raise not_found()
    last = visit.request.headers.get("last-event-id", "")
    return Events(source=versions(live, last))


async def versions(live: Live, last: str) -> AsyncIterator[bytes]:
    """An event for each version after the last one that the browser knows; at first, if it knows
    none, for the present one.
    """
    while True:
        if live.version != last:
            last = live.version
            yield event({"version": last}, name="changed", event_id=last)
            await asyncio.sleep(PAUSE_S)
        await live.changed(last, within_s=LONGEST_S)


PAGES = (
    Page(
        path="/events",
        name="events",
        handler=events,
        summary="Server-sent events: one named 'changed' whenever what the pages show has changed.",
        stream=True,
    ),
)
