"""Times: when an action may start, until when, how old its approval may be, and freezes. Pure."""

from __future__ import annotations

import math

from dispatcher.decide.freeze_windows import Frozen
from dispatcher.decide.steps import Reject, Wait
from dispatcher.decide.world import Candidate, GateState, World
from dispatcher.model.health import WaitingFor
from dispatcher.model.times import rfc3339, took
from dispatcher.model.verdicts import Verdict

SLACK_S = 300.0
"""Seconds by which a commit may be dated in the future: clocks differ."""

RENEW = (
    "to renew it, change the file in a commit that is approved again, or submit it under a new id"
)


def overdue(world: World, candidate: Candidate) -> Reject | None:
    """The end of an action that has not started and must not start any more."""
    action = candidate.action
    if action is None or not _expired(candidate, world.now):
        return None
    return Reject(
        candidate=candidate,
        verdict=Verdict.EXPIRED,
        reason=f"it had not started at {action.expires} (expires)",
        commit=world.commit,
    )


def held_back(candidate: Candidate, now: float) -> Wait | None:
    """Why an approved action does not start at this time."""
    action = candidate.action
    if stale := _stale(candidate, now):
        return _wait(candidate, WaitingFor.APPROVAL, stale)
    if action is not None and action.starts_at is not None and now < action.starts_at:
        frozen = _frozen(candidate, action.starts_at)
        reason = f"starts at {action.not_before} (not_before)"
        if frozen is not None:
            return _wait(candidate, WaitingFor.TIME, f"{reason}, and not in {frozen}", frozen.until)
        return _wait(candidate, WaitingFor.TIME, reason, action.starts_at)
    frozen = _frozen(candidate, now)
    if frozen is None:
        return None
    reason = f"{frozen}{_too_late(candidate, frozen)}"
    return _wait(candidate, WaitingFor.FREEZE, reason, frozen.until)


def not_now(candidate: Candidate, now: float) -> str:
    """Why an action must not be claimed at this moment, although it could start when that was decided;
    "" if it may.
    """
    if candidate.action is not None and _expired(candidate, now):
        return f"it had not started at {candidate.action.expires} (expires)"
    wait = held_back(candidate, now)
    return wait.reason if wait else ""


def overridden(candidate: Candidate, now: float) -> str:
    """Why an action starts now although there is a freeze, and which; "" if there is none."""
    frozen = candidate.freezes.frozen(now) if candidate.freezes else None
    reason = candidate.action.emergency if candidate.action else None
    return f"{reason} (overrides {frozen})" if frozen and reason else ""


def _frozen(candidate: Candidate, at: float) -> Frozen | None:
    """The freeze that keeps an action from starting at a time."""
    emergency = candidate.action is not None and candidate.action.emergency
    return None if emergency or candidate.freezes is None else candidate.freezes.frozen(at)


def _too_late(candidate: Candidate, frozen: Frozen) -> str:
    """What ends the action, or its approval, before the freeze does; "" if nothing will."""
    end = math.inf if frozen.until is None else frozen.until
    action, lasts_s = candidate.action, candidate.approval_lasts_s
    if action is not None and action.expires_at is not None and action.expires_at <= end:
        return f"; it expires before that, at {action.expires}"
    stale_at = math.inf if lasts_s is None else candidate.approved_at + lasts_s
    if stale_at <= end and math.isfinite(stale_at):
        return (
            f"; its approval is too old before that, from {rfc3339(stale_at)} "
            f"([max_age] {candidate.tier})"
        )
    return ""


def next_time(world: World) -> float | None:
    """When a time passes that may change what is decided."""
    unclaimed = (c for i, c in world.candidates.items() if i not in world.claims)
    moments = (at for candidate in unclaimed for at in _moments(candidate, world.now))
    return min((at for at in moments if at > world.now), default=None)


def _moments(candidate: Candidate, now: float) -> list[float]:
    action = candidate.action
    if action is None:
        return []
    found = [at for at in (action.starts_at, action.expires_at) if at is not None]
    if candidate.approval_lasts_s is not None and candidate.gate_state is GateState.APPROVED:
        found.append(candidate.approved_at + candidate.approval_lasts_s)
    if candidate.freezes is not None and candidate.gate_state is GateState.APPROVED:
        frozen = _frozen(candidate, now)
        found += [frozen.until] if frozen and frozen.until is not None else []
    return found


def _expired(candidate: Candidate, now: float) -> bool:
    action = candidate.action
    return action is not None and action.expires_at is not None and now >= action.expires_at


def _stale(candidate: Candidate, now: float) -> str:
    """Why an approval does not count any more; "" if it does."""
    lasts_s, at = candidate.approval_lasts_s, candidate.approved_at
    if lasts_s is None:
        return ""
    most = f"{_age(lasts_s)}, the maximum ([max_age] {candidate.tier})"
    if at <= 0:
        return f"it is unknown whether its approval is older than {most}; {RENEW}"
    if at > now + SLACK_S:
        return f"its commit is dated in the future, so that its approval has no age; {RENEW}"
    if now >= at + lasts_s:
        return f"its approval is older than {most}; {RENEW}"
    return ""


def _age(seconds: float) -> str:
    return f"{seconds / 86_400:g} days" if seconds % 86_400 == 0 else took(seconds)


def _wait(
    candidate: Candidate, waiting_for: WaitingFor, reason: str, until: float | None = None
) -> Wait:
    return Wait(
        action_id=candidate.key.action_id, waiting_for=waiting_for, reason=reason, until=until
    )
