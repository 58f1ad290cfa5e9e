"""One action: its file, approval, run, output and result; and the request to cancel it."""

from __future__ import annotations

from dispatcher.model.names import is_id
from dispatcher.operate.lookup import no_such
from dispatcher.page.account import Report, report
from dispatcher.page.acting import cancel
from dispatcher.page.answers import Answer, Events, Redirect, View
from dispatcher.page.routing import Page
from dispatcher.page.run_log import RunLogs, offsets_of
from dispatcher.page.sessions import SENT
from dispatcher.page.visit import Visit


def action(visit: Visit) -> Answer:
    """Everything about one action."""
    found = report(visit.site, _id(visit))
    sent = (
        visit.session.notes.pop(f"{SENT} {found.action.id}", "")
        if visit.session and not visit.as_json
        else ""
    )
    return View(template="action.html", title=found.action.id, data=found, extra={"sent": sent})


def log(visit: Visit) -> Answer:
    """The output of its run, while it is written."""
    reached = visit.request.headers.get("last-event-id", visit.query("from"))
    logs = visit.site.once(RunLogs)
    return Events(source=logs.events(_id(visit), offsets_of(reached)))


def request_cancel(visit: Visit) -> Answer:
    """Ask for it to be cancelled, as the person who is logged in."""
    action_id = _id(visit)
    sent = cancel(visit.site, visit.person, action_id, visit.field("reason").strip())
    if visit.session is not None:
        visit.session.notes[f"{SENT} {action_id}"] = sent.summary
    data = {
        "id": action_id,
        "summary": sent.summary,
        "commit": sent.commit or None,
        "request": sent.request.url if sent.request else None,
    }
    return Redirect(path=f"/actions/{action_id}", data=data)


def _id(visit: Visit) -> str:
    given = visit.given("id")
    if not is_id(given):
        raise no_such(given)
    return given


PAGES = (
    Page(
        path="/actions/{id}",
        name="action",
        handler=action,
        summary="One action: its file, approval, run and result.",
        answer=Report,
    ),
    Page(
        path="/actions/{id}/log",
        name="log",
        handler=log,
        summary="Server-sent events: the output of a run, from Last-Event-ID on, until it has ended.",
        stream=True,
    ),
    Page(
        path="/actions/{id}/cancel",
        name="cancel",
        handler=request_cancel,
        method="POST",
        summary="Ask for an action to be cancelled; takes effect once it is approved.",
    ),
)
