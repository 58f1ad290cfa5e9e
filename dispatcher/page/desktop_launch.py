"""Opens a desktop for the person who is logged in: an address with a session of theirs, and nothing else.

As with ``disinto desktop open``, credentials are derived for one request and leave this process in one
encrypted document, in the body of a request to the desktop itself.
"""

from __future__ import annotations

import os
import threading

from dispatcher.assembly import open_vault
from dispatcher.errors import DisintoError
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktop_access import (
    DesktopRefused,
    DesktopUnreachable,
    NotActive,
    Place,
    Target,
    place_of,
)
from dispatcher.operate.desktop_opening import open_desktop
from dispatcher.operate.desktops import Desktop
from dispatcher.page.desktop_reading import open_view
from dispatcher.page.language import mark
from dispatcher.page.problems import FieldError, Problem
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.settings import Settings
from dispatcher.vault import Vault
from dispatcher.vault.page import is_page

AT_ONCE = 8
"""Desktops that are being opened at a time; each may take a while."""

_TURNS = threading.BoundedSemaphore(AT_ONCE)


def launch(site: Site, person: Person, desktop_id: str, target: str) -> str:
    """The address that opens a desktop, good for this person's browser; with a session's token in its
    fragment, which browsers send to no server.

    Args:
        target: ``gateway`` or ``ip``; "" for the gateway, if it is behind one.

    Raises:
        Problem: 404 for somebody else's; 409 if it is not ready; 422 for a target that it has not;
            429; 500 if the credentials cannot be derived; 502 or 503 if the desktop does not answer.
        NotFound: there is none.
    """
    if target and target not in set(Target):
        error = FieldError(field="target", message="gateway or ip")
        raise Problem(status=422, what=mark("this is not a target"), errors=[error])
    view = site.once(open_view)
    with view.reading() as reading:
        desktop = reading.desktops.get(desktop_id)
        known, trouble = view.is_of(reading, desktop, person), reading.trouble
        entry = _entry(desktop, known=known)
    if trouble:
        raise _not_ready(entry.id, trouble)
    place = _place(entry, Target(target) if target else None)
    if not _TURNS.acquire(blocking=False):
        what = mark("too many desktops are being opened at this moment")
        raise Problem(status=429, what=what, headers={"Retry-After": "5"})
    try:
        return _opened(site, person, entry, place)
    finally:
        _TURNS.release()


def _entry(desktop: Desktop, *, known: bool) -> InventoryEntry:
    """The entry of a desktop that this person may open."""
    if desktop.entry is None:
        raise _not_ready(desktop.id, desktop.shown_state)
    if not known or desktop.ended_by:
        raise Problem(
            status=404,
            what=mark("you have no desktop %(id)s"),
            remedy=mark("A desktop is opened by whoever created it. See the list of desktops."),
            values={"id": desktop.id},
        )
    return desktop.entry


def _place(entry: InventoryEntry, target: Target | None) -> Place:
    try:
        return place_of(entry, target)
    except NotActive as error:
        raise _not_ready(entry.id, error.what) from None
    except DisintoError as error:
        raise Problem(status=409, what=error.what, remedy=error.remedy or "") from None


def _opened(site: Site, person: Person, entry: InventoryEntry, place: Place) -> str:
    settings = site.settings
    try:
        return open_desktop(
            entry,
            place=place,
            vault=_vault(settings),
            settings=settings,
            username=person.login,
            now=site.clock(),
        ).url
    except DesktopUnreachable:
        raise
    except NotActive as error:
        raise _not_ready(entry.id, error.what) from None
    except DesktopRefused as error:
        raise Problem(status=502, what=error.what, remedy=error.remedy or "") from None
    except DisintoError as error:
        raise Problem(
            status=500,
            title=mark("The credentials are unavailable"),
            what=mark("credentials are unavailable: %(why)s"),
            remedy=error.remedy or mark("Check that Vault is up and which token the page uses."),
            values={"why": error.what},
        ) from None


def _vault(settings: Settings) -> Vault:
    """With the page's own permissions if it has some, else with those of whoever started it."""
    own = open_vault(settings, os.environ)
    if is_page(own, settings):
        return own
    own.close()
    return Vault.of_operator(settings.vault, environ=os.environ)


def _not_ready(desktop_id: str, why: str) -> Problem:
    return Problem(
        status=409,
        title=mark("This desktop is not ready"),
        what=mark("%(id)s is not ready: %(why)s"),
        remedy=mark("Its page shows how far it is."),
        values={"id": desktop_id, "why": why},
    )
