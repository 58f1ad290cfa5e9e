"""The audit log: every decision with its reason, the newest first, and whether its chain is intact."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from dispatcher import audit
from dispatcher.audit import AuditEntry, AuditReport
from dispatcher.page.answers import Answer, Redirect, View
from dispatcher.page.background import Background, Work
from dispatcher.page.language import mark
from dispatcher.page.problems import Problem
from dispatcher.page.routing import Page
from dispatcher.page.site import Site
from dispatcher.page.visit import Visit

NAME = "audit.jsonl"
PAGE = 50
TERM_LIMIT = 200
"""Characters of a filter."""

FRESH_S = 60.0
"""Seconds between two verifications: nobody can write the log meanwhile."""

Verification = Work[AuditReport]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditShown:
    """A part of the audit log.

    Attributes:
        here: whether there is one in the page's state directory.
        entries: the newest first.
        older: the number below which the next page begins; 0 if there is none.
        complete: false if the search was cut short; ``older`` continues it.
        verification: of the whole chain, when somebody last asked for it.
    """

    here: bool
    entries: tuple[AuditEntry, ...]
    older: int
    complete: bool
    verification: Verification


def audit_log(visit: Visit) -> Answer:
    """A part of the log."""
    terms = {name: visit.query(name)[:TERM_LIMIT].strip() for name in ("event", "text")}
    before = visit.query("before")
    number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 0
    work = visit.site.once(verification).work
    here, page = True, audit.AuditPage(entries=(), older=0)
    try:
        path = visit.site.settings.state_dir / NAME
        page = audit.newest(
            path, count=PAGE, before=number, event=terms["event"], text=terms["text"]
        )
    except FileNotFoundError:
        here = False
    except OSError as error:
        raise Problem(
            status=503,
            what=mark("the audit log cannot be read: %(reason)s"),
            remedy=mark(
                "Let the user of the page read it, or look at it on the dispatcher's host."
            ),
            values={"reason": error.strerror or str(error)},
        ) from None
    shown = AuditShown(
        here=here,
        entries=page.entries,
        older=page.older,
        complete=page.complete,
        verification=work,
    )
    extra = {"wanted": terms, "before": number, "address": partial(_address, terms)}
    return View(template="audit.html", title=mark("Audit log"), data=shown, extra=extra)


def verify(visit: Visit) -> Answer:
    """Verify the chain, in the background."""
    _ = visit.person
    begun = visit.site.once(verification).begin()
    return Redirect(path="/audit", data={"begun": begun})


def verification(site: Site) -> Background[AuditReport]:
    """Verifies the log of a site, for ``Site.once``."""

    def steps() -> Generator[AuditReport, None, None]:
        yield audit.verify(site.settings.state_dir / NAME)

    return Background(
        steps,
        clock=site.clock,
        fresh_s=FRESH_S,
        defect=lambda error: site.event("defect", where="/audit/verify", error=error),
    )


def _address(terms: dict[str, str], before: int = 0) -> str:
    values = {**terms, "before": str(before or "")}
    return "/audit?" + urlencode({name: value for name, value in values.items() if value})


PAGES = (
    Page(
        path="/audit",
        name="audit",
        handler=audit_log,
        summary="The audit log: every decision with its reason, the newest first.",
        label=mark("Audit log"),
        order=70,
        answer=AuditShown,
    ),
    Page(
        path="/audit/verify",
        name="audit_verify",
        handler=verify,
        method="POST",
        summary="Verify the chain of the audit log, in the background; the audit log shows the outcome.",
    ),
)
