"""What the service tells of itself. Written in one place, read by ``status``, web and logs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.decide.steps import Plan
from dispatcher.decide.world import Candidate
from dispatcher.errors import Dependency
from dispatcher.model.cancel_request import CancelNote
from dispatcher.model.health import ForeignResult, Outage
from dispatcher.model.run import Claim, Observation, RunKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The service after one round of its loop.

    Attributes:
        leader: name of this process.
        head: commit of the branch it looks at; "" before the first fetch.
        plan: what the round decided, waits included.
        claims: open claims by id.
        outages: dependencies that are down.
        round_at: when the round ended, seconds since the epoch.
        round_s: how long it took, without waiting.
        open_actions: actions without a result.
        finished_actions: pairs not archived yet.
        archived_actions: ids in the archive.
        candidates: open actions by id, as vetted and judged.
        warnings: what people should look at although all works, in words.
        observations: what the engine last said of the runs.
        newest: blobs of the newest results, in no order; None while they are not known.
        rules: SHA-256 of each of the rules' files in force, by its setting.
        failures: why the last step of an action failed that is being tried again, by id.
        cancels: requests to cancel what is open or runs.
        foreign: results in git that this dispatcher did not sign.
    """

    leader: str
    head: str
    plan: Plan
    claims: Mapping[str, Claim]
    outages: Mapping[Dependency, Outage]
    round_at: float
    round_s: float
    open_actions: int = 0
    finished_actions: int = 0
    archived_actions: int = 0
    warnings: tuple[str, ...] = ()
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    observations: Mapping[RunKey, Observation] = field(default_factory=dict)
    newest: tuple[str, ...] | None = None
    foreign: tuple[ForeignResult, ...] = ()
    cancels: tuple[CancelNote, ...] = ()


def waiting_status(leader: str, outages: Mapping[Dependency, Outage]) -> Status:
    """The status of a service that does nothing because of these outages."""
    return Status(
        leader=leader,
        head="",
        plan=Plan(steps=(), waits=()),
        claims={},
        outages=outages,
        round_at=time.time(),
        round_s=0.0,
    )


class Tracker(Protocol):
    """Follows a service. Called on the loop's thread; must not block, must not raise."""

    def status(self, status: Status) -> None:
        """A round is over."""
        ...

    def event(self, what: str, /, **facts: object) -> None:
        """Something happened that an operator may want to read; facts hold no secret."""
        ...


class Silent:
    """A watch that looks away."""

    def status(self, status: Status) -> None:
        """Nothing is done with it."""

    def event(self, what: str, /, **facts: object) -> None:
        """Nothing is done with it."""
