"""The inventory as the page lists it: what signed results say exists, and files that none of them wrote."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.errors import NotFound
from dispatcher.loop.inventory import InventoryEntry, InventoryReader
from dispatcher.loop.inventory_search import Kept
from dispatcher.loop.kept_results import kept_by
from dispatcher.model.names import is_id
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.page.acting import followed
from dispatcher.page.site import Site
from dispatcher.settings import Role

PAGE = 100
"""Entries on one page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InventoryRow:
    """One entry in the list.

    Attributes:
        verified: whether a signed result of ours says that it exists.
        problem: why it is not believed, or what somebody did to its file; "" if all is well.
        action: id of the action whose run wrote it last; "" if that is unknown.
        since: when that run ended, RFC 3339; None if unknown.
        expires_at: when it is destroyed, RFC 3339; None for never.
        expired: whether that time is over.
    """

    kind: str
    id: str
    verified: bool
    problem: str
    path: str
    action: str
    since: str | None
    expires_at: str | None
    expired: bool

    @property
    def cursor(self) -> str:
        """Its place in the list."""
        return f"{self.kind}/{self.id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class InventoryList:
    """A part of the inventory.

    Attributes:
        commit: of the ops repo.
        kinds: how many entries there are, by kind, whatever was filtered.
        entries: by kind and id.
        total: how many fit the filter.
        more: the place after which the next page begins; "" for the last one.
        trouble: why the commit may not be the newest, in words; "" if it is.
    """

    commit: str
    kinds: Mapping[str, int]
    entries: tuple[InventoryRow, ...]
    total: int
    more: str
    trouble: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InventoryDetails:
    """One entry, with what its formula handed back.

    Attributes:
        tier, approved_by: of the run that wrote it last.
        destroyed_by: the formula that destroys it; "" if none is known.
    """

    row: InventoryRow
    tier: str
    approved_by: tuple[str, ...]
    destroyed_by: str
    entry: Mapping[str, Any]


class InventoryView:
    """Reads the inventory from the page's own clone. Thread-safe; keeps what it has read.

    Args:
        kept: see ``Kept``.
    """

    def __init__(self, repo: OpsRepo, reader: InventoryReader, *, kept: Kept | None) -> None:
        self._repo, self._reader, self._kept = repo, reader, kept
        self._tree = Tree()
        self._lock = threading.Lock()

    def read(self) -> tuple[str, list[InventoryEntry]]:
        """The newest commit that is here, "" for none, and all entries.

        Raises:
            Unavailable, Denied: our key is in Vault and cannot be read, or the ledger is needed.
        """
        head = self._repo.local_head()
        if head is None:
            return "", []
        with self._lock:
            self._repo.advance(self._tree, head.commit)
            return head.commit, self._reader.all(self._tree, kept=self._kept)


def open_view(site: Site) -> InventoryView:
    """The inventory of a site's ops repo, for ``Site.once``.

    Raises:
        Problem: the page follows no ops repo.
    """
    from dispatcher.assembly import open_inventory, open_vault
    from dispatcher.loop.signing import result_verifier

    settings, repo = site.settings, followed(site).repo
    verifier = result_verifier(settings, open_vault(settings, os.environ))
    reader = open_inventory(settings, repo, verifier)
    return InventoryView(repo, reader, kept=site.once(open_kept))


def open_kept(site: Site) -> Kept | None:
    """Reads the results that the ledger keeps; None for an author client, which has none. For ``Site.once``."""
    from dispatcher.assembly import open_ledger

    author = site.settings.role is Role.AUTHOR
    return kept_by(None if author else open_ledger(site.settings, os.environ))


def inventory_list(site: Site, *, kind: str = "", text: str = "", after: str = "") -> InventoryList:
    """A page of the inventory.

    Args:
        kind: only of this kind.
        text: must be a part of the id, or of the id of the action.
        after: the place of the last entry on the page before; see ``InventoryRow.cursor``.

    Raises:
        Problem, Unavailable, Denied: see ``open_view`` and ``InventoryView.read``.
    """
    commit, entries = site.once(open_view).read()
    now, wanted = site.clock(), text.lower()
    rows = [
        _row(entry, now)
        for entry in entries
        if kind in ("", entry.kind) and (wanted in entry.id or wanted in entry.result)
    ]
    place = tuple(after.split("/", 1)) if after else ()
    rest = [row for row in rows if (row.kind, row.id) > place]
    return InventoryList(
        commit=commit,
        kinds=dict(sorted(Counter(entry.kind for entry in entries).items())),
        entries=tuple(rest[:PAGE]),
        total=len(rows),
        more=rest[PAGE - 1].cursor if len(rest) > PAGE else "",
        trouble=followed(site).trouble,
    )


def inventory_details(site: Site, kind: str, entry_id: str) -> InventoryDetails:
    """One entry.

    Raises:
        NotFound: there is none.
        Problem, Unavailable, Denied: see ``inventory_list``.
    """
    _, entries = site.once(open_view).read()
    found = next((e for e in entries if (e.kind, e.id) == (kind, entry_id)), None)
    if found is None:
        shown = f"{kind}/{entry_id}" if is_id(entry_id) and is_id(kind) else "of this name"
        raise NotFound(
            f"the inventory has no entry {shown}",
            remedy="It was destroyed, or it never existed: the inventory lists what exists.",
        )
    return InventoryDetails(
        row=_row(found, site.clock()),
        tier=found.tier,
        approved_by=found.approved_by,
        destroyed_by=found.destroyed_by,
        entry=found.entry,
    )


def _row(entry: InventoryEntry, now: float) -> InventoryRow:
    missing = "somebody removed the file; shown is what the result has" if entry.missing else ""
    return InventoryRow(
        kind=entry.kind,
        id=entry.id,
        verified=not entry.problem,
        problem=entry.problem or entry.forged or missing,
        path=entry.path,
        action=entry.result if is_id(entry.result) else "",
        since=entry.at or None,
        expires_at=entry.expires_at or None,
        expired=entry.expires_s is not None and entry.expires_s <= now,
    )
