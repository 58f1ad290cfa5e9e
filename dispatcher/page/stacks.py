"""The stacks as the page shows them: of the inventory what exists, of git what is being made, changed or
removed, of the status file how far that is.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from urllib.parse import urlsplit

from dispatcher.errors import NotFound
from dispatcher.model.result import Result
from dispatcher.model.times import known_time
from dispatcher.operate.desktop_owner import Owner
from dispatcher.operate.provisioned import CREATING, DESTROYED, UNKNOWN, Resource
from dispatcher.operate.stacks import UPDATE
from dispatcher.page.language import mark
from dispatcher.page.problems import RETRY_S, Problem
from dispatcher.page.resource_reading import is_person
from dispatcher.page.resource_runs import (
    ABANDONED,
    FAILED,
    MOST_FAILURES,
    SAID_LIMIT,
    RunSeen,
    failure,
    failures,
    run_seen,
)
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.page.stack_failures import failure_of
from dispatcher.page.stack_reading import Reading, StacksView, open_view
from dispatcher.stack.lifecycle import DEPLOYING
from dispatcher.stack.lifecycle import Stage as LifeCycle

RUNNING, UPDATING, DESTROYING = "RUNNING", "UPDATING", "DESTROYING"

STATES = (
    CREATING,
    DEPLOYING,
    RUNNING,
    UPDATING,
    DESTROYING,
    DESTROYED,
    FAILED,
    ABANDONED,
    UNKNOWN,
)
"""All states that a stack may have."""

ON_THE_WAY = (CREATING, DEPLOYING, UPDATING, DESTROYING)
"""States of which a stack is on its way to another."""

STAGES = tuple(stage.value for stage in LifeCycle if stage is not LifeCycle.FAILED)
"""The stages of one that is deployed or updated, in their order."""

MOST_FAILED = 100
"""Failures of everybody among which those of one person are looked for."""

MOST_CARDS = 2_000
"""Stacks, and ids that are none, that a board keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StackCard:
    """One stack.

    Attributes:
        id: of the stack, and of the action that deploys it.
        name: its host name within the domain suffix.
        state: ``CREATING`` before its run has begun, ``DEPLOYING`` while it runs, ``RUNNING``, ``UPDATING`` and
            ``DESTROYING`` while such a run is under way, ``DESTROYED``, ``FAILED`` if its run made none,
            ``ABANDONED`` if its run was killed and something may be left, ``UNKNOWN`` if its entry is not
            believed.
        stage, percent, detail: what the run under way last reported; "" and None if nothing is known.
        waits: what the action under way waits for, in words; "" while it runs.
        url: where it answers; "" if that is not known.
        image, volume: "" if unknown.
        answered: which probe was answered when it was deployed, and how.
        certificate: ``valid``, or what is wrong with it; "" if that is not known.
        since: when it was deployed or last updated, or its deployment begun, RFC 3339; None if unknown.
        owner: name of who deployed it, "" if unknown.
        problem: why it is not believed, or how its deployment failed; "" if all is well.
        failure: the kind of failure, such as ``image``; "" if it did not fail.
        said: the end of the output of a deployment that failed; "" else.
        updating, destroying: id of the open action that does so, or "".
        destroyed_by: id of the action that destroyed it, or "".
        serving: whether a dispatcher runs here; if none does, nothing is known of runs.
    """

    id: str
    name: str = ""
    state: str
    stage: str = ""
    percent: float | None = None
    detail: str = ""
    waits: str = ""
    url: str = ""
    image: str = ""
    volume: str = ""
    answered: str = ""
    certificate: str = ""
    since: str | None = None
    owner: str = ""
    problem: str = ""
    failure: str = ""
    said: str = ""
    updating: str = ""
    destroying: str = ""
    destroyed_by: str = ""
    serving: bool = True

    @property
    def ended(self) -> bool:
        """Whether no action that would change it is open."""
        return self.state not in ON_THE_WAY and not self.updating and not self.destroying


@dataclass(frozen=True, kw_only=True, slots=True)
class StackCards:
    """The stacks of one person; of the operator all.

    Attributes:
        stacks: those that exist and are being deployed, by id.
        failed: deployments of the last day that made none, the newest first.
        serving: whether a dispatcher runs here; if none does, what is known of runs is old.
        as_of: when it last wrote, RFC 3339; None for never.
        trouble: why the inventory is shown unverified, in words; "" if it is verified, or has no stack.
    """

    stacks: tuple[StackCard, ...]
    failed: tuple[StackCard, ...]
    serving: bool
    as_of: str | None
    trouble: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Owned:
    """A stack, and whose it is.

    Attributes:
        owner: None if it is nobody's, or not known.
        trouble: why it is not known now, in words; "" if it is.
    """

    card: StackCard
    owner: Owner | None
    trouble: str = ""

    def is_of(self, person: Person) -> bool:
        """Whether it is a person's: the operator's all are."""
        return person.operator or is_person(self.owner, person)


@dataclass
class Board:
    """Each stack as it is shown, worked out once for each state of git and of the status file, however many
    streams wait for it. Thread-safe.
    """

    view: StacksView
    _state: tuple[str, str] = ("", "")
    _cards: dict[str, Owned | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, stack_id: str) -> Owned | None:
        """One stack, also one that was destroyed or failed; None if no action of this id deploys one.

        Raises:
            Unavailable, Denied: see ``StacksView.reading``.
        """
        live = self.view.live
        with self._lock:
            head = live.repo.local_head()
            state = (live.version, head.commit if head is not None else "")
            if state != self._state:
                self._state, self._cards = state, {}
            if stack_id not in self._cards:
                with self.view.reading() as reading:
                    found = _find(self.view, reading, stack_id)
                if found is not None and found.trouble:
                    return found  # it ends without a change in git
                if len(self._cards) >= MOST_CARDS:
                    self._cards.clear()  # whoever asks for ids that do not exist must not fill the memory
                self._cards[stack_id] = found
            return self._cards[stack_id]


def open_board(site: Site) -> Board:
    """The board of a site, for ``Site.once``."""
    return Board(site.once(open_view))


def stack_cards(site: Site, person: Person, *, destroyed: bool = False) -> StackCards:
    """The stacks of a person.

    Args:
        destroyed: whether those are listed, too.

    Raises:
        Problem: see ``open_view``.
        Unavailable, Denied: our key is in Vault and cannot be read.
    """
    view = site.once(open_view)
    with view.reading() as reading:
        found = reading.stacks.all(destroyed=destroyed)
        owned = (_owned(view, reading, each) for each in found)
        listed = tuple(each.card for each in owned if each.is_of(person))
        known = {each.id for each in found}
        ended = islice(failures(reading, known, now=site.clock()), MOST_FAILED)
        all_failed = (_failed(view, reading, each, result) for each, result in ended)
        failed = (each.card for each in all_failed if each.is_of(person))
        status = reading.live.status
        return StackCards(
            stacks=listed,
            failed=tuple(islice(failed, MOST_FAILURES)),
            serving=reading.overview is not None,
            as_of=known_time(status.overview.at) if status is not None else None,
            trouble=reading.trouble if any(each.entry for each in found) else "",
        )


def stack_card(site: Site, person: Person, stack_id: str) -> StackCard:
    """One stack, also one that was destroyed, or was never made.

    Raises:
        Problem: 404, this person has none of this id; 503, it is not known now whether they have; or see
            ``open_view``.
        Unavailable, Denied: see ``stack_cards``.
    """
    found = site.once(open_board).find(stack_id)
    if found is None or not found.is_of(person):
        raise (
            not_known(found.trouble) if found is not None and found.trouble else no_stack(stack_id)
        )
    return found.card


def not_known(why: str) -> Problem:
    """503: nothing is verified now, such as whose a stack is."""
    return Problem(
        status=503,
        what=mark("it cannot be verified now whose stack this is: %(why)s"),
        remedy=mark("Try again later."),
        values={"why": why.rstrip(".")},
        headers={"Retry-After": str(RETRY_S)},
    )


def no_stack(stack_id: str) -> Problem:
    """404, also for somebody else's."""
    return Problem(
        status=404,
        what=mark("you have no stack %(id)s"),
        remedy=mark("A stack is shown to whoever deployed it. See the list of stacks."),
        values={"id": stack_id},
    )


def _find(view: StacksView, reading: Reading, stack_id: str) -> Owned | None:
    try:
        owned = _owned(view, reading, reading.stacks.get(stack_id))
    except NotFound:
        result = failure(reading, stack_id)
        return None if result is None else _failed(view, reading, stack_id, result)
    return replace(owned, card=replace(owned.card, serving=reading.overview is not None))


def _owned(view: StacksView, reading: Reading, stack: Resource) -> Owned:
    if stack.state == CREATING:
        owner = view.author(reading, stack.id)
        return Owned(card=_being_deployed(reading, stack, owner), owner=owner)
    owner, trouble = view.owner(reading, stack), reading.trouble
    shown = _entered(stack, owner)
    if stack.state == DESTROYED:
        return Owned(card=shown, owner=owner, trouble=trouble)
    destroying = reading.destroying(stack.id)
    updating = reading.about(stack.id, UPDATE)
    shown = replace(shown, destroying=destroying, updating=updating)
    for action_id, state in ((destroying, DESTROYING), (updating, UPDATING)):
        if action_id:
            shown = _with_run(shown, run_seen(reading.row(action_id)), state)
            break
    return Owned(card=shown, owner=owner, trouble=trouble)


def _entered(stack: Resource, owner: Owner | None) -> StackCard:
    """What the inventory has."""
    entry = stack.entry
    return StackCard(
        id=stack.id,
        name=stack.text("name"),
        state=_state_of(stack),
        url=web_address(stack.text("url")),
        image=stack.text("image"),
        volume=stack.text("volume"),
        answered=stack.text("answered"),
        certificate=stack.text("certificate"),
        since=entry.at or None if entry else None,
        owner=owner.name if owner else "",
        problem=stack.problem,
        destroyed_by=stack.ended_by,
    )


def _state_of(stack: Resource) -> str:
    if stack.state == DESTROYED:
        return DESTROYED
    if stack.unfinished:
        return ABANDONED
    return RUNNING if stack.state == RUNNING and not stack.problem else UNKNOWN


def _being_deployed(reading: Reading, stack: Resource, owner: Owner | None) -> StackCard:
    """One without an entry: what its action asks for, and how far its run is."""
    action, row = reading.open.get(stack.id), reading.row(stack.id)
    shown = _asked(
        stack.id,
        CREATING,
        action.params if action is not None else {},
        since=known_time(row.since) if row is not None else None,
        owner=owner.name if owner else "",
    )
    return _with_run(shown, run_seen(row), DEPLOYING)


def _with_run(shown: StackCard, seen: RunSeen, state: str) -> StackCard:
    """How far the run of an action is that leads to a state."""
    if not seen.runs:
        return replace(shown, waits=seen.waits)
    return replace(shown, state=state, stage=seen.stage, percent=seen.percent, detail=seen.detail)


def _failed(view: StacksView, reading: Reading, action_id: str, result: Result) -> Owned:
    """A deployment that ended without a stack."""
    owner = view.author(reading, action_id)
    shown = _asked(
        action_id,
        FAILED,
        reading.params(action_id),
        since=result.timestamp or None,
        owner=owner.name if owner else "",
    )
    said = result.logs[-SAID_LIMIT:]
    why = failure_of(f"{result.error}\n{said}", result.verdict)
    return Owned(card=replace(shown, problem=result.error, said=said, failure=why), owner=owner)


def _asked(
    stack_id: str, state: str, params: Mapping[str, object], *, since: str | None, owner: str
) -> StackCard:
    """What an action asks for, as far as it is text."""
    name, image = (str(params.get(key) or "")[:300] for key in ("name", "image"))
    return StackCard(id=stack_id, name=name, image=image, state=state, since=since, owner=owner)


def web_address(text: str) -> str:
    """An address that a link may lead to; "" for anything else."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    plain = text.isascii() and text.isprintable()
    return text if plain and parts.scheme in ("http", "https") and parts.hostname else ""
