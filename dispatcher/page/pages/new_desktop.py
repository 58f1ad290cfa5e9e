"""A new desktop, in three steps and a summary. Works without scripts: each step is a form."""

from __future__ import annotations

from collections.abc import Sequence

import tomli_w

from dispatcher.errors import InvalidInput
from dispatcher.model.names import is_id
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.acting import file_of, send_about, sending
from dispatcher.page.action_form import errors_of
from dispatcher.page.answers import Answer, Redirect, View
from dispatcher.page.desktop_reading import open_view
from dispatcher.page.desktop_sending import (
    Kit,
    kit_of,
    new_desktop,
)
from dispatcher.page.desktop_wizard import ID, Step, Wizard, as_before, begin, entered, until
from dispatcher.page.desktops import desktop_card
from dispatcher.page.language import mark
from dispatcher.page.pages.desktops import after_sending
from dispatcher.page.preview import preview
from dispatcher.page.problems import UNREADABLE, FieldError, Problem
from dispatcher.page.resource_runs import SAID_LIMIT
from dispatcher.page.routing import Page
from dispatcher.page.visit import Visit
from dispatcher.schemas import params_problems

TITLE = mark("New desktop")

SEND = "send"
"""In place of a step: send it."""


def first(visit: Visit) -> Answer:
    """The first step; of one that was not created, with its choices and what went wrong."""
    before, said = visit.query("from"), ""
    with sending(visit.site, visit.person) as client:
        client.look()
        wizard = _begin(kit_of(client))
    if is_id(before):
        with visit.site.once(open_view).reading() as reading:
            wizard = as_before(wizard, reading.params(before))
        failed = desktop_card(visit.site, visit.person, before)
        said = (failed.said or failed.problem)[-SAID_LIMIT:]
    return _step(wizard, said=said)


def go(visit: Visit) -> Answer:
    """Check what was entered at a step, and go to another, or send it."""
    at, wanted = _at(visit.field("at")), visit.field("go", Step.VIGILANCE)
    with sending(visit.site, visit.person) as client:
        client.look()
        kit = kit_of(client)
        wizard = entered(_begin(kit), visit.form, at=at)
        if wanted == SEND:
            return _send(visit, client, kit, wizard)
        to = _at(wanted)
        if list(Step).index(to) <= list(Step).index(at):
            return _step(entered(wizard, visit.form, at=to))  # back: nothing is checked
        if errors := until(at, _misfits(kit, wizard)):
            return _refused(visit, wizard, errors)
        wizard = entered(wizard, visit.form, at=to)
        return _summary(visit, client, kit, wizard) if to is Step.SUMMARY else _step(wizard)


def _begin(kit: Kit) -> Wizard:
    return begin(kit.schema.schema if kit.schema is not None else None, kit.apps)


def _summary(visit: Visit, client: SubmissionClient, kit: Kit, wizard: Wizard) -> Answer:
    params, errors = wizard.params()
    if errors:
        return _refused(visit, wizard, errors)
    try:
        made = new_desktop(visit.site, kit, params, action_id=wizard.value(ID).strip())
        shown = preview(client, file_of(made), made.data)
    except Problem as problem:
        return _refused(visit, wizard, problem.errors)
    except InvalidInput as error:
        return _refused(visit, wizard, errors_of(error.problems, wizard.fields))
    return View(
        template="new_desktop_file.html",
        title=TITLE,
        data=shown,
        extra={"wizard": wizard, "steps": tuple(Step)},
    )


def _send(visit: Visit, client: SubmissionClient, kit: Kit, wizard: Wizard) -> Answer:
    params, errors = wizard.params()
    if errors:
        return _refused(visit, wizard, errors)
    try:
        made = new_desktop(visit.site, kit, params, action_id=wizard.value(ID).strip())
        sent = send_about(visit.site, client, made.id, made)
    except InvalidInput as error:
        return _refused(visit, wizard, errors_of(error.problems, wizard.fields))
    except Problem as problem:
        if problem.status != 422:
            raise
        return _refused(visit, wizard, problem.errors)
    return Redirect(path=after_sending(visit, sent), data=sent)


def _misfits(kit: Kit, wizard: Wizard) -> tuple[FieldError, ...]:
    """What of the parameters does not fit the schema, as far as it was asked for."""
    params, errors = wizard.params()
    if kit.schema is None:
        return errors
    data = tomli_w.dumps({"params": params}).encode()
    problems = params_problems(kit.schema, params, data, path="new.toml")
    return (*errors, *errors_of(problems, wizard.fields))


def _refused(visit: Visit, wizard: Wizard, errors: Sequence[FieldError]) -> View:
    """The step that has something wrong.

    Raises:
        Problem: for a program.
    """
    if visit.as_json:
        raise Problem(status=422, what=UNREADABLE, errors=errors)
    return _step(wizard.refused(errors), status=422)


def _step(wizard: Wizard, *, said: str = "", status: int = 200) -> View:
    return View(
        template="new_desktop.html",
        title=TITLE,
        data=wizard,
        status=status,
        extra={"steps": tuple(Step), "said": said, "unreadable": UNREADABLE},
    )


def _at(name: str) -> Step:
    return Step(name) if name in set(Step) else Step.VIGILANCE


PAGES = (
    Page(
        path="/new-desktop",
        name="new_desktop",
        handler=first,
        summary="A new desktop: the first of its steps.",
        query={"from": "Id of an action whose choices are taken over."},
    ),
    Page(
        path="/new-desktop",
        name="new_desktop_step",
        handler=go,
        method="POST",
        summary="A step of a new desktop; programs use POST /desktops.",
    ),
)
