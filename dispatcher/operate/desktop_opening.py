"""Opens a desktop for a person, from its entry to a session: what the command and the page both do."""

from __future__ import annotations

from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktop_access import (
    NotActive,
    Place,
    Session,
    begin_session,
    credentials_of,
)
from dispatcher.settings import Settings
from dispatcher.vault import Vault


def open_desktop(
    entry: InventoryEntry,
    *,
    place: Place,
    vault: Vault,
    settings: Settings,
    username: str,
    now: float,
) -> Session:
    """Derive the credentials, and log a person in.

    Args:
        entry: of the inventory, believed.
        place: of this desktop.
        vault: may derive, and nothing else of it is used; it is closed.
        username: what Guacamole's log has.
        now: seconds since the epoch.

    Raises:
        NotActive: its lifetime is over, so no login would last.
        InvalidValue, Misconfigured, Unavailable, Denied, Rejected: see ``credentials_of``.
        DesktopUnreachable, DesktopRefused: see ``begin_session``.
    """
    try:
        if entry.expires_s is not None and entry.expires_s <= now:
            raise NotActive(
                f"desktop {entry.id} expired at {entry.expires_at}",
                remedy="The dispatcher destroys it; create another.",
            )
        credentials = credentials_of(entry, vault, settings)
    finally:
        vault.close()
    return begin_session(place, credentials, username=username, now=now, until_s=entry.expires_s)
