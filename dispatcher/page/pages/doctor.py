"""What ``disinto doctor`` finds with the permissions of the page, in the background; it changes nothing."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass

from dispatcher.model.checks import Check
from dispatcher.page.acting import followed
from dispatcher.page.answers import Answer, Redirect, View
from dispatcher.page.background import Background
from dispatcher.page.language import mark
from dispatcher.page.routing import Page
from dispatcher.page.site import Site
from dispatcher.page.visit import Visit

FRESH_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRow:
    """One check.

    Attributes:
        state: ``ok``, ``warning`` or ``failed``.
    """

    name: str
    state: str
    detail: str
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """The checks so far.

    Attributes:
        running: whether there will be more.
        began_at, ended_at: seconds since the epoch; None if it did not.
        ok, warnings, failed: how many.
        problem, remedy: why it ended early, in words; "" if it did not.
    """

    running: bool
    began_at: float | None
    ended_at: float | None
    ok: int
    warnings: int
    failed: int
    problem: str
    remedy: str
    checks: tuple[CheckRow, ...]


def doctor(visit: Visit) -> Answer:
    """The checks, as they were last found; the first visit begins them."""
    background = visit.site.once(diagnosing)
    if background.work.began_at is None:
        background.begin()
    work = background.work
    rows = tuple(map(_row, work.found))
    states = [row.state for row in rows]
    shown = Diagnosis(
        running=work.running,
        began_at=work.began_at,
        ended_at=work.ended_at,
        ok=states.count("ok"),
        warnings=states.count("warning"),
        failed=states.count("failed"),
        problem=work.problem,
        remedy=work.remedy,
        checks=rows,
    )
    return View(template="doctor.html", title=mark("Doctor"), data=shown)


def begin(visit: Visit) -> Answer:
    """Begin the checks anew."""
    _ = visit.person
    return Redirect(path="/doctor", data={"begun": visit.site.once(diagnosing).begin()})


def diagnosing(site: Site) -> Background[Check]:
    """Runs the checks of a site, for ``Site.once``."""
    return Background(
        lambda: checks_of(site),
        clock=site.clock,
        fresh_s=FRESH_S,
        defect=lambda error: site.event("defect", where="/doctor", error=error),
    )


def checks_of(site: Site) -> Generator[Check, None, None]:
    """The checks, with the page's own clone and the permissions of its process."""
    from dispatcher.assembly import doctor_openers
    from dispatcher.operate.doctor import diagnose

    openers = doctor_openers(site.settings, os.environ, repo=followed(site).repo)
    yield from diagnose(site.settings, openers, os.environ, read_only=True)


def _row(check: Check) -> CheckRow:
    state = "warning" if check.warning else "ok" if check.ok else "failed"
    return CheckRow(name=check.name, state=state, detail=check.detail, remedy=check.remedy)


PAGES = (
    Page(
        path="/doctor",
        name="doctor",
        handler=doctor,
        summary="Every dependency, permission and setting, with the remedy for what is wrong.",
        label=mark("Doctor"),
        order=80,
        answer=Diagnosis,
    ),
    Page(
        path="/doctor/check",
        name="doctor_check",
        handler=begin,
        method="POST",
        summary="Begin the checks anew, in the background; once a minute at most.",
    ),
)
