"""A new stack: one form, whose name is checked as it is typed, and without scripts when it is sent."""

from __future__ import annotations

from collections.abc import Sequence

import tomli_w

from dispatcher.errors import InvalidInput
from dispatcher.model.names import is_id
from dispatcher.page.acting import file_of, send_about, sending
from dispatcher.page.action_form import errors_of
from dispatcher.page.answers import Answer, Redirect, View
from dispatcher.page.language import mark
from dispatcher.page.pages.stacks import after_sending
from dispatcher.page.preview import preview
from dispatcher.page.problems import UNREADABLE, FieldError, Problem
from dispatcher.page.resource_runs import SAID_LIMIT
from dispatcher.page.routing import Page
from dispatcher.page.stack_form import StackForm, as_before, begin, entered
from dispatcher.page.stack_reading import open_view
from dispatcher.page.stack_sending import StackKit, kit_of, new_stack
from dispatcher.page.stacks import StackCard, stack_card
from dispatcher.page.visit import CHECK, STEPS, Visit
from dispatcher.schemas import params_problems

TITLE = mark("New stack")
BACK = "back"


def form(visit: Visit) -> Answer:
    """The form; of one that was not deployed, with what was entered and what went wrong."""
    before = visit.query("from")
    with sending(visit.site, visit.person) as client:
        client.look()
        kit = kit_of(client)
    made, failed = _begin(kit), None
    if is_id(before):
        failed = stack_card(visit.site, visit.person, before)
        with visit.site.once(open_view).reading() as reading:
            made = as_before(made, reading.params(before))
    return _form(kit, made, failed=failed)


def submit(visit: Visit) -> Answer:
    """Check what was entered, and send it, or show the file."""
    step = visit.asked("step", (*STEPS, BACK))
    with sending(visit.site, visit.person) as client:
        client.look()
        kit = kit_of(client)
        made = entered(_begin(kit), visit.form)
        if step == BACK:
            return _form(kit, made)
        params, errors = made.params()
        if errors:
            return _refused(visit, kit, made, errors)
        try:
            action = new_stack(visit.site, kit, params, action_id="")
            if step == CHECK:
                return _file(kit, made, preview(client, file_of(action), action.data))
            sent = send_about(visit.site, client, action.id, action)
        except InvalidInput as error:
            return _refused(visit, kit, made, errors_of(error.problems, made.fields))
        except Problem as problem:
            if not problem.errors:
                raise
            return _refused(visit, kit, made, _all_wrong(kit, made, problem.errors))
    return Redirect(path=after_sending(visit, sent), data=sent)


def _all_wrong(
    kit: StackKit, made: StackForm, errors: Sequence[FieldError]
) -> Sequence[FieldError]:
    """What is wrong with a field, and what of the others does not fit the schema: people are told everything
    at once.
    """
    if kit.schema is None:
        return errors
    params, _ = made.params()
    data = tomli_w.dumps({"params": params}).encode()
    problems = params_problems(kit.schema, params, data, path="new.toml")
    known = {error.field for error in errors}
    more = (each for each in errors_of(problems, made.fields) if each.field not in known)
    return (*errors, *more)


def _begin(kit: StackKit) -> StackForm:
    needed = () if kit.settings.image else ("image",)
    return begin(kit.schema.schema if kit.schema is not None else None, needed=needed)


def _refused(visit: Visit, kit: StackKit, made: StackForm, errors: Sequence[FieldError]) -> View:
    """The form again, each error at its field.

    Raises:
        Problem: for a program.
    """
    if visit.as_json:
        raise Problem(status=422, what=UNREADABLE, errors=errors)
    return _form(kit, made.refused(errors), status=422)


def _form(
    kit: StackKit, made: StackForm, *, failed: StackCard | None = None, status: int = 200
) -> View:
    said = (failed.said or failed.problem)[-SAID_LIMIT:] if failed is not None else ""
    return View(
        template="new_stack.html",
        title=TITLE,
        data=made,
        status=status,
        extra={
            "suffix": kit.settings.suffix,
            "image": kit.settings.image,
            "failed": failed,
            "said": said,
            "unreadable": UNREADABLE,
        },
    )


def _file(kit: StackKit, made: StackForm, shown: object) -> View:
    extra = {"form": made, "suffix": kit.settings.suffix}
    return View(template="new_stack_file.html", title=TITLE, data=shown, extra=extra)


PAGES = (
    Page(
        path="/new-stack",
        name="new_stack",
        handler=form,
        summary="The form of a new stack.",
        query={"from": "Id of an action whose choices are taken over."},
    ),
    Page(
        path="/new-stack",
        name="new_stack_sent",
        handler=submit,
        method="POST",
        summary="Send the form of a new stack; programs use POST /api/deploy.",
    ),
)
