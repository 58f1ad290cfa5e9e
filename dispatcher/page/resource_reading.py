"""Reads what a provisioner made from the page's own clone, and what the dispatcher here knows of its actions."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dispatcher.attestation import SignatureVerifier
from dispatcher.errors import DisintoError
from dispatcher.loop.inventory import InventoryReader
from dispatcher.loop.inventory_search import Kept
from dispatcher.loop.verifying import Unsigned
from dispatcher.model.action import Action, parse_action
from dispatcher.operate.desktop_owner import Origin, Owner, origin_of, owner_of
from dispatcher.operate.evidence import trusted_keys
from dispatcher.operate.files import read_action, valid_open_actions
from dispatcher.operate.provisioned import Resource, Resources
from dispatcher.ops_repo import Tree
from dispatcher.page.acting import followed
from dispatcher.page.inventory_list import open_kept
from dispatcher.page.live import Live
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.settings import Settings
from dispatcher.status.overview import OpenAction, Overview

S = TypeVar("S", bound=Resources[Any])
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class ResourceReading(Generic[S]):
    """The resources at one commit, for as long as the view is held.

    Attributes:
        open: the open actions about them, by id.
        overview: of the dispatcher here, if it runs.
        trouble: why nothing is verified, in words; "" if it is.
    """

    live: Live
    tree: Tree
    resources: S
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

    def destroying(self, resource_id: str) -> str:
        """Id of the open action that destroys one, or ""."""
        return self.about(resource_id, self.resources.kind.destroy)

    def about(self, resource_id: str, formula: str) -> str:
        """Id of the open action of a formula about one, or ""."""
        for action in self.open.values():
            if action.formula == formula and action.params.get("id") == resource_id:
                return action.id
        return ""


G = TypeVar("G", bound=ResourceReading[Any])


class ResourceView(Generic[G]):
    """Reads resources from the page's own clone. Thread-safe; keeps what it has read.

    Args:
        verifier: of results.
        kept: results that the ledger keeps, if it is within reach.
        resources: makes what reads them.
        reading: the class of what is read.
        about: formulas whose open actions are read.
    """

    def __init__(
        self,
        settings: Settings,
        live: Live,
        verifier: SignatureVerifier,
        kept: Kept | None,
        *,
        resources: Callable[..., Resources[Any]],
        reading: type[G],
        about: Collection[str],
    ) -> None:
        from dispatcher.assembly import open_inventory

        self.settings, self.live, self.verifier = settings, live, verifier
        self._kept = kept
        self._resources, self._made, self._about = resources, reading, about
        self._tree = Tree()
        self._lock = threading.RLock()
        self._owners: dict[Origin, Owner | None] = {}
        self._verified = open_inventory(settings, live.repo, verifier)
        self._unverified = InventoryReader(live.repo, Unsigned())

    @contextmanager
    def reading(self) -> Iterator[G]:
        """The resources at the newest commit that is here; nobody else reads meanwhile.

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
            resources = self._resources(
                repo=self.live.repo,
                tree=self._tree,
                reader=reader,
                overview=overview,
                kept=self._kept,
            )
            opened = valid_open_actions(self.live.repo, self._tree)
            yield self._made(
                live=self.live,
                tree=self._tree,
                resources=resources,
                open={action.id: action for action in opened if action.formula in self._about},
                overview=overview,
                trouble=trouble,
            )

    def owner(self, reading: G, resource: Resource) -> Owner | None:
        """Whose one is, by what is signed; None if nothing says so."""
        entry = resource.entry
        if entry is None or entry.problem or reading.trouble:
            return None
        origin = origin_of(entry, self.live.repo, self._tree, self._verified)
        if origin is None:
            return None
        if origin not in self._owners:
            self._owners[origin] = owner_of(origin, self.live.repo)
        return self._owners[origin]

    def is_of(self, reading: G, resource: Resource, person: Person) -> bool:
        """Whether one is a person's: the operator's all are."""
        return person.operator or is_person(self.owner(reading, resource), person)


def is_person(owner: Owner | None, person: Person) -> bool:
    """Whether an owner is this person, by the e-mail address."""
    address = person.email.strip().lower()
    return owner is not None and bool(address) and owner.address == address


def open_view(site: Site, view: Callable[[Settings, Live, SignatureVerifier, Kept | None], V]) -> V:
    """A view of the resources of a site's ops repo.

    Raises:
        Problem: the page follows no ops repo.
    """
    from dispatcher.assembly import open_vault
    from dispatcher.vault.transit import TransitKey

    settings = site.settings
    transit = TransitKey(open_vault(settings, os.environ), settings)
    verifier = SignatureVerifier(lambda: trusted_keys((), settings, transit))
    return view(settings, followed(site), verifier, site.once(open_kept))
