"""Stacks for programs: check a name, deploy, follow, destroy; and whether the page is up."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher import __version__
from dispatcher.model.names import is_id
from dispatcher.operate.stacks import NameFound
from dispatcher.page.acting import SentAbout
from dispatcher.page.answers import Answer, Data, Events, Redirect
from dispatcher.page.pages.stacks import asked_params
from dispatcher.page.routing import HEALTH, Page
from dispatcher.page.stack_events import states
from dispatcher.page.stack_reading import check_name
from dispatcher.page.stack_sending import (
    WantedStack,
    deploy,
    destroy,
    id_of,
    preview_of_deployment,
)
from dispatcher.page.stacks import no_stack, stack_card
from dispatcher.page.visit import CHECK, STEPS, Visit


@dataclass(frozen=True, kw_only=True, slots=True)
class NameCheck:
    """Whether a new stack may have a name.

    Attributes:
        state: ``free``, ``taken``, ``reserved`` or ``malformed``.
        reason: why it cannot be used; "" if it is free.
        remedy: what can be done; "" if it is free.
        host: the host name of the stack; "" if that is not known.
    """

    name: str
    state: str
    free: bool
    reason: str
    remedy: str
    host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """That the page answers.

    Attributes:
        status: always ``ok``.
        follows: whether what it shows follows git at this moment.
    """

    status: str
    version: str
    follows: bool


def check(visit: Visit) -> Answer:
    """Whether a new stack may have this name, as far as git and the settings know."""
    name = visit.given("name")
    return Data(data=_check_of(name, check_name(visit.site, name)))


def _check_of(name: str, found: NameFound) -> NameCheck:
    return NameCheck(
        name=name,
        state=found.state.value,
        free=not found.reason,
        reason=found.reason,
        remedy=found.remedy,
        host=found.host,
    )


def create(visit: Visit) -> Answer:
    """Send the action that deploys one, or show it."""
    params, action_id = asked_params(visit), visit.asked("id").strip()
    if visit.asked("step", STEPS) == CHECK:
        shown = preview_of_deployment(visit.site, visit.person, params, action_id=action_id)
        return Data(data=shown)
    sent = deploy(visit.site, visit.person, params, action_id=action_id)
    return Redirect(path=f"/stacks/{sent.id}", data=sent)


def status(visit: Visit) -> Answer:
    """How far a stack is."""
    stack_id = visit.given("id")
    if not is_id(stack_id):
        raise no_stack(stack_id)
    stack_card(visit.site, visit.person, stack_id)  # who may not see it gets 404, and no stream
    last = visit.request.headers.get("last-event-id", visit.query("from"))
    return Events(source=states(visit.site, visit.person, stack_id, last))


def remove(visit: Visit) -> Answer:
    """Send the action that destroys the stack of this name."""
    stack_id = id_of(visit.site, visit.person, visit.given("name"))
    sent = destroy(visit.site, visit.person, stack_id)
    return Redirect(path=f"/stacks/{stack_id}", data=sent)


def health(visit: Visit) -> Answer:
    """That the page is up."""
    live = visit.site.live
    follows = live is not None and not live.trouble
    return Data(data=Health(status="ok", version=__version__, follows=follows))


PAGES = (
    Page(
        path="/api/check/{name}",
        name="stack_check",
        handler=check,
        summary="Whether a new stack may have this name: free, taken, reserved or malformed.",
        answer=NameCheck,
    ),
    Page(
        path="/api/deploy",
        name="stack_deploy",
        handler=create,
        method="POST",
        summary="Send the action that deploys a stack; with step=check, only show it.",
        asks=WantedStack,
        answer=SentAbout,
    ),
    Page(
        path="/api/status/{id}",
        name="stack_status",
        handler=status,
        summary="Server-sent events: 'status' with each state of a stack, from Last-Event-ID on, then 'end'.",
        stream=True,
        query={"from": "In place of Last-Event-ID, for a first connection."},
    ),
    Page(
        path="/api/stack/{name}",
        name="stack_delete",
        handler=remove,
        method="DELETE",
        summary="Send the action that destroys your stack of this name; its volume is kept.",
        answer=SentAbout,
    ),
    Page(
        path=HEALTH,
        name="health",
        handler=health,
        summary="That the page is up, with its version.",
        public=True,
        answer=Health,
    ),
)
