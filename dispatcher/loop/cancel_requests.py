"""Requests to cancel in the ops repo: which of them are approved, and what people see of them.

A request counts when the gate approves its file as it would have to approve the action: at the
action's tier, by the same gate. Requests are read and checked on another thread, a few at a time, and
only if they are about an open action or an open claim, so that any number of other files costs
nothing. A request that is invalid, not approved, or that cannot be judged now holds up nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from dispatcher.decide.approvals import need_of
from dispatcher.decide.policy import Policy
from dispatcher.decide.world import Candidate, GateState, Requested
from dispatcher.errors import Dependency, DisintoError, unexpected
from dispatcher.gate.base import Answer, Gate, Question
from dispatcher.loop.answers import pause_after
from dispatcher.loop.pollers import Pollers
from dispatcher.loop.results import in_words
from dispatcher.model.approval_need import Need
from dispatcher.model.cancel_request import LIMIT, CancelNote, CancelRequest, parse_cancel_request
from dispatcher.model.run import Claim, RunKey, Tier
from dispatcher.ops_repo import CancelFile, OpsRepo, Tree
from dispatcher.status.tracker import Tracker
from dispatcher.toml.source import quoted

BATCH = 20
"""Requests judged in one batch."""

NAME = "cancel requests"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A request and what it is judged against: while none of this changes, the judgement holds.

    Attributes:
        file: the request.
        key: the action that is open, or the run that is claimed, under the request's id.
        tier: of that action.
        need: the approvals that the action needs, and so the request.
    """

    file: CancelFile
    key: RunKey
    tier: Tier
    need: Need


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """The judgement of a request; ``error`` is an unexpected exception that prevented it."""

    state: str
    reason: str = ""
    by: str = ""
    error: Exception | None = None

    def note(self, subject: Subject) -> CancelNote:
        """The same, for people."""
        return CancelNote(
            id=subject.file.id,
            path=subject.file.path,
            state=self.state,
            by=self.by,
            reason=self.reason,
        )


class ViewLike(Protocol):
    """What of the view is needed."""

    @property
    def tree(self) -> Tree: ...
    @property
    def vetted(self) -> Mapping[str, Candidate]: ...
    @property
    def unread(self) -> Collection[str]: ...
    @property
    def invalidated(self) -> int: ...
    @property
    def policy(self) -> Policy: ...


class ComponentsLike(Protocol):
    """What of ``Components`` is needed."""

    @property
    def repo(self) -> OpsRepo: ...
    @property
    def gate(self) -> Gate: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    subject: Subject
    judged: Judged
    again_at: float
    pause_s: float


def subjects(view: ViewLike, claims: Mapping[str, Claim]) -> dict[str, Subject]:
    """Requests that can have an effect now, by id."""
    tree, requests = view.tree, {}
    if not tree.cancels:
        return {}
    unread = view.unread
    for action_id in tree.cancels.keys() & (tree.open.keys() | claims.keys()):
        file, claim = tree.cancels[action_id], claims.get(action_id)
        if claim is not None and claim.in_flight:
            tier = claim.tier or Tier.HIGH
            formula = claim.formula.name if claim.formula else ""
            need = need_of(view.policy, tier, formula)
            requests[action_id] = Subject(file=file, key=claim.key, tier=tier, need=need)
            continue
        candidate = view.vetted.get(action_id)
        decision = candidate.tier_decision if candidate else None
        if claim is None and candidate and decision and action_id not in unread:
            requests[action_id] = Subject(
                file=file, key=candidate.key, tier=decision.tier, need=decision.need
            )
    return requests


def judge(subject: Subject, *, repo: OpsRepo, gate: Gate, commit: str) -> Judged:
    """Read a request and check the gate for it.

    Args:
        commit: the head that contains it (hex).

    Returns:
        Its state: ``waiting`` with the reason if it cannot be checked now.
    """
    try:
        return _judge(subject, repo=repo, gate=gate, commit=commit)
    except DisintoError as error:
        return Judged(state="waiting", reason=str(error))
    except Exception as error:  # noqa: BLE001 - one request's; reported by the caller
        return Judged(state="waiting", reason=type(error).__name__, error=error)


def _judge(subject: Subject, *, repo: OpsRepo, gate: Gate, commit: str) -> Judged:
    file = subject.file
    if not file.regular:
        return Judged(state="ignored", reason="it is not a regular file")
    data = repo.read([file.blob], limit=LIMIT)[file.blob]
    request = parse_cancel_request(data, path=file.path, action_id=file.id)
    if not isinstance(request, CancelRequest):
        return Judged(state="ignored", reason=in_words(request))
    if request.blob != subject.key.blob:
        reason = (
            f"it is about another version of the action: it names blob {request.blob[:12]}, which "
            f"is {subject.key.blob[:12]} here"
        )
        return Judged(state="ignored", reason=reason)
    question = Question(
        action_id=file.id,
        path=file.path,
        blob=file.blob,
        commit=commit,
        tier=subject.tier,
        tier_reason="a request to cancel needs the same approval as its action",
        need=subject.need,
        formula_need=subject.need,
    )
    decision = gate.check(question)
    change = repo.last_change(commit, file.path)
    by = quoted(change.author_name) + f" (commit {change.sha[:12]})" if change else "unknown person"
    if decision.approved_by:
        by = f"{by}, approved by {', '.join(decision.approved_by)}"
    if request.reason:
        by = f"{by}: {request.reason}"
    state = "approved" if decision.answer is Answer.APPROVED else "waiting"
    return Judged(state=state, reason=decision.reason, by=by)


class CancelRequests:
    """Keeps the judgements of requests to cancel. Used by the loop's thread only.

    Args:
        components: clone and gate are used.
        view: of the ops repo.
        tracker: notified of each judgement and of defects.
        resting: names the dependencies that are backing off.
    """

    def __init__(
        self,
        components: ComponentsLike,
        view: ViewLike,
        *,
        tracker: Tracker,
        resting: Callable[[], Collection[Dependency]] = frozenset,
    ) -> None:
        self._components, self._view, self._tracker, self._resting = (
            components,
            view,
            tracker,
            resting,
        )
        self._subjects: Mapping[str, Subject] = {}
        self._entries: dict[str, _Entry] = {}
        self._invalidated = view.invalidated

    def look(self, claims: Mapping[str, Claim], pollers: Pollers | None = None) -> None:
        """Update the set of requests, and judge a batch of those that are due: on another thread,
        or synchronously without ``pollers``.
        """
        self._subjects = subjects(self._view, claims)
        for vanished in self._entries.keys() - self._subjects.keys():
            del self._entries[vanished]
        if self._invalidated != self._view.invalidated:
            self._invalidated = self._view.invalidated
            self._invalidate()
        batch = self._due()
        if not batch:
            return
        commit, invalidated = self._view.tree.commit, self._invalidated

        def ask() -> Mapping[Subject, Judged]:
            return {subject: self._ask(subject, commit) for subject in batch}

        def learn(answers: Mapping[Subject, Judged]) -> None:
            if invalidated == self._view.invalidated:
                self._learn(answers)

        if pollers is None:
            learn(ask())
        else:
            pollers.run(None, ask, learn, name=NAME)

    def requested(self) -> Mapping[str, Requested]:
        """The requests for ``reconcile``, by id. One not judged yet holds up its action for a moment."""
        return {i: self._requested(s) for i, s in self._subjects.items()}

    def notes(self) -> tuple[CancelNote, ...]:
        """The requests, for people."""
        unread = Judged(state="unread")
        return tuple((self._of(s) or unread).note(s) for _, s in sorted(self._subjects.items()))

    @property
    def unread(self) -> bool:
        """Whether any request has not been judged yet."""
        return any(self._of(s) is None for s in self._subjects.values())

    def next_try_in(self) -> float | None:
        """Seconds until a request is judged again; None if none is."""
        times = [e.again_at for e in self._entries.values() if e.judged.state == "waiting"]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def next_in(self, pollers: Pollers) -> float | None:
        """The same, if requests can be judged now; None otherwise."""
        return self.next_try_in() if pollers.free(None, NAME) else None

    def _invalidate(self) -> None:
        """Something may have changed (a webhook, a rewritten history, other rules): drop approvals,
        and judge the rest again without holding up anything.
        """
        self._entries = {
            i: replace(entry, again_at=0.0)
            for i, entry in self._entries.items()
            if entry.judged.state != "approved"
        }

    def _of(self, subject: Subject) -> Judged | None:
        entry = self._entries.get(subject.file.id)
        return entry.judged if entry and entry.subject == subject else None

    def _requested(self, subject: Subject) -> Requested:
        judged = self._of(subject)
        if judged is None:
            return Requested(blob=subject.key.blob, gate_state=GateState.UNASKED)
        approved = judged.state == "approved"
        gate_state = GateState.APPROVED if approved else GateState.WAITING
        return Requested(blob=subject.key.blob, gate_state=gate_state, by=judged.by)

    def _due(self) -> list[Subject]:
        now = time.monotonic()
        new = [s for s in self._subjects.values() if self._of(s) is None]
        retries = [
            e.subject
            for e in self._entries.values()
            if e.judged.state == "waiting" and e.again_at <= now and self._of(e.subject)
        ]
        return [*new, *retries][:BATCH]

    def _ask(self, subject: Subject, commit: str) -> Judged:
        if subject.tier is not Tier.LOW and Dependency.FORGE in self._resting():
            return Judged(state="waiting", reason="the forge was unavailable a moment ago")
        return judge(subject, repo=self._components.repo, gate=self._components.gate, commit=commit)

    def _learn(self, answers: Mapping[Subject, Judged]) -> None:
        now = time.monotonic()
        for subject, judged in answers.items():
            action_id = subject.file.id
            before = self._entries.get(action_id)
            unchanged = before is not None and before.subject == subject and before.judged == judged
            pause_s = pause_after(before.pause_s if before and unchanged else None)
            self._entries[action_id] = _Entry(
                subject=subject, judged=judged, again_at=now + pause_s, pause_s=pause_s
            )
            if judged.error is not None and unexpected(judged.error):
                self._tracker.event("defect", where=NAME, action=action_id, error=judged.error)
            elif not unchanged:
                self._tracker.event(
                    "cancel_request",
                    action=action_id,
                    answer=judged.state,
                    reason=judged.reason,
                    by=judged.by,
                )
