"""The interface of sources: which actions do you want written now?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from dispatcher.decide.tiers import TierDecision
from dispatcher.decide.world import Ended
from dispatcher.errors import Dependency, Problem
from dispatcher.gate.base import Decision, Question
from dispatcher.model.action import Action
from dispatcher.model.result import Result
from dispatcher.model.sure_time import SureTime
from dispatcher.ops_repo import Formulas

MARK_CHARACTERS = 100
"""Maximum of a mark."""

MARKS_CHARACTERS = 15_000
"""Maximum of all marks of a kind, as JSON; the ledger's notes hold no more."""

ENDED_LIMIT = 1_000
"""Maximum of ended actions that a source names."""

WANTED_LIMIT = 100
"""Maximum of actions that a source may want at once; the rest it wants at a later look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An action that a source wants written.

    Attributes:
        action_id: names the occasion, so that the same occasion always has the same id: an id that
            exists, or existed, is not written again.
        action: the keys of the action file and their values, without ``id`` and ``source``.
        name: which source of its kind.
        occasion: on what occasion, in words or as a time; printable, at most 200 characters.
        definition: path of the file of the ops repo whose approval is the action's; "" if there is
            none: then the action is judged as anybody's file.
        blob: git blob hash (hex) of that file, as the source read it.
    """

    action_id: str
    action: Mapping[str, object]
    name: str
    occasion: str
    definition: str = ""
    blob: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """An occasion for which a source wants no action; goes on record with its marks.

    Attributes:
        name, occasion: as of ``Wanted``.
        reason: why, in words.
    """

    name: str
    occasion: str
    reason: str


class SourceState(StrEnum):
    """What people see of a source."""

    ACTIVE = "active"
    WAITING = "waiting"  # its definition waits for approval
    BROKEN = "broken"  # its definition is invalid
    LIMITED = "limited"  # something keeps it from starting all that it would


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceNote:
    """One source, for people.

    Attributes:
        kind, name: of the source.
        state: see ``SourceState``.
        reason: why, in words; "" if it is active.
        next_at: when it wants something again, seconds since the epoch; None if that is not known.
    """

    kind: str
    name: str
    state: SourceState
    reason: str = ""
    next_at: float | None = None

    @property
    def warning(self) -> str:
        """A sentence about one that is not active; "" if it is."""
        what = f"{self.kind} {self.name}"
        match self.state:
            case SourceState.BROKEN:
                return f"{what} starts nothing, because it is broken: {self.reason}"
            case SourceState.WAITING:
                return f"{what} starts nothing, because it is not approved: {self.reason}"
            case SourceState.LIMITED:
                return f"{what}: {self.reason}"
            case SourceState.ACTIVE:
                return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenRun:
    """An action that we wrote, and how it ended.

    Attributes:
        action: as we wrote it, whatever stands in its file now.
        result: that we signed; None while the action is open.
        withdrawn_at: when somebody deleted it before it ran, seconds since the epoch; None if nobody did.
    """

    action: Action
    result: Result | None
    withdrawn_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a source sees when it is asked. The functions may be called from the thread that asks.

    Attributes:
        now: seconds since the epoch.
        commit: head of the branch (hex); all files are to be read there.
        tier_of: under which tier an action would be that the source writes, and which approvals it
            needs.
        formulas: those of the ops repo at that head.
        marks: what the source noted at an earlier look, by name.
        down: dependencies that must not be called now.
        is_open: whether an action of this id is open.
        is_used: whether an id cannot be written any more: it is open, has or had a result, is in the
            archive, or the ledger has a claim or a tombstone for it.
        ended: how an action ended, by a result that we signed; None while it has no result. Raises
            ``Unavailable`` or ``Denied`` if our key is in Vault and cannot be read.
        check: the gate. Raises what ``Gate.check`` raises.
        ids: all ids that are open, or have or had a result.
        written: the action that we wrote under an id; None if we wrote none. Raises as ``ended``.
        problems: why an action that the source would write would be invalid, although its file is good:
            names that do not exist, params that do not fit. Takes the action, its file, and the path for
            messages. Raises ``TemporaryError`` if formulas cannot be read.
        sure: the time as far as clocks can be relied on, for what cannot be undone; calls Vault.
        result_file: path, and blob (hex, "" if unknown), of the file in the place of an action's result;
            None if there is none.
        kept_results: by action id the texts of results that the ledger keeps, because somebody changed
            or removed their files.
    """

    now: float
    commit: str
    tier_of: Callable[[Action], TierDecision]
    formulas: Formulas
    marks: Mapping[str, str]
    down: Collection[Dependency]
    is_open: Callable[[str], bool]
    is_used: Callable[[str], bool]
    ended: Callable[[str], Ended | None]
    check: Callable[[Question], Decision]
    ids: Callable[[], Collection[str]]
    written: Callable[[str], WrittenRun | None]
    problems: Callable[[Action, bytes, str], Sequence[Problem]]
    sure: Callable[[], SureTime]
    result_file: Callable[[str], tuple[str, str] | None]
    kept_results: Callable[[], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wants:
    """The answer of a source.

    Attributes:
        actions: what is to be written now; at most ``WANTED_LIMIT``.
        marks: by name, what the source must find again at the next look; all of them, since they
            replace the old ones. Stored only when all ``actions`` are in git, so that a crash in
            between leads to the same answer again, and to the same ids.
        next_at: when to ask again at the latest, seconds since the epoch; None if only a change of
            the branch, of the rules or of a result can lead to another answer.
        notes: for people.
        passed: occasions that the new marks pass over; at most ``WANTED_LIMIT``.
        ended: ids of actions of its kind that ended within the last day, and whose end people are to
            see on the forge: a dispatcher before this one may have died before it reported them. At
            most ``ENDED_LIMIT``.
    """

    actions: tuple[Wanted, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    next_at: float | None = None
    notes: tuple[SourceNote, ...] = ()
    passed: tuple[Passed, ...] = ()
    ended: tuple[str, ...] = ()


class Source(Protocol):
    """Wants actions. Keeps no state: what it answers depends on the look alone.

    Called on one thread at a time, never on the loop's. Contract suite: ``tests/contract/source.py``;
    every implementation passes it.
    """

    @property
    def kind(self) -> str:
        """Of all its actions: lower-case letters."""
        ...

    def look(self, look: Look) -> Wants:
        """What is wanted now. The same look gives the same answer.

        Raises:
            Unavailable, Denied: a server is unavailable; nothing is written, and it is asked
                again.
        """
        ...
