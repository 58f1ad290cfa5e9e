"""What the page sends to the ops repo, as the person who is logged in and by the ways of the commands."""

from __future__ import annotations

import os

from dispatcher.operate.request_cancel import SentRequest, ask_to_cancel
from dispatcher.page.language import mark
from dispatcher.page.live import Live
from dispatcher.page.problems import Problem
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site


def cancel(site: Site, person: Person, action_id: str, reason: str) -> SentRequest:
    """Send a request to cancel; it takes effect once it is approved as the action has to be.

    Raises:
        Problem: this person cannot send anything from here.
        NotFound, EndedAlready, InvalidInput, Conflict, NeedsSignature, Misconfigured, Unavailable,
            Denied: see ``ask_to_cancel``.
    """
    from dispatcher.assembly import open_client

    if site.live is None or not person.operator:
        raise Problem(status=403, what=mark("you cannot send anything from this page yet"))
    author = (person.name, person.email) if person.name and person.email else None
    client = open_client(site.settings, os.environ, author=author)
    sent = ask_to_cancel(client, action_id, reason=reason, sign=False)
    site.live.refresh()
    return sent


def followed(site: Site) -> Live:
    """What the page follows.

    Raises:
        Problem: it follows nothing.
    """
    if site.live is None:
        raise Problem(status=503, what=mark("this page follows no ops repo"))
    return site.live
