"""The overview: what runs, what waits and why, what is down, and what ended."""

from __future__ import annotations

from urllib.parse import urlencode

from dispatcher.model.verdicts import Verdict
from dispatcher.page.answers import Answer, View
from dispatcher.page.board import TERM_LIMIT, Board, Wanted, board, cursor
from dispatcher.page.chart import HEIGHT, WIDTH
from dispatcher.page.language import mark
from dispatcher.page.routing import Page
from dispatcher.page.visit import Visit
from dispatcher.status.action_record import FINISHED
from dispatcher.status.overview import State

STATES = (State.RUNNING, State.PENDING, State.WAITING)
"""Those of open actions that the form offers; others are taken from the address as well."""


def overview(visit: Visit) -> Answer:
    """The first page."""
    wanted = Wanted(
        **{name: visit.query(name)[:TERM_LIMIT].strip() for name in ("state", "formula", "author")},
        text=visit.query("text")[:TERM_LIMIT].strip(),
        before=cursor(visit.query("before")),
    )
    shown = board(visit.site.live, wanted, now=visit.site.clock())
    index = visit.site.live.index if visit.site.live is not None else None
    return View(
        template="overview.html",
        title=mark("Overview"),
        data=shown,
        extra={
            "wanted": wanted,
            "states": STATES,
            "finished": FINISHED,
            "verdicts": [verdict.value for verdict in Verdict],
            "formulas": index.formulas() if index else [],
            "authors": index.authors() if index else [],
            "chart_size": (WIDTH, HEIGHT),
            "address": lambda **changes: _address(wanted, **changes),
        },
    )


def _address(wanted: Wanted, **changes: str) -> str:
    """Of this page, with the same filters but for these."""
    terms = {name: getattr(wanted, name) for name in ("state", "formula", "author", "text")}
    return "/?" + urlencode({k: v for k, v in {**terms, **changes}.items() if v})


PAGES = (
    Page(
        path="/",
        name="overview",
        handler=overview,
        summary="What runs, what waits and why, what is down, and what ended.",
        label=mark("Overview"),
        order=10,
        answer=Board,
    ),
)
