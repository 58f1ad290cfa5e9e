"""What ``disinto schedule``, ``plan`` and ``doctor`` find out about schedules. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dispatcher.errors import DisintoError, Misconfigured
from dispatcher.loop.components import Components
from dispatcher.loop.looks import Ids, look_of
from dispatcher.loop.sources import ask
from dispatcher.loop.view import View
from dispatcher.model.run import Claim
from dispatcher.model.schedule import action_stem, occasion_of, slot_of, unreplaced
from dispatcher.model.sure_time import SureTime
from dispatcher.operate.author_view import AuthorView
from dispatcher.ops_repo import Formulas
from dispatcher.sources import Look, SourceNote, SourceState
from dispatcher.sources.schedules import Defined, Mark, Schedules
from dispatcher.sources.slot_ids import stem_of

_STARTS = (SourceState.ACTIVE, SourceState.LIMITED)
"""States in which a schedule has slots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upcoming:
    """A slot to come.

    Attributes:
        slot: seconds since the epoch.
        begins: with what the id of its action begins; nobody is told the rest before it is written.
    """

    slot: float
    begins: str

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {"slot": occasion_of(self.slot), "action_begins": self.begins}


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A schedule, for people.

    Attributes:
        name: escaped.
        state: ``active``, ``limited`` (its last slot started nothing), ``waiting`` or ``broken``;
            reason: why it is not active.
        cron, zone: "" if it is broken.
        tier: of what it starts; "" if it is broken.
        last: the time up to which its slots were dealt with, and how the last one ended; "" if no
            dispatcher has seen it. On an author client, of the last slot whose action is in git.
        odd: what may be a mistake in its template.
        next: its next slots; none if it waits or is broken.
    """

    name: str
    state: SourceState
    reason: str = ""
    cron: str = ""
    zone: str = ""
    tier: str = ""
    last: str = ""
    next: tuple[Upcoming, ...] = ()
    odd: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason or None,
            "cron": self.cron or None,
            "timezone": self.zone or None,
            "tier": self.tier or None,
            "last": self.last or None,
            "odd": list(self.odd),
            "next": [each.as_json() for each in self.next],
        }


def schedules(components: Components, view: View, *, count: int) -> list[Listed]:
    """The schedules at the branch's head, which is fetched.

    Args:
        count: how many slots of each to name.

    Raises:
        Unavailable: the remote or the ledger cannot be reached.
    """
    head = components.repo.fetch()
    view.advance(head.commit)
    source = next((s for s in components.sources if isinstance(s, Schedules)), None)
    if source is None:
        return []
    claims = {claim.key.action_id: claim for claim in components.ledger.open_runs()}
    now, ids = time.time(), Ids(tree=view.tree, claims=claims)
    answer = ask(
        source, components, lambda marks: look_of(components, view, ids=ids, now=now, marks=marks)
    )
    if answer.error is not None:
        raise answer.error
    look = look_of(components, view, ids=ids, now=now, marks=answer.marks)
    return _listed(source, look, answer.wants.notes, last=answer.marks.get, count=count)


def schedules_in_git(view: AuthorView, *, limit: int, count: int) -> tuple[list[Listed], str]:
    """The schedules as an author client sees them, and why the remote could not be reached, or "".
    What only a ledger knows is left out: slots that were skipped or missed.

    Args:
        limit: maximum bytes of an action file.
        count: how many slots of each to name.

    Raises:
        Denied, Misconfigured: the remote cannot be read.
    """
    tree, trouble = view.fetched()
    ids, now = Ids(tree=tree, claims={}), time.time()
    look = Look(
        now=now,
        commit=tree.commit,
        tier_of=view.intake.tier_of,
        formulas=Formulas(commit=tree.commit, formulas=dict(tree.formulas)),
        marks={},
        down=(),
        is_open=ids.is_open,
        is_used=ids.is_used,
        ended=lambda _id: None,
        check=view.lazy_gate().check,
        ids=ids.all,
        written=lambda _id: None,
        problems=lambda *_: (),  # the dispatcher's own formulas and mounts decide
        sure=lambda: SureTime(now=0.0),
        result_file=lambda _id: None,
        kept_results=dict,
    )
    latest: dict[str, float] = {}
    for action_id in ids.all():
        name, slot = slot_of(stem_of(action_id))
        if name and slot <= now:
            latest[name] = max(slot, latest.get(name, 0.0))

    def last(name: str, default: str) -> str:
        return str(Mark(at=latest[name], last="written")) if name in latest else default

    source = Schedules(view.repo, limit=limit, secret=no_secret)
    return _listed(source, look, source.look(look).notes, last=last, count=count), trouble


def no_secret() -> bytes:
    """In place of the secret of ids, for who writes no action: without marks no slot is due."""
    raise Misconfigured("only a dispatcher knows the ids of slots")


def _listed(
    source: Schedules,
    look: Look,
    notes: Sequence[SourceNote],
    *,
    last: Callable[[str, str], str],
    count: int,
) -> list[Listed]:
    listed = []
    for defined, note in zip(source.defined(look), notes, strict=True):
        schedule = defined.schedule
        listed.append(
            Listed(
                name=note.name,
                state=note.state,
                reason=note.reason,
                cron=schedule.cron if schedule else "",
                zone=schedule.timezone if schedule else "",
                tier=defined.tier.tier if defined.tier else "",
                last=last(defined.name, ""),
                next=tuple(_upcoming(defined, look, count)) if note.state in _STARTS else (),
                odd=tuple(f"{what}. {how}" for _, what, how in unreplaced(schedule))
                if schedule
                else (),
            )
        )
    return listed


def _upcoming(defined: Defined, look: Look, count: int) -> Iterator[Upcoming]:
    """The next slots of a valid schedule."""
    slot: float | None = Mark.parse(look.marks.get(defined.name, ""), now=look.now).at
    slot = max(look.now, slot or 0.0)
    for _ in range(count):
        slot = defined.schedule.slots.after(slot) if defined.schedule else None
        if slot is None:
            return
        yield Upcoming(slot=slot, begins=action_stem(defined.name, slot))


def source_notes(
    components: Components, view: View, claims: Mapping[str, Claim]
) -> Iterator[SourceNote]:
    """The sources at a view's head, for ``plan``; what cannot be found out now is left out."""
    ids, now = Ids(tree=view.tree, claims=claims), time.time()
    for source in components.sources:
        try:
            answer = ask(
                source,
                components,
                lambda marks: look_of(components, view, ids=ids, now=now, marks=marks),
            )
        except DisintoError:
            continue
        yield from answer.wants.notes
