"""The overview: what runs, what waits and why, and what is down, as one plain record.

``serve`` makes one after each round and writes it to the status file; if no dispatcher runs,
``status`` makes one from a forecast. Both have the same form.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dispatcher.errors import Dependency
from dispatcher.model.cancel_request import CancelNote
from dispatcher.model.health import DependencyHealth, ForeignResult, LockPlace, WaitingFor
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, Observation, Phase, RunKey, RunState
from dispatcher.model.times import known_time
from dispatcher.status.standby import Standby

if TYPE_CHECKING:
    from dispatcher.decide.steps import Plan, Wait
    from dispatcher.decide.world import Candidate
    from dispatcher.status.tracker import Status


class State(StrEnum):
    """The state of an action that has no result in git yet."""

    WAITING = "waiting"  # not started; the reason names what is missing
    STARTING = "starting"  # claimed, and on its way to the engine
    PENDING = "pending"  # the engine has it, but has not placed it yet
    RUNNING = "running"
    ENDED = "ended"  # the verdict is known; the result is on its way to git
    PROPOSED = "proposed"  # only an open pull request contains it
    APPROVED = "approved"  # from an author client: it may run, or be running
    OPEN = "open"  # from an author client: on the branch, and no more is known


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenAction:
    """One action without a result in git.

    Attributes:
        state: see ``State``.
        verdict: how its run ended; "" before ``State.ENDED``.
        reason: why it is in that state, in words; "" if there is nothing to report.
        waiting_for: the kind of reason, or None.
        formula, tier: what runs and under which tier; "" if not known.
        approved_by: who approved.
        engine_id: the engine's name of the run, or "".
        node: where it runs; "" if it is not placed, or its engine has no nodes.
        since: when it was claimed or began to wait: the time of the commit that added it, or when
            it was first seen. Seconds since the epoch; 0.0 if unknown.
        until: when the reason to wait ends by itself, seconds since the epoch; 0.0 if unknown.
        lock: its place at its lock while it has or waits for it; None otherwise.
        again_of: id of the action that it repeats, or "".
        request: the pull request that contains it, ``number`` and ``url``; None if none does.
        progress: what its run last reported about itself: ``stage``, ``percent``, ``detail`` and
            ``at``; None if nothing is known.
        job_class: in which it runs; "" if not known.
        bot: name of the bot whose token its run gets; "" for none, or if not known.
    """

    id: str
    state: State
    verdict: str = ""
    reason: str = ""
    waiting_for: WaitingFor | None = None
    formula: str = ""
    tier: str = ""
    approved_by: tuple[str, ...] = ()
    engine_id: str = ""
    node: str = ""
    since: float = 0.0
    until: float = 0.0
    lock: LockPlace | None = None
    again_of: str = ""
    request: Mapping[str, object] | None = None
    progress: Mapping[str, object] | None = None
    job_class: str = ""
    bot: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """A dispatcher's work at one moment. Times are seconds since the epoch.

    Attributes:
        at: when it was made.
        head: the ops repo's head that it describes (hex), or "".
        leader: the ``serve`` that made it; "" if it is a forecast.
        open: actions without a result; at most ``LISTED`` of those that wait.
        waiting: how many wait, by reason, including those not listed.
        dependencies: each one in use.
        cancels: requests to cancel what is open or runs; at most ``LISTED``.
        foreign: results that arrived in git and that this dispatcher did not sign.
        warnings: what deserves attention although everything works, in words.
        rules: SHA-256 of each of the rules' files in force at ``leader``, by its setting.
        open_actions, finished_actions, archived_actions: how many there are.
        newest: blobs of the newest results, in no order; None if they are not known.
        standby: the ``serve`` here that waits for the lead; None if none does, or if it is not known.
    """

    at: float
    head: str = ""
    leader: str = ""
    open: tuple[OpenAction, ...] = ()
    waiting: Mapping[WaitingFor, int] = field(default_factory=dict)
    dependencies: tuple[DependencyHealth, ...] = ()
    foreign: tuple[ForeignResult, ...] = ()
    cancels: tuple[CancelNote, ...] = ()
    warnings: tuple[str, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    open_actions: int = 0
    finished_actions: int = 0
    archived_actions: int = 0
    newest: tuple[str, ...] | None = None
    standby: Standby | None = None

    def find(self, action_id: str) -> OpenAction | None:
        """The entry of an action, or None if it is not listed."""
        return next((action for action in self.open if action.id == action_id), None)

    def to_json(self) -> dict[str, Any]:
        """The overview as plain data. Not by ``dataclasses.asdict``, which copies every value: with a
        thousand open actions that takes longer than the rest of a round.
        """
        return {
            **_fields(self),
            "open": [_of_open(action) for action in self.open],
            "dependencies": [_fields(entry) for entry in self.dependencies],
            "foreign": [_fields(entry) for entry in self.foreign],
            "cancels": [_fields(entry) for entry in self.cancels],
            "standby": _fields(self.standby) if self.standby else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Overview:
        """The reverse of ``to_json``.

        Raises:
            ValueError, TypeError, KeyError: the data is something else.
        """
        fields = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(
            **{
                **fields,
                "open": tuple(_open_action(entry) for entry in data.get("open", ())),
                "waiting": {WaitingFor(k): int(v) for k, v in data.get("waiting", {}).items()},
                "dependencies": tuple(
                    DependencyHealth(**{**entry, "dependency": Dependency(entry["dependency"])})
                    for entry in data.get("dependencies", ())
                ),
                "foreign": tuple(ForeignResult(**entry) for entry in data.get("foreign", ())),
                "cancels": tuple(CancelNote(**entry) for entry in data.get("cancels", ())),
                "warnings": tuple(str(entry) for entry in data.get("warnings", ())),
                "rules": {str(k): str(v) for k, v in data.get("rules", {}).items()},
                "standby": Standby(**entry) if (entry := data.get("standby")) else None,
                "newest": None if (newest := data.get("newest")) is None else tuple(newest),
            }
        )


def _fields(
    record: OpenAction
    | Overview
    | DependencyHealth
    | ForeignResult
    | CancelNote
    | Standby
    | LockPlace,
) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _of_open(action: OpenAction) -> dict[str, Any]:
    return {**_fields(action), "lock": _fields(action.lock) if action.lock else None}


LISTED = 1_000
"""Waiting actions that an overview lists; beyond them only their number is reported."""


def of_status(status: Status, dependencies: tuple[DependencyHealth, ...]) -> Overview:
    """The overview of one round of ``serve``."""
    plan = with_failures(status.plan, status.failures)
    return Overview(
        at=status.round_at,
        head=status.head,
        leader=status.leader,
        open=open_actions(
            plan,
            status.claims,
            observations=status.observations,
            candidates=status.candidates,
            progress=status.progress,
        ),
        waiting=waiting(plan, status.claims),
        dependencies=dependencies,
        foreign=status.foreign,
        cancels=status.cancels[:LISTED],
        warnings=status.warnings,
        rules=status.rules,
        open_actions=status.open_actions,
        finished_actions=status.finished_actions,
        archived_actions=status.archived_actions,
        newest=status.newest,
    )


def with_failures(plan: Plan, failures: Mapping[str, str]) -> Plan:
    """The plan, with a wait for each action that has none because its step is being retried."""
    if not failures:
        return plan
    from dispatcher.decide.reconcile import (
        wait_for_retry,
    )  # 'status' reads overviews and makes none

    waiting_ids = {wait.action_id for wait in plan.waits}
    retries = (wait_for_retry(i, error) for i, error in failures.items() if i not in waiting_ids)
    return replace(plan, waits=(*plan.waits, *retries))


def open_actions(
    plan: Plan,
    claims: Mapping[str, Claim],
    *,
    observations: Mapping[RunKey, Observation] | None = None,
    candidates: Mapping[str, Candidate] | None = None,
    progress: Mapping[RunKey, Progress] | None = None,
) -> tuple[OpenAction, ...]:
    """Claims first, as they were made; then what waits, in the order of the plan."""
    waits = {wait.action_id: wait for wait in plan.waits}
    claimed = sorted(
        (c for c in claims.values() if c.phase is not Phase.TOMBSTONE), key=lambda c: c.claimed_at
    )
    reported = progress or {}
    files = candidates or {}
    running = [
        _of_claim(
            c,
            waits.get(c.key.action_id),
            observations or {},
            reported.get(c.key),
            files.get(c.key.action_id),
        )
        for c in claimed
    ]
    rest = [wait for action_id, wait in waits.items() if not _taken(action_id, claims)]
    waiting_ = [_of_wait(wait, files.get(wait.action_id)) for wait in rest[:LISTED]]
    return (*running, *waiting_)


def waiting(plan: Plan, claims: Mapping[str, Claim]) -> dict[WaitingFor, int]:
    """Open actions that do not run yet, counted by reason."""
    return dict(Counter(w.waiting_for for w in plan.waits if not _taken(w.action_id, claims)))


def _taken(action_id: str, claims: Mapping[str, Claim]) -> bool:
    claim = claims.get(action_id)
    return claim is not None and claim.phase is not Phase.TOMBSTONE


def _of_claim(
    claim: Claim,
    wait: Wait | None,
    observations: Mapping[RunKey, Observation],
    progress: Progress | None,
    candidate: Candidate | None,
) -> OpenAction:
    observation = observations.get(claim.key)
    job_class, bot = _placed(candidate)
    return OpenAction(
        id=claim.key.action_id,
        state=_state(claim, wait, observation),
        verdict=_verdict(claim) if claim.phase is Phase.ENDED and not claim.stopped else "",
        reason=wait.reason if wait else "",
        waiting_for=wait.waiting_for if wait else None,
        formula=claim.formula.name if claim.formula else "",
        tier=claim.tier or "",
        approved_by=claim.approved_by,
        engine_id=claim.engine_id,
        node=observation.engine.node if observation else "",
        since=claim.claimed_at,
        lock=(wait.lock if wait else None) or _held(claim),
        again_of=claim.again_of,
        progress=plain_progress(progress) if progress and claim.phase is not Phase.ENDED else None,
        job_class=job_class,
        bot=bot,
    )


def _held(claim: Claim) -> LockPlace | None:
    """Its lock, if it has one: a run has it until its verdict is known."""
    if not claim.lock or not claim.in_flight:
        return None
    return LockPlace(name=claim.lock, holder=claim.key.action_id)


def plain_progress(progress: Progress) -> dict[str, object]:
    """Progress as the public record has it."""
    return {
        "stage": progress.stage,
        "percent": progress.percent,
        "detail": progress.detail,
        "at": known_time(progress.at),
    }


def _verdict(claim: Claim) -> str:
    """The verdict of a claim's result that is being published."""
    try:
        return str(json.loads(claim.result)["verdict"])
    except (ValueError, TypeError, KeyError):
        return ""


def _state(claim: Claim, wait: Wait | None, observation: Observation | None) -> State:
    if claim.phase is Phase.ENDED:
        return State.ENDED
    if observation is not None:  # the observation is newer than the claim
        return State.PENDING if observation.state is RunState.PENDING else State.RUNNING
    if claim.phase is Phase.CLAIMED:
        return State.STARTING
    # Before the first observation, all that is known is that it was submitted.
    return State.PENDING if wait and wait.run is RunState.PENDING else State.RUNNING


def _of_wait(wait: Wait, candidate: Candidate | None) -> OpenAction:
    action = candidate.action if candidate else None
    job_class, bot = _placed(candidate)
    return OpenAction(
        id=wait.action_id,
        state=State.WAITING,
        reason=wait.reason,
        waiting_for=wait.waiting_for,
        formula=action.formula if action else "",
        tier=candidate.tier or "" if candidate else "",
        approved_by=candidate.approved_by if candidate else (),
        since=candidate.since if candidate else 0.0,
        until=wait.until or 0.0,
        lock=wait.lock,
        again_of=(action.again_of if action else None) or "",
        job_class=job_class,
        bot=bot,
    )


def _placed(candidate: Candidate | None) -> tuple[str, str]:
    """Job class and bot, as the settings in force give them; "" if they are not known."""
    if candidate is None or candidate.action is None:
        return "", ""
    return candidate.placing.variant.job_class, candidate.placing.bot


def _open_action(entry: Mapping[str, Any]) -> OpenAction:
    kind, lock = entry.get("waiting_for"), entry.get("lock")
    return OpenAction(
        **{
            **entry,
            "state": State(entry["state"]),
            "waiting_for": WaitingFor(kind) if kind else None,
            "approved_by": tuple(entry.get("approved_by", ())),
            "lock": LockPlace(**lock) if lock else None,
        }
    )


def down(dependencies: Iterable[DependencyHealth]) -> list[DependencyHealth]:
    """The dependencies that are down."""
    return [entry for entry in dependencies if not entry.up]
