"""Reads desktops from the page's own clone, and what the dispatcher here knows of their actions."""

from __future__ import annotations

from dispatcher.attestation import SignatureVerifier
from dispatcher.loop.inventory_search import Kept
from dispatcher.operate.desktops import CREATE, DESTROY, Desktops
from dispatcher.page import resource_reading
from dispatcher.page.live import Live
from dispatcher.page.resource_reading import ResourceReading, ResourceView
from dispatcher.page.site import Site
from dispatcher.settings import Settings


class Reading(ResourceReading[Desktops]):
    """The desktops at one commit, for as long as the view is held."""

    @property
    def desktops(self) -> Desktops:
        """What is read."""
        return self.resources


class DesktopsView(ResourceView[Reading]):
    """Reads desktops from the page's own clone. Thread-safe; keeps what it has read.

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
            resources=Desktops,
            reading=Reading,
            about=(CREATE, DESTROY),
        )


def open_view(site: Site) -> DesktopsView:
    """The desktops of a site's ops repo, for ``Site.once``.

    Raises:
        Problem: the page follows no ops repo.
    """
    return resource_reading.open_view(site, DesktopsView)
