"""Reads stacks from the page's own clone, and whose they are."""

from __future__ import annotations

from dispatcher.attestation import SignatureVerifier
from dispatcher.loop.formulas import FormulaStore
from dispatcher.loop.inventory_search import Kept
from dispatcher.operate.desktop_owner import Origin, Owner, owner_of
from dispatcher.operate.stacks import (
    STACK,
    UPDATE,
    NameFound,
    Stacks,
    find_name,
    settings_from,
)
from dispatcher.page import resource_reading
from dispatcher.page.acting import followed, formula_of
from dispatcher.page.language import mark
from dispatcher.page.live import Live
from dispatcher.page.resource_reading import ResourceReading, ResourceView, is_person
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.settings import Settings
from dispatcher.stack.params import SETTINGS_FILE, StackSettings

MISSING = mark("stacks are not set up here")
SET_UP = mark("The operator sets them up: see docs/stacks.md.")

MOST_AUTHORS = 1_000
"""Authors of actions without an entry that are remembered."""


class Reading(ResourceReading[Stacks]):
    """The stacks at one commit, for as long as the view is held."""

    @property
    def stacks(self) -> Stacks:
        """What is read."""
        return self.resources


class StacksView(ResourceView[Reading]):
    """Reads stacks from the page's own clone. Thread-safe; keeps what it has read.

    Args:
        verifier: of results.
        kept: results that the ledger keeps, if it is within reach.
    """

    def __init__(
        self,
        settings: Settings,
        live: Live,
        verifier: SignatureVerifier,
        kept: Kept | None = None,
    ) -> None:
        super().__init__(
            settings,
            live,
            verifier,
            kept,
            resources=Stacks,
            reading=Reading,
            about=(STACK.create, STACK.destroy, UPDATE),
        )
        self._formulas = FormulaStore(folder=settings.formulas.path, repo=live.repo)
        self._authors: dict[tuple[str, str], Owner | None] = {}

    def author(self, reading: Reading, action_id: str) -> Owner | None:
        """Who wrote an action that made no stack, or none yet, by git alone: it decides only what is shown."""
        file = reading.tree.action_file(action_id)
        if file is None:
            return None
        key = (action_id, file.blob)
        if key not in self._authors:
            if len(self._authors) >= MOST_AUTHORS:
                self._authors.clear()
            origin = Origin(action_id=action_id, blob=file.blob, commit=reading.tree.commit)
            self._authors[key] = owner_of(origin, self.live.repo)
        return self._authors[key]

    def is_author(self, reading: Reading, action_id: str, person: Person) -> bool:
        """Whether a person wrote an action; see ``author``."""
        return is_person(self.author(reading, action_id), person)

    def stack_settings(self, reading: Reading) -> StackSettings:
        """The settings beside the formula.

        Raises:
            Problem: there is no such formula here, or it cannot be used.
            BadParams: the settings cannot be used.
        """
        found = formula_of(
            self._formulas, reading.tree, STACK.create, missing=MISSING, remedy=SET_UP
        )
        return settings_from(found.files.get(SETTINGS_FILE))

    def find_name(self, name: str) -> NameFound:
        """Whether a new stack may have a name.

        Raises:
            Problem, BadParams: see ``stack_settings``.
            Unavailable, Denied: see ``reading``.
        """
        with self.reading() as reading:
            return find_name(name, reading.stacks.names(), self.stack_settings(reading))


def open_view(site: Site) -> StacksView:
    """The stacks of a site's ops repo, for ``Site.once``.

    Raises:
        Problem: the page follows no ops repo.
    """
    return resource_reading.open_view(site, StacksView)


def check_name(site: Site, name: str) -> NameFound:
    """Whether a new stack may have a name, as far as the page knows.

    Raises:
        Problem, BadParams, Unavailable, Denied: see ``StacksView.find_name``.
    """
    followed(site)
    return site.once(open_view).find_name(name)
