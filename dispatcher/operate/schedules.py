"""What ``disinto schedule``, ``plan`` and ``doctor`` find out about schedules. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dispatcher.errors import DisintoError
from dispatcher.loop.components import Components
from dispatcher.loop.sources import Ids, ask, look_of
from dispatcher.loop.view import View
from dispatcher.model.run import Claim
from dispatcher.model.schedule import action_id_of, occasion_of, unreplaced
from dispatcher.sources import SourceNote, SourceState
from dispatcher.sources.schedules import Mark, Schedules


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A schedule, for people.

    Attributes:
        name: escaped.
        state: ``active``, ``waiting`` or ``broken``; reason: why it is not active.
        cron, zone: "" if it is broken.
        tier: of what it starts; "" if it is broken.
        last: the time up to which its slots were dealt with, and how the last one ended; "" if no
            dispatcher has seen it.
        odd: what may be a mistake in its template.
        next: its next slots, seconds since the epoch; none unless it is active.
    """

    name: str
    state: SourceState
    reason: str = ""
    cron: str = ""
    zone: str = ""
    tier: str = ""
    last: str = ""
    next: tuple[float, ...] = ()
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
            "next": [
                {"slot": occasion_of(slot), "action": action_id_of(self.name, slot)}
                for slot in self.next
            ],
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
    listed = []
    for defined, note in zip(source.defined(look), answer.wants.notes, strict=True):
        stored = answer.marks.get(defined.name, "")
        begin = max(now, Mark.parse(stored, now=now).at)
        schedule = defined.schedule
        upcoming: list[float] = []
        while schedule and note.state is SourceState.ACTIVE and len(upcoming) < count:
            slot = schedule.slots.after(upcoming[-1] if upcoming else begin)
            if slot is None:
                break
            upcoming.append(slot)
        listed.append(
            Listed(
                name=note.name,
                state=note.state,
                reason=note.reason,
                cron=schedule.cron if schedule else "",
                zone=schedule.timezone if schedule else "",
                tier=defined.tier.tier if defined.tier else "",
                last=stored,
                next=tuple(upcoming),
                odd=tuple(f"{what}. {how}" for _, what, how in unreplaced(schedule))
                if schedule
                else (),
            )
        )
    return listed


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
