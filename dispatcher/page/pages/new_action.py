"""A new action: choose a formula, fill in its form, look at the file and its tier, and send it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dispatcher.errors import InvalidInput
from dispatcher.errors import Problem as FileProblem
from dispatcher.model.run import Formula
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.acting import send, sending
from dispatcher.page.action_form import (
    OWN,
    Field,
    action_of,
    errors_of,
    fields_of,
    file_name,
    filled,
    with_errors,
)
from dispatcher.page.answers import Answer, Redirect, View
from dispatcher.page.language import mark
from dispatcher.page.preview import Preview, preview
from dispatcher.page.problems import UNREADABLE, FieldError, Problem
from dispatcher.page.routing import Page
from dispatcher.page.sessions import SENT
from dispatcher.page.visit import SEND, STEPS, Visit
from dispatcher.schemas import params_problems

TITLE = mark("New action")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offered:
    """A formula that an action can name.

    Attributes:
        problem: why it cannot be used; "" if it can.
    """

    name: str
    description: str = ""
    from_repo: bool = False
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The form of one formula.

    Attributes:
        own: id, context and secrets.
        params: the formula's.
        errors: about no field, or about several.
    """

    formula: str
    own: tuple[Field, ...]
    params: tuple[Field, ...]
    errors: tuple[str, ...] = ()


def formulas(visit: Visit) -> Answer:
    """The formulas to choose from."""
    with sending(visit.site, visit.person) as client:
        client.look()
        names = sorted(client.formula_store.names(client.tree))
        found = [_offered(client, name) for name in names]
    return View(template="new_action_formulas.html", title=TITLE, data={"formulas": found})


def form(visit: Visit) -> Answer:
    """The form of a formula."""
    with sending(visit.site, visit.person) as client:
        client.look()
        name = visit.given("formula")
        made = Form(formula=name, own=_own(), params=_params(client, name))
    return _form_view(made)


def submit(visit: Visit) -> Answer:
    """Check what was entered, and show the file, or send it."""
    with sending(visit.site, visit.person) as client:
        client.look()
        name = visit.given("formula")
        params = filled(_params(client, name), visit.form)
        made = Form(formula=name, own=filled(_own(), visit.form), params=params)
        data, errors = action_of(name, params, visit.form)
        if errors:
            return _rejected(visit, made, errors)
        file = Path(file_name(data) or "new.toml")
        try:
            if visit.asked("step", STEPS) == SEND:
                sent = send(visit.site, client, file, data)
                if visit.session is not None:
                    visit.session.notes[f"{SENT} {sent.action_id}"] = sent.summary
                # One that only a pull request holds has no page yet.
                return Redirect(
                    path="/" if sent.request else f"/actions/{sent.action_id}",
                    data={
                        "id": sent.action_id,
                        "state": sent.state,
                        "summary": sent.summary,
                        "tier": sent.tier,
                        "commit": sent.commit or None,
                        "request": sent.request.url if sent.request else None,
                    },
                )
            return _preview(client, made, file, data)
        except InvalidInput as error:
            problems = dict.fromkeys((*error.problems, *_misfits(client, name, data, file)))
            return _rejected(visit, made, errors_of(problems, (*made.own, *params)))


def _misfits(client: SubmissionClient, name: str, data: bytes, file: Path) -> Sequence[FileProblem]:
    """What of the parameters does not fit, although something else of the action is invalid: people
    are told everything at once.
    """
    found = client.formula_store.find(name, client.tree)
    schema = client.formula_store.schema_of(found) if isinstance(found, Formula) else None
    if schema is None:
        return ()
    params = tomllib.loads(data.decode("utf-8")).get("params", {})
    return params_problems(schema, params, data, path=str(file))


def _preview(client: SubmissionClient, made: Form, file: Path, data: bytes) -> View:
    shown = preview(client, file, data)
    entered = {field.name: field.value for field in (*made.own, *made.params)}
    return View(
        template="new_action_preview.html",
        title=TITLE,
        data=shown,
        extra={"entered": entered},
    )


def _rejected(visit: Visit, made: Form, errors: Sequence[FieldError]) -> View:
    """The form again, each error at its field.

    Raises:
        Problem: for a program.
    """
    if visit.as_json:
        raise Problem(status=422, what=UNREADABLE, errors=errors)
    own, params = with_errors(made.own, errors), with_errors(made.params, errors)
    known = {field.name for field in (*own, *params)}
    rest = tuple(error.message for error in errors if error.field not in known)
    return _form_view(replace(made, own=own, params=params, errors=rest), status=422)


def _form_view(made: Form, *, status: int = 200) -> View:
    wrong = any(field.error for field in (*made.own, *made.params)) or bool(made.errors)
    return View(
        template="new_action_form.html",
        title=TITLE,
        data=made,
        status=status,
        extra={"wrong": wrong, "unreadable": UNREADABLE},
    )


def _own() -> tuple[Field, ...]:
    """The fields of every action; the template has their words."""
    return tuple(Field(name=name, label=name, required=name == "id") for name in OWN)


def _params(client: SubmissionClient, name: str) -> tuple[Field, ...]:
    """The fields of a formula's parameters.

    Raises:
        Problem: there is no such formula, or it cannot be used.
    """
    found = client.formula_store.find(name, client.tree)
    if found is None:
        raise Problem(
            status=404,
            what=mark("there is no formula %(name)s"),
            remedy=mark("Choose one from the list of formulas."),
            values={"name": name},
        )
    if not isinstance(found, Formula):
        raise Problem(status=409, what=found.reason)
    schema = client.formula_store.schema_of(found)
    return fields_of(schema.schema if schema else None)


def _offered(client: SubmissionClient, name: str) -> Offered:
    found = client.formula_store.find(name, client.tree)
    if not isinstance(found, Formula):
        return Offered(name=name, problem=found.reason if found is not None else "")
    schema = client.formula_store.schema_of(found)
    described = schema.schema.get("description", "") if schema else ""
    return Offered(
        name=name,
        description=described[:300] if isinstance(described, str) else "",
        from_repo=bool(found.path),
    )


PAGES = (
    Page(
        path="/new",
        name="new",
        handler=formulas,
        summary="The formulas that an action can name.",
        label=mark("New action"),
        order=20,
    ),
    Page(
        path="/new/{formula}",
        name="new_form",
        handler=form,
        summary="The form of a new action of one formula, from its schema.",
        answer=Form,
    ),
    Page(
        path="/new/{formula}",
        name="new_submit",
        handler=submit,
        method="POST",
        summary="Check a new action and show its file, tier and approval; with step=send, send it.",
        answer=Preview,
    ),
)
