"""The description of all pages for programs: an OpenAPI document."""

from __future__ import annotations

from dispatcher.page.answers import Answer, Data
from dispatcher.page.openapi import document
from dispatcher.page.routing import Page, all_pages
from dispatcher.page.visit import Visit


def openapi(_visit: Visit) -> Answer:
    """The document; it says nothing about this installation."""
    return Data(data=document(all_pages()))


PAGES = (
    Page(
        path="/openapi",
        name="openapi",
        handler=openapi,
        summary="This document.",
        public=True,
    ),
)
