"""Stacks: which a person has, how far they are, and how to change and destroy them."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.errors import InvalidInput
from dispatcher.model.names import is_id
from dispatcher.operate.stacks import UPDATE
from dispatcher.page.acting import SentAbout, sending
from dispatcher.page.action_form import errors_of
from dispatcher.page.answers import Answer, Data, Redirect, View
from dispatcher.page.language import mark
from dispatcher.page.problems import UNREADABLE, Problem
from dispatcher.page.protection import FORM_TOKEN
from dispatcher.page.routing import Page
from dispatcher.page.sessions import SENT
from dispatcher.page.stack_form import StackForm, begin, entered
from dispatcher.page.stack_sending import (
    WantedUpdate,
    destroy,
    kit_of,
    preview_of_update,
    update,
)
from dispatcher.page.stacks import (
    ON_THE_WAY,
    STAGES,
    StackCard,
    StackCards,
    no_stack,
    stack_card,
    stack_cards,
)
from dispatcher.page.visit import CHECK, STEPS, Visit

TITLE = mark("Stacks")
UPDATE_TITLE = mark("Update a stack")


def stacks(visit: Visit) -> Answer:
    """Those of whoever is logged in."""
    gone = visit.query("all") == "1"
    shown = stack_cards(visit.site, visit.person, destroyed=gone)
    extra = {"all": gone, "sent": _sent(visit, "stacks")}
    return View(template="stacks.html", title=TITLE, data=shown, extra=extra)


def stack(visit: Visit) -> Answer:
    """One."""
    shown = stack_card(visit.site, visit.person, id_given(visit))
    extra = {"sent": _sent(visit, shown.id), "stages": STAGES, "on_the_way": ON_THE_WAY}
    return View(template="stack.html", title=shown.name or shown.id, data=shown, extra=extra)


def ask_update(visit: Visit) -> Answer:
    """The form of an update."""
    shown = stack_card(visit.site, visit.person, id_given(visit))
    return _update_form(shown, _begin_update(visit))


def updated(visit: Visit) -> Answer:
    """Send the action that changes it, or show it."""
    stack_id = id_given(visit)
    if visit.as_json:
        params = asked_params(visit)
        if visit.asked("step", STEPS) == CHECK:
            return Data(data=preview_of_update(visit.site, visit.person, stack_id, params))
        return _after_update(visit, update(visit.site, visit.person, stack_id, params))
    shown = stack_card(visit.site, visit.person, stack_id)
    form = entered(_begin_update(visit), visit.form)
    params, errors = form.params()
    if errors:
        return _update_form(shown, form.refused(errors), status=422)
    try:
        return _after_update(visit, update(visit.site, visit.person, stack_id, params))
    except InvalidInput as error:
        errors = errors_of(error.problems, form.fields)
    except Problem as problem:
        if problem.status != 422:
            raise
        errors = tuple(problem.errors)
    return _update_form(shown, form.refused(errors), status=422)


def ask(visit: Visit) -> Answer:
    """Ask whether it is really to be destroyed."""
    shown = stack_card(visit.site, visit.person, id_given(visit))
    return View(template="stack_destroy.html", title=shown.name or shown.id, data=shown)


def destroyed(visit: Visit) -> Answer:
    """Send the action that destroys it."""
    stack_id = id_given(visit)
    sent = destroy(visit.site, visit.person, stack_id)
    note(visit, stack_id, sent.summary)
    return Redirect(path=f"/stacks/{stack_id}", data=sent)


def asked_params(visit: Visit) -> Mapping[str, object]:
    """``[params]`` of what a program sent."""
    ours = ("step", "id", FORM_TOKEN)
    return {key: value for key, value in visit.form.items() if key not in ours}


def after_sending(visit: Visit, sent: SentAbout) -> str:
    """Where to go on: one that only a pull request has is not listed yet."""
    note(visit, "stacks" if sent.request else sent.id, sent.summary)
    return "/stacks" if sent.request else f"/stacks/{sent.id}"


def note(visit: Visit, key: str, summary: str) -> None:
    """Have the next page about something show what became of this request."""
    if visit.session is not None:
        visit.session.notes[f"{SENT} stack {key}"] = summary


def id_given(visit: Visit) -> str:
    """The id in the address.

    Raises:
        Problem: 404, it cannot be one.
    """
    given = visit.given("id")
    if not is_id(given):
        raise no_stack(given)
    return given


def _sent(visit: Visit, key: str) -> str:
    """What became of the last request about something, once."""
    if visit.session is None or visit.as_json:
        return ""
    return visit.session.notes.pop(f"{SENT} stack {key}", "")


def _after_update(visit: Visit, sent: SentAbout) -> Answer:
    note(visit, sent.id, sent.summary)
    return Redirect(path=f"/stacks/{sent.id}", data=sent)


def _begin_update(visit: Visit) -> StackForm:
    with sending(visit.site, visit.person) as client:
        client.look()
        schema = kit_of(client, UPDATE).schema
    return begin(schema.schema if schema is not None else None, without=("id",))


def _update_form(shown: StackCard, form: StackForm, *, status: int = 200) -> View:
    return View(
        template="stack_update.html",
        title=UPDATE_TITLE,
        data=shown,
        status=status,
        extra={"form": form, "unreadable": UNREADABLE},
    )


PAGES = (
    Page(
        path="/stacks",
        name="stacks",
        handler=stacks,
        summary="The stacks of whoever asks, and those that are being deployed; of the operator all.",
        label=mark("Stacks"),
        order=35,
        answer=StackCards,
        query={"all": "1 for those that were destroyed, too."},
    ),
    Page(
        path="/stacks/{id}",
        name="stack",
        handler=stack,
        summary="One stack: its state, stage and percent, address and certificate.",
        answer=StackCard,
    ),
    Page(
        path="/stacks/{id}/update",
        name="stack_update",
        handler=ask_update,
        summary="The form that changes a stack.",
        answer=StackCard,
    ),
    Page(
        path="/stacks/{id}/update",
        name="stack_updated",
        handler=updated,
        method="POST",
        summary="Send the action that changes a stack; with step=check, only show it.",
        asks=WantedUpdate,
        answer=SentAbout,
    ),
    Page(
        path="/stacks/{id}/destroy",
        name="stack_destroy",
        handler=ask,
        summary="Ask whether a stack is really to be destroyed.",
        answer=StackCard,
    ),
    Page(
        path="/stacks/{id}/destroy",
        name="stack_destroy_confirmed",
        handler=destroyed,
        method="POST",
        summary="Send the action that destroys a stack; for browsers.",
        answer=SentAbout,
    ),
)
