"""The service's reports about itself: status and events, for ``status``, web and logs."""

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
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, Observation, RunKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The service after one round of its loop.

    Attributes:
        leader: name of this process.
        head: the branch's head; "" before the first fetch.
        plan: what the round decided, waits included.
        claims: open claims by id.
        outages: dependencies that are down.
        round_at: when the round ended, seconds since the epoch.
        round_s: how long it took, without waiting.
        open_actions: actions without a result.
        finished_actions: pairs not archived yet.
        archived_actions: ids in the archive.
        candidates: open actions by id, as vetted and judged.
        warnings: what deserves attention although everything works, in words.
        observations: the engine's last observations of the runs.
        progress: what the runs report about themselves.
        newest: blobs of the newest results, in no order; None while unknown.
        rules: SHA-256 of each of the rules' files in force, by its setting.
        failures: error of the last step of each action that is being retried, by id.
        cancels: requests to cancel what is open or runs.
        foreign: results in git that this dispatcher did not sign.
        quiet: nothing is done or found out about any action: the waits are all there is to report.
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
    progress: Mapping[RunKey, Progress] = field(default_factory=dict)
    newest: tuple[str, ...] | None = None
    foreign: tuple[ForeignResult, ...] = ()
    cancels: tuple[CancelNote, ...] = ()
    quiet: bool = False


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
    """Receives a service's status and events. Called on the loop's thread; must not block or raise."""

    def status(self, status: Status) -> None:
        """Receive the status after a round."""
        ...

    def event(self, what: str, /, **facts: object) -> None:
        """Receive an event; facts contain no secret."""
        ...


class Silent:
    """A tracker that ignores everything."""

    def status(self, status: Status) -> None:
        """Do nothing."""

    def event(self, what: str, /, **facts: object) -> None:
        """Do nothing."""
