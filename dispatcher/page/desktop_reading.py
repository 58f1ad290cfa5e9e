"""Reads desktops from the page's own clone, and what the dispatcher here knows of their actions."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from dispatcher.attestation import SignatureVerifier
from dispatcher.errors import DisintoError
from dispatcher.loop.inventory import InventoryReader
from dispatcher.loop.inventory_search import Kept
from dispatcher.loop.verifying import Unsigned
from dispatcher.model.action import Action, parse_action
from dispatcher.operate.desktop_owner import Origin, Owner, origin_of, owner_of
from dispatcher.operate.desktops import CREATE, DESTROY, Desktop, Desktops
from dispatcher.operate.evidence import trusted_keys
from dispatcher.operate.files import read_action, valid_open_actions
from dispatcher.ops_repo import Tree
from dispatcher.page.acting import followed
from dispatcher.page.inventory_list import open_kept
from dispatcher.page.live import Live
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.settings import Settings
from dispatcher.status.overview import OpenAction, Overview


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The desktops at one commit, for as long as the view is held.

    Attributes:
        open: the open actions about desktops, by id.
        overview: of the dispatcher here, if it runs.
        trouble: see ``DesktopCards``.
    """

    live: Live
    tree: Tree
    desktops: Desktops
    open: Mapping[str, Action]
    overview: Overview | None
    trouble: str

    def row(self, action_id: str) -> OpenAction | None:
        """What the dispatcher here knows of an open action."""
        return self.overview.find(action_id) if self.overview is not None else None

    def params(self, action_id: str) -> Mapping[str, object]:
        """``[params]`` of an action, open or not, as far as it can be read."""
        data = read_action(self.live.repo, self.tree, action_id)
        path = self.tree.action_path(action_id) or ""
        action = parse_action(data, path=path, stem=action_id) if isinstance(data, bytes) else None
        return action.params if isinstance(action, Action) else {}

    def destroying(self, desktop_id: str) -> str:
        """Id of the open action that destroys a desktop, or ""."""
        for action in self.open.values():
            if action.formula != CREATE and action.params.get("id") == desktop_id:
                return action.id
        return ""


@dataclass
class DesktopsView:
    """Reads desktops from the page's own clone. Thread-safe; keeps what it has read.

    Args:
        verifier: of results.
        kept: results that the ledger keeps, if it is within reach.
    """

    settings: Settings
    live: Live
    verifier: SignatureVerifier
    kept: Kept | None = None
    _tree: Tree = field(default_factory=Tree)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _owners: dict[Origin, Owner | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from dispatcher.assembly import open_inventory

        self._verified = open_inventory(self.settings, self.live.repo, self.verifier)
        self._unverified = InventoryReader(self.live.repo, Unsigned())

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """The desktops at the newest commit that is here; nobody else reads meanwhile.

        Raises:
            Unavailable, Denied: there is none yet, and the remote does not answer.
        """
        status, trouble = self.live.status, ""
        overview = status.overview if status is not None and status.fresh else None
        reader = self._verified
        with self._lock:
            # Before the first fetch there is no commit to read at.
            head = self.live.repo.local_head() or self.live.repo.fetch()
            self.live.repo.advance(self._tree, head.commit)
            try:
                self.verifier.keys_digest()
            except DisintoError as error:
                reader, trouble = self._unverified, error.what
            desktops = Desktops(
                repo=self.live.repo,
                tree=self._tree,
                reader=reader,
                overview=overview,
                kept=self.kept,
            )
            about = (CREATE, DESTROY)
            opened = valid_open_actions(self.live.repo, self._tree)
            yield Reading(
                live=self.live,
                tree=self._tree,
                desktops=desktops,
                open={action.id: action for action in opened if action.formula in about},
                overview=overview,
                trouble=trouble,
            )

    def owner(self, reading: Reading, desktop: Desktop) -> Owner | None:
        """Whose a desktop is, by what is signed; None if nothing says so."""
        entry = desktop.entry
        if entry is None or entry.problem or reading.trouble:
            return None
        origin = origin_of(entry, self.live.repo, self._tree, self._verified)
        if origin is None:
            return None
        if origin not in self._owners:
            self._owners[origin] = owner_of(origin, self.live.repo)
        return self._owners[origin]

    def is_of(self, reading: Reading, desktop: Desktop, person: Person) -> bool:
        """Whether a desktop is a person's: the operator's all are."""
        if person.operator:
            return True
        owner, address = self.owner(reading, desktop), person.email.strip().lower()
        return owner is not None and bool(address) and owner.address == address


def open_view(site: Site) -> DesktopsView:
    """The desktops of a site's ops repo, for ``Site.once``.

    Raises:
        Problem: the page follows no ops repo.
    """
    from dispatcher.assembly import open_vault
    from dispatcher.vault.transit import TransitKey

    settings = site.settings
    transit = TransitKey(open_vault(settings, os.environ), settings)
    verifier = SignatureVerifier(lambda: trusted_keys((), settings, transit))
    return DesktopsView(settings, followed(site), verifier, site.once(open_kept))
