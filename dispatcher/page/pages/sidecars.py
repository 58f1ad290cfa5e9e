"""Sidecars: the rules, and what they make of the open issues of the projects."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

from dispatcher.decide.sidecar_rules import Sidecars, load_sidecars
from dispatcher.decide.sidecars import Why
from dispatcher.operate.sidecars import Planned, Row, plan
from dispatcher.page.acting import followed
from dispatcher.page.answers import Answer, Redirect, View
from dispatcher.page.background import Background
from dispatcher.page.language import mark
from dispatcher.page.routing import Page
from dispatcher.page.site import Site
from dispatcher.page.visit import Visit
from dispatcher.settings import Role

PAGE = 100
"""Issues with their rules on one page."""

FRESH_S = 60.0
"""Seconds between two reads of the issues: the forge is asked about every open one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IssueRow:
    """A rule and an open issue.

    Attributes:
        rule: "" if the labels fit none; then ``reason`` says why of each.
        action: what it starts; "" for nothing.
        again_at: when that may change by itself, RFC 3339.
        url: of the issue on the forge; "" if the forge is not configured.
    """

    project: str
    issue: int
    rule: str
    reason: str
    action: str
    again_at: str | None
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarsShown:
    """The rules, and the issues as they were last read.

    Attributes:
        configured: whether there are sidecars at all, and this page may know of them.
        projects, rules: as the file has them, by name.
        reading: whether the issues are being read.
        read_at: seconds since the epoch; None if they never were.
        issues: rules and issues.
        total: how many there are.
        more: the number at which the next page begins; 0 for the last one.
        problems: what could not be read, by project.
        problem, remedy: why nothing could be read, in words; "" if it could.
    """

    configured: bool
    projects: Mapping[str, dict[str, Any]]
    rules: Mapping[str, dict[str, Any]]
    reading: bool
    read_at: float | None
    issues: tuple[IssueRow, ...]
    total: int
    more: int
    problems: Mapping[str, str]
    problem: str
    remedy: str


def sidecars(visit: Visit) -> Answer:
    """The rules, and the issues as they were last read; the first visit has them read."""
    site, settings = visit.site, visit.site.settings
    file = settings.sidecars.file
    configured = file is not None and settings.role is not Role.AUTHOR
    known = load_sidecars(file) if configured and file is not None else Sidecars()
    background = site.once(reading)
    if configured and background.work.began_at is None:
        background.begin()
    work, project = background.work, visit.query("project")
    planned = work.found[-1] if work.found else Planned(rows=(), problems={})
    rows = [row for row in _rows(planned, known, site) if project in ("", row.project)]
    start = visit.query("from")
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 9 else 0
    shown = SidecarsShown(
        configured=configured,
        projects={name: asdict(each) for name, each in known.projects.items()},
        rules={name: asdict(each) for name, each in known.rules.items()},
        reading=work.running,
        read_at=work.ended_at,
        issues=tuple(rows[first : first + PAGE]),
        total=len(rows),
        more=first + PAGE if len(rows) > first + PAGE else 0,
        problems=planned.problems,
        problem=work.problem,
        remedy=work.remedy,
    )
    extra = {"project": project, "first": first, "address": partial(_address, project)}
    return View(template="sidecars.html", title=mark("Sidecars"), data=shown, extra=extra)


def read(visit: Visit) -> Answer:
    """Have the issues read anew."""
    _ = visit.person
    return Redirect(path="/sidecars", data={"begun": visit.site.once(reading).begin()})


def reading(site: Site) -> Background[Planned]:
    """Reads the issues of a site's projects, for ``Site.once``."""
    return Background(
        lambda: planned_by(site),
        clock=site.clock,
        fresh_s=FRESH_S,
        defect=lambda error: site.event("defect", where="/sidecars", error=error),
    )


def planned_by(site: Site) -> Generator[Planned, None, None]:
    """What the rules would start, with the page's own clone and the permissions of its process."""
    from dispatcher.assembly import build_components, build_view, open_issues

    repo = followed(site).repo
    components = build_components(site.settings, environ=os.environ, repo=repo)
    yield plan(components, build_view(components), open_issues(site.settings, os.environ))


def _rows(planned: Planned, known: Sidecars, site: Site) -> Iterator[IssueRow]:
    """One row for each rule whose labels fit; one for an issue that none fits."""
    for (project, issue), group in groupby(planned.rows, key=lambda row: (row.project, row.issue)):
        rows = list(group)
        make = partial(IssueRow, project=project, issue=issue, url=_url(site, known, rows[0]))
        fitting = [row for row in rows if row.why != Why.LABELS]
        for row in fitting:
            yield make(rule=row.rule, reason=row.reason, action=row.action, again_at=row.again_at)
        if not fitting:
            reason = "; ".join(f"{row.rule}: {row.reason}" for row in rows)
            yield make(rule="", reason=reason, action="", again_at=None)


def _url(site: Site, known: Sidecars, row: Row) -> str:
    project, base = known.projects.get(row.project), site.settings.forge.url.rstrip("/")
    if project is None or not base:
        return ""
    return f"{base}/{quote(project.repository)}/issues/{row.issue}"


def _address(project: str, first: int = 0) -> str:
    values = {"project": project, "from": str(first or "")}
    return "/sidecars?" + urlencode({name: value for name, value in values.items() if value})


PAGES = (
    Page(
        path="/sidecars",
        name="sidecars",
        handler=sidecars,
        summary="The rules of sidecars, and what they make of the open issues of the projects.",
        label=mark("Sidecars"),
        order=60,
        answer=SidecarsShown,
    ),
    Page(
        path="/sidecars/read",
        name="sidecars_read",
        handler=read,
        method="POST",
        summary="Read the issues anew, in the background; once a minute at most.",
    ),
)
