"""Schedules: one action per slot.

All that is remembered of a schedule is its mark: up to which time its slots were dealt with, and how
the last one ended. A schedule without a mark begins now. One that is not approved has no slots: its
mark follows the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dispatcher.decide.tiers import TierDecision
from dispatcher.errors import DisintoError, describe
from dispatcher.gate.base import Answer, Question
from dispatcher.model.action import Action, InvalidAction
from dispatcher.model.approval_need import Need
from dispatcher.model.paths import SCHEDULES_PATH
from dispatcher.model.run import Tier
from dispatcher.model.schedule import (
    ENDING,
    NAME_CHARACTERS,
    SCHEDULE_BYTES,
    CatchUp,
    InvalidSchedule,
    Overlap,
    Schedule,
    action_of,
    action_stem,
    name_of_schedule_problem,
    occasion_of,
    parse_schedule,
)
from dispatcher.model.times import epoch
from dispatcher.ops_repo import Entry, OpsRepo, escaped
from dispatcher.sources.base import (
    WANTED_LIMIT,
    Look,
    Passed,
    SourceNote,
    SourceState,
    Wanted,
    Wants,
)
from dispatcher.sources.id_code import CODE_CHARACTERS
from dispatcher.sources.slot_action import relocated
from dispatcher.sources.slot_ids import SlotIds
from dispatcher.sources.text import action_text, parsed
from dispatcher.toml.source import TomlSource

KIND = "schedule"

MOST = 100
"""Maximum of schedules; those beyond it, by name, do not count."""

ON_TIME_S = 300.0
"""Seconds after a slot during which it does not count as missed."""

OPEN_LIMIT = 20
"""Maximum of open actions of one schedule: a slot beyond it is skipped, whatever ``overlap`` says."""

FUTURE_S = 3600.0
"""Seconds by which a mark may be later than now; one further ahead was made by a wrong clock."""

TAKEN = "its id is used by a file that the dispatcher did not write"
"""Why a slot is passed over: somebody replaced its action before the dispatcher recorded it, say."""

KEPT_S = 30.0
"""Seconds for which an approval is reused while no slot is due."""


_Approval = tuple[str, str, Tier, Need]
"""Path and blob of a schedule, and what its approval is for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defined:
    """A schedule in the ops repo.

    Attributes:
        schedule: None if it is invalid.
        tier: of what it starts, and which approvals that needs; None if it is invalid.
        problem: why it is invalid, in words; "" if it is not.
        misfit: why its actions would be invalid as things are now, in words; "" if they would not.
    """

    name: str
    path: str
    blob: str
    schedule: Schedule | None = None
    tier: TierDecision | None = None
    problem: str = ""
    misfit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What is remembered of a schedule.

    Attributes:
        at: up to when its slots were dealt with, seconds since the epoch.
        last: how the last slot ended: ``written``, ``overlap``, ``missed``, ``taken`` (its id was
            somebody's), or "" before the first.
    """

    at: float
    last: str = ""

    def __str__(self) -> str:
        return f"{occasion_of(self.at)} {self.last}".rstrip()

    @classmethod
    def parse(cls, text: str, *, now: float) -> Mark:
        """A stored mark; now, if it is none or far in the future."""
        at, _, last = text.partition(" ")
        try:
            mark = cls(at=epoch(at), last=last)
        except ValueError:
            return cls(at=now)
        return mark if mark.at <= now + FUTURE_S else cls(at=now)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Turn:
    """What one schedule wants at a look."""

    mark: Mark
    slots: Mapping[float, str] = field(default_factory=dict)  # with the ids of their actions
    passed: tuple[Passed, ...] = ()


def due(schedule: Schedule, name: str, mark: Mark, look: Look, ids: SlotIds) -> _Turn:
    """The slots of a schedule whose actions are to be written now.

    Raises:
        Unavailable, Denied: our key is in Vault and cannot be read, so that it is unknown what we wrote.
    """
    slots = schedule.slots
    limit = schedule.catch_up_limit if schedule.catch_up is CatchUp.ALL else 1
    found = slots.until(look.now, since=mark.at, limit=limit)
    if not found:
        return _Turn(mark=mark)
    latest = found[-1]
    if schedule.catch_up is CatchUp.SKIP and look.now - latest > ON_TIME_S:
        reason = "missed while no dispatcher could write it"
        return _Turn(
            mark=Mark(at=latest, last="missed"),
            passed=(Passed(name=name, occasion=occasion_of(latest), reason=reason),),
        )
    still_open = [
        slot
        for slot in slots.until(found[0] - 1, since=0.0, limit=OPEN_LIMIT)
        if ids.is_open(name, slot)
    ]
    room = OPEN_LIMIT - len(still_open)
    if schedule.overlap is Overlap.SKIP and still_open:
        room = 0
    what = f"{len(still_open)} earlier actions of the schedule are open"
    dropped = dict.fromkeys(found[room:], what)
    written = {slot: ids.written(name, slot) for slot in found[:room]}
    chosen = {slot: run[0] if run else ids.of(name, slot) for slot, run in written.items()}
    taken = {slot: TAKEN for slot in chosen if not written[slot] and look.is_used(chosen[slot])}
    passed = dropped | taken
    last = "overlap" if latest in dropped else "taken" if latest in taken else "written"
    return _Turn(
        mark=Mark(at=latest, last=last),
        slots={slot: chosen[slot] for slot in chosen if slot not in taken},
        passed=tuple(
            Passed(name=name, occasion=occasion_of(slot), reason=passed[slot])
            for slot in found
            if slot in passed
        ),
    )


class Schedules:
    """The schedules of the ops repo; see ``Source``.

    Args:
        repo: where they are read.
        limit: maximum bytes of an action file.
        secret: of the ids, see ``SlotIds``; asked for when a slot is due.
    """

    kind = KIND

    def __init__(self, repo: OpsRepo, *, limit: int, secret: Callable[[], bytes]) -> None:
        self._repo, self._limit, self._secret = repo, limit, secret
        self._parsed: dict[tuple[str, str], tuple[Schedule, Action] | str] = {}
        self._approved: dict[_Approval, tuple[float, bool, str]] = {}

    def look(self, look: Look) -> Wants:
        """See ``Source``."""
        actions: list[Wanted] = []
        passed: list[Passed] = []
        ids = SlotIds(look, self._secret)
        marks: dict[str, str] = {}
        notes: list[SourceNote] = []
        times: list[float] = []
        for defined in self.defined(look):
            name, old = defined.name, look.marks.get(defined.name, "")
            mark = Mark.parse(old, now=look.now)
            turn, note = self._turn(defined, mark, look, ids)
            if len(actions) + len(turn.slots) > WANTED_LIMIT:
                turn, times = _Turn(mark=mark), [*times, look.now]
            actions += [wanted_of(defined, slot, used) for slot, used in turn.slots.items()]
            passed += turn.passed
            if not name_of_schedule_problem(name):  # any other could be as long as git allows
                marks[name] = str(turn.mark)
            notes.append(note)
            if note.next_at is not None:
                times.append(note.next_at)
        return Wants(
            actions=tuple(actions),
            marks=marks,
            next_at=min(times, default=None),
            notes=tuple(notes),
            passed=tuple(passed),
        )

    def defined(self, look: Look) -> Iterator[Defined]:
        """The schedules at a head, by name; at most ``MOST``, and a broken one in place of the rest."""
        entries = {
            name.removesuffix(ENDING): entry
            for name, entry in self._repo.directory(look.commit, SCHEDULES_PATH).items()
            if name.endswith(ENDING)
        }
        names = sorted(entries)
        kept = names[:MOST]
        contents = self._read({name: entries[name] for name in kept})
        for name in kept:
            path, entry = f"{SCHEDULES_PATH}/{name}{ENDING}", entries[name]
            if not entry.regular:
                problem = "it is not a regular file"
                yield Defined(name=name, path=path, blob=entry.oid, problem=problem)
                continue
            yield self._define(name, path, entry.oid, contents.get(entry.oid, b""), look)
        if len(names) > MOST:
            problem = f"{len(names) - MOST} more than the {MOST} schedules allowed do not count"
            name = names[MOST]
            yield Defined(name=name, path=SCHEDULES_PATH, blob="", problem=problem)

    def _read(self, files: Mapping[str, Entry]) -> dict[str, bytes | int]:
        """The contents of regular files that are not parsed yet, by blob."""
        if len(self._parsed) > MOST * 10:
            self._parsed.clear()
        unread = {
            e.oid for name, e in files.items() if e.regular and (name, e.oid) not in self._parsed
        }
        return dict(self._repo.read(unread, limit=SCHEDULE_BYTES)) if unread else {}

    def _define(self, name: str, path: str, blob: str, data: bytes | int, look: Look) -> Defined:
        read = self._parsed.get((name, blob))
        if read is None:
            read = self._parsed[name, blob] = self._parse(name, path, data, look.now)
        if isinstance(read, str):
            return Defined(name=name, path=path, blob=blob, problem=read)
        schedule, action = read
        tier = look.tier_of(action)
        defined = Defined(name=name, path=path, blob=blob, schedule=schedule, tier=tier)
        return replace(defined, misfit=self._misfit(defined, action, look))

    def _misfit(self, defined: Defined, action: Action, look: Look) -> str:
        """Why the actions of a valid schedule would be invalid, at its place in the schedule."""
        text = action_text(KIND, wanted_of(defined, look.now)).encode()
        try:
            problems = look.problems(action, text, defined.path)
        except DisintoError:
            return ""  # it is checked again with each action
        if not problems:
            return ""
        data = self._repo.read([defined.blob], limit=SCHEDULE_BYTES)[defined.blob]
        file = TomlSource.parse(data if isinstance(data, bytes) else b"", path=defined.path)
        return str(relocated(problems[:1], file)[0])

    def _parse(
        self, name: str, path: str, data: bytes | int, slot: float
    ) -> tuple[Schedule, Action] | str:
        """A schedule with the action of a slot, or what is wrong with it. All actions of a schedule
        differ only in ids and times of the same length, so that one stands for all.
        """
        schedule = parse_schedule(data, path=path, name=name)
        if isinstance(schedule, InvalidSchedule):
            return str(schedule.problems[0])
        defined = Defined(name=name, path=path, blob="", schedule=schedule)
        action = parsed(KIND, wanted_of(defined, slot), limit=self._limit)
        if isinstance(action, InvalidAction):
            file = TomlSource.parse(data if isinstance(data, bytes) else b"", path=path)
            return str(relocated(action.problems, file)[0])
        return schedule, action

    def _turn(
        self, defined: Defined, mark: Mark, look: Look, ids: SlotIds
    ) -> tuple[_Turn, SourceNote]:
        """What a schedule wants, and what people see of it."""
        schedule, tier, name = defined.schedule, defined.tier, defined.name
        old = look.now - mark.at > ON_TIME_S  # else the ledger is written at every look
        gone = _Turn(mark=Mark(at=look.now, last=mark.last) if old else mark)
        if schedule is None or tier is None:
            return gone, _note(name, SourceState.BROKEN, defined.problem)
        try:
            turn = due(schedule, name, mark, look, ids)
            approved, reason = self._check(defined, tier, look, fresh=turn.mark != mark)
        except DisintoError as error:  # it is asked again; no slot is lost
            return _Turn(mark=mark), _note(name, SourceState.WAITING, describe(error))
        doubt = f"its actions would be invalid: {defined.misfit}" if defined.misfit else ""
        if not approved:
            return gone, _note(name, SourceState.WAITING, "; ".join(filter(None, (reason, doubt))))
        next_at = schedule.slots.after(max(look.now, turn.mark.at))
        if turn.mark.last == "taken":
            reason = f"its last slot, {occasion_of(turn.mark.at)}, started nothing: {TAKEN}"
            return turn, _note(name, SourceState.LIMITED, reason, next_at=next_at)
        if doubt:
            return turn, _note(name, SourceState.LIMITED, doubt, next_at=next_at)
        return turn, _note(name, SourceState.ACTIVE, "", next_at=next_at)

    def _check(
        self, defined: Defined, tier: TierDecision, look: Look, *, fresh: bool
    ) -> tuple[bool, str]:
        """Whether the schedule's last change is approved, and why not."""
        key = (defined.path, defined.blob, tier.tier, tier.need)
        kept = self._approved.get(key)
        if kept is not None and not fresh and 0 <= look.now - kept[0] < KEPT_S:
            return kept[1], kept[2]
        question = Question(
            action_id=f"schedule-{defined.name}",
            path=defined.path,
            blob=defined.blob,
            commit=look.commit,
            tier=tier.tier,
            need=tier.need,
            formula_need=tier.formula_need,
            tier_reason="a schedule needs the approval of what it starts",
        )
        decision = look.check(question)
        approved = decision.answer is Answer.APPROVED
        if len(self._approved) > MOST * 10:
            self._approved.clear()
        self._approved[key] = (look.now, approved, decision.reason)
        return approved, decision.reason


def wanted_of(defined: Defined, slot: float, action_id: str = "") -> Wanted:
    """The action of a slot of a valid schedule.

    Args:
        action_id: "" to have the action checked, under an id as long as its own.
    """
    if defined.schedule is None:
        raise ValueError(f"schedule {defined.name} is invalid")
    return Wanted(
        action_id=action_id or f"{action_stem(defined.name, slot)}-{'x' * CODE_CHARACTERS}",
        action=action_of(defined.schedule, defined.name, slot),
        name=defined.name,
        occasion=occasion_of(slot),
        definition=defined.path,
        blob=defined.blob,
    )


def _note(
    name: str, state: SourceState, reason: str, *, next_at: float | None = None
) -> SourceNote:
    return SourceNote(
        kind=KIND, name=escaped(name)[:NAME_CHARACTERS], state=state, reason=reason, next_at=next_at
    )
