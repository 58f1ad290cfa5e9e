"""The health of a dispatcher: a snapshot for ``/healthz``, ``/readyz``, ``/metrics`` and ``status``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dispatcher.errors import Dependency


class WaitingFor(StrEnum):
    """Why an action does not run yet. Closed, so that metrics have few labels."""

    APPROVAL = "approval"  # a gate waits for a person
    REFUSAL = "refusal"  # a gate refused, but not finally
    PLACE = "place"  # waits for placement: limits, or the engine is full
    DEPENDENCY = "dependency"  # a dependency is down
    ENGINE = "engine"  # it runs, or waits for the engine to place it
    LOCK = "lock"  # another action of its lock comes first
    TIME = "time"  # its time has not come
    FREEZE = "freeze"  # the policy lets nothing like it start now
    AFTER = "after"  # an action that it runs after has not succeeded yet
    TURN = "turn"  # nothing prevents it; the next round starts it


@dataclass(frozen=True, kw_only=True, slots=True)
class LockPlace:
    """The place of an action at its lock.

    Attributes:
        name: of the lock.
        holder: id of the action that has it; "" for none.
        first: id of the first in the queue; "" for none but this one.
        ahead: how many in the queue come before this action.
    """

    name: str
    holder: str
    first: str = ""
    ahead: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DependencyHealth:
    """One dependency.

    Attributes:
        up: whether its last call succeeded.
        since: when that state began, seconds since the epoch; 0.0 before the first call.
        error: the last error in words, "" while it is up. Never a secret.
    """

    dependency: Dependency
    up: bool
    since: float = 0.0
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """One dependency that cannot be reached.

    Attributes:
        since: seconds since the epoch.
        error: the last error, in words.
        tries: failed calls since.
        again_at: monotonic time before which it is not called.
    """

    since: float
    error: str
    tries: int
    again_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignResult:
    """A file in the place of a result that this dispatcher did not sign.

    Attributes:
        path: from the root of the repository.
        commit: the one that added it.
        oid: object hash (hex) of the file.
        reason: what is wrong with it, in words.
    """

    action_id: str
    path: str
    commit: str
    oid: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """A dispatcher at one moment. Times are seconds since the epoch, 0.0 for never.

    Attributes:
        leader: whether this process leads; a second ``serve`` waits and says so.
        holder: who leads, if another process does and it is known.
        beat_at: when the last round of the loop ended.
        stuck_after_s: seconds without a round after which the loop counts as stuck.
        started_at: when this process began.
        head: the ops repo's head that was last processed (hex), or "".
        dependencies: each one that is in use.
        in_flight: runs between claim and released claim.
        unpublished: results that have not reached the remote yet.
        waiting: open actions that do not run yet, counted by reason.
        warnings: what deserves attention although everything works, in words.
    """

    leader: bool
    beat_at: float
    started_at: float
    holder: str = ""
    stuck_after_s: float = 60.0
    head: str = ""
    dependencies: tuple[DependencyHealth, ...] = ()
    in_flight: int = 0
    unpublished: int = 0
    waiting: Mapping[WaitingFor, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def alive(self, now: float) -> bool:
        """False if the loop is stuck, so that a supervisor may restart the process."""
        return now - max(self.beat_at, self.started_at) <= self.stuck_after_s

    def ready(self, now: float) -> bool:
        """Whether new actions would be started: alive, leading, and every dependency up."""
        return self.alive(now) and self.leader and all(d.up for d in self.dependencies)
