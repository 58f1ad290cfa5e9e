"""Desktops: which there are, how far they are, and what can be done with them."""

from __future__ import annotations

from dispatcher.model.names import is_id
from dispatcher.page.acting import SentAbout
from dispatcher.page.answers import Answer, Data, Elsewhere, Redirect, View
from dispatcher.page.desktop_launch import launch
from dispatcher.page.desktop_sending import (
    Wanted,
    destroy,
    preview_of_creation,
    send_creation,
)
from dispatcher.page.desktops import DesktopCard, DesktopCards, desktop_card, desktop_cards
from dispatcher.page.language import mark
from dispatcher.page.problems import Problem, not_found
from dispatcher.page.protection import FORM_TOKEN, is_no_click, navigates
from dispatcher.page.routing import Page
from dispatcher.page.sessions import SENT
from dispatcher.page.visit import CHECK, STEPS, Visit

TITLE = mark("Desktops")


def desktops(visit: Visit) -> Answer:
    """All that exist, and those that are being created."""
    gone = visit.query("all") == "1"
    shown = desktop_cards(visit.site, visit.person, destroyed=gone)
    extra = {"all": gone, "sent": _sent(visit, "desktops")}
    return View(template="desktops.html", title=TITLE, data=shown, extra=extra)


def desktop(visit: Visit) -> Answer:
    """One."""
    shown = desktop_card(visit.site, visit.person, _id(visit))
    extra = {"sent": _sent(visit, shown.id)}
    return View(template="desktop.html", title=shown.name or shown.id, data=shown, extra=extra)


def open_it(visit: Visit) -> Answer:
    """Lead the browser to it, with a new session."""
    if is_no_click(visit.request):
        raise Problem(status=503)
    if not navigates(visit.request):
        raise Problem(
            status=403,
            what=mark("the request is not from a click here; nothing was opened"),
            remedy=mark("Open the desktop from its page."),
        )
    return Elsewhere(url=launch(visit.site, visit.person, _id(visit), visit.query("target")))


def ask(visit: Visit) -> Answer:
    """Ask whether it is really to be destroyed."""
    shown = desktop_card(visit.site, visit.person, _id(visit))
    return View(template="desktop_destroy.html", title=shown.name or shown.id, data=shown)


def destroyed(visit: Visit) -> Answer:
    """Send the action that destroys it."""
    desktop_id = _id(visit)
    sent = destroy(visit.site, visit.person, desktop_id)
    note(visit, desktop_id, sent.summary)
    return Redirect(path=f"/desktops/{desktop_id}", data=sent)


def create(visit: Visit) -> Answer:
    """Send the action that creates one, or show it; for programs."""
    ours = ("step", "id", FORM_TOKEN)
    form = {key: value for key, value in visit.form.items() if key not in ours}
    action_id = visit.asked("id").strip()
    if visit.asked("step", STEPS) == CHECK:
        shown = preview_of_creation(visit.site, visit.person, form, action_id=action_id)
        return Data(data=shown)
    sent = send_creation(visit.site, visit.person, form, action_id=action_id)
    return Redirect(path=after_sending(visit, sent), data=sent)


def _sent(visit: Visit, key: str) -> str:
    """What became of the last request about something, once."""
    if visit.session is None or visit.as_json:
        return ""
    return visit.session.notes.pop(f"{SENT} desktop {key}", "")


def after_sending(visit: Visit, sent: SentAbout) -> str:
    """Where to go on: one that only a pull request has is not listed yet."""
    note(visit, "desktops" if sent.request else sent.id, sent.summary)
    return "/desktops" if sent.request else f"/desktops/{sent.id}"


def note(visit: Visit, key: str, summary: str) -> None:
    """Have the next page about something show what became of this request."""
    if visit.session is not None:
        visit.session.notes[f"{SENT} desktop {key}"] = summary


def _id(visit: Visit) -> str:
    given = visit.given("id")
    if not is_id(given):
        raise not_found(mark("no desktop has this id"))
    return given


PAGES = (
    Page(
        path="/desktops",
        name="desktops",
        handler=desktops,
        summary="The desktops that exist, and those that are being created.",
        label=mark("Desktops"),
        order=30,
        answer=DesktopCards,
        query={"all": "1 for those that were destroyed, too."},
    ),
    Page(
        path="/desktops",
        name="desktop_create",
        handler=create,
        method="POST",
        summary="Send the action that creates a desktop; with step=check, only show it.",
        asks=Wanted,
        answer=SentAbout,
    ),
    Page(
        path="/desktops/{id}",
        name="desktop",
        handler=desktop,
        summary="One desktop: its state, stage and percent, and what its machine answers.",
        answer=DesktopCard,
    ),
    Page(
        path="/desktops/{id}",
        name="desktop_delete",
        handler=destroyed,
        method="DELETE",
        summary="Send the action that destroys a desktop.",
        answer=SentAbout,
    ),
    Page(
        path="/desktops/{id}/launch",
        name="desktop_launch",
        handler=open_it,
        summary="Open a desktop: leads to it with a new session.",
        query={"target": "gateway or ip; the gateway by default, if it is behind one."},
        leads_away=True,
        statuses=(500, 502),
    ),
    Page(
        path="/desktops/{id}/destroy",
        name="desktop_destroy",
        handler=ask,
        summary="Ask whether a desktop is really to be destroyed.",
        answer=DesktopCard,
    ),
    Page(
        path="/desktops/{id}/destroy",
        name="desktop_destroy_confirmed",
        handler=destroyed,
        method="POST",
        summary="Send the action that destroys a desktop; for browsers.",
        answer=SentAbout,
    ),
)
