"""The overview: what runs, what waits and why, what is down, and what ended."""

from __future__ import annotations

from dispatcher.page.answers import Answer, View
from dispatcher.page.language import mark
from dispatcher.page.routing import Page
from dispatcher.page.visit import Visit
from dispatcher.status import status_file


def overview(visit: Visit) -> Answer:
    """The first page."""
    status = status_file.read(visit.site.settings.state_dir)
    open_ = status.overview.open if status is not None else ()
    return View(
        template="overview.html",
        title=mark("Overview"),
        data={"serving": status is not None and status.fresh, "open": open_},
    )


PAGES = (
    Page(
        path="/",
        name="overview",
        handler=overview,
        summary="What runs, what waits and why, what is down, and what ended.",
        label=mark("Overview"),
        order=10,
    ),
)
