"""The description of all pages for programs: an OpenAPI document."""

from __future__ import annotations

from dispatcher.page.answers import Answer, Data
from dispatcher.page.openapi import document
from dispatcher.page.routing import Page, all_pages
from dispatcher.page.visit import Visit, cookie_name


def openapi(visit: Visit) -> Answer:
    """The document; of this installation it says only how one logs in."""
    tokens = visit.site.bearer is not None
    return Data(data=document(all_pages(), cookie=cookie_name(visit.site), tokens=tokens))


PAGES = (
    Page(
        path="/openapi",
        name="openapi",
        handler=openapi,
        summary="This document.",
        public=True,
    ),
)
