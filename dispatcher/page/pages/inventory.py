"""The inventory: what exists because a run created it."""

from __future__ import annotations

from urllib.parse import urlencode

from dispatcher.page.answers import Answer, View
from dispatcher.page.inventory_list import (
    InventoryDetails,
    InventoryList,
    inventory_details,
    inventory_list,
)
from dispatcher.page.language import mark
from dispatcher.page.routing import Page
from dispatcher.page.visit import Visit

TERM_LIMIT = 200
"""Characters of a filter."""


def inventory(visit: Visit) -> Answer:
    """What exists, by kind."""
    terms = {name: visit.query(name)[:TERM_LIMIT].strip() for name in ("kind", "text")}
    after = visit.query("after")[:TERM_LIMIT]
    shown = inventory_list(visit.site, **terms, after=after)
    return View(
        template="inventory.html",
        title=mark("Inventory"),
        data=shown,
        extra={"wanted": terms, "after": after, "address": lambda **more: _address(terms, **more)},
    )


def entry(visit: Visit) -> Answer:
    """One entry, with what its formula handed back."""
    details = inventory_details(visit.site, visit.given("kind"), visit.given("id"))
    return View(template="inventory_entry.html", title=details.row.id, data=details)


def _address(terms: dict[str, str], **more: str) -> str:
    return "/inventory?" + urlencode({k: v for k, v in {**terms, **more}.items() if v})


PAGES = (
    Page(
        path="/inventory",
        name="inventory",
        handler=inventory,
        summary="What exists because a run created it, of all kinds.",
        label=mark("Inventory"),
        order=50,
        answer=InventoryList,
    ),
    Page(
        path="/inventory/{kind}/{id}",
        name="inventory_entry",
        handler=entry,
        summary="One entry of the inventory, with what its formula handed back.",
        answer=InventoryDetails,
    ),
)
