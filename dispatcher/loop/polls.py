"""The polls of the control loop: each runs when it is due, off the loop's thread.

``work`` begins what is due; it is called in each round, with the dependencies that were down and may be
asked again. Each of them is asked something even if no step needs it now: an outage must end when the
dependency is back. ``next_in`` returns the seconds until there is something to do; None if nothing falls
due by itself, or while the same question is under way or its dependency rests: the end of that brings a
round of its own.

All are used by the loop's thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from dispatcher.decide.world import Candidate
from dispatcher.engines.base import Scheduler
from dispatcher.errors import Denied, Dependency, Misconfigured, Unavailable
from dispatcher.ledger.base import Ledger
from dispatcher.loop.claim_cache import ClaimCache
from dispatcher.loop.executor import Executor
from dispatcher.loop.leader import Leadership
from dispatcher.loop.outages import Outages
from dispatcher.loop.pollers import Pollers
from dispatcher.loop.retries import Retries
from dispatcher.loop.view import View
from dispatcher.model.run import Claim, Observation, RunKey
from dispatcher.ops_repo import Head, OpsRepo
from dispatcher.status.tracker import Tracker
from dispatcher.vault import Grants

OBSERVE_EVERY_S = 5.0
"""Seconds between two observations while runs are in flight and nothing notifies."""

LONGEST_OBSERVE_PAUSE_S = 0.5
OBSERVE_PAUSE = 4
"""Pause between two observations while the engine notifies, as a multiple of the last one's duration."""

VET = "vet"


class FetchPoll:
    """Fetches the ops repo.

    Attributes:
        head: of the branch (hex), as the last fetch found it; "" before the first.

    Args:
        every_s: seconds between two fetches.
        moved: called when the clone may show another head.
    """

    def __init__(
        self, repo: OpsRepo, pollers: Pollers, *, every_s: float, moved: Callable[[], None]
    ) -> None:
        self._repo, self._pollers = repo, pollers
        self._every_s, self._moved = every_s, moved
        self._due_at = 0.0
        self.head = self._said = ""
        self._left = False  # the clone, that head

    def left(self) -> None:
        """Note that the clone may have left the head that the last fetch found, or one under way will
        find: something of ours was pushed.
        """
        self._left = True

    def hurry(self, commit: str = "") -> None:
        """Have the repo fetched in the next round.

        Args:
            commit: at which the branch is said to be (hex); "" for any. If the last fetch found it there,
                also one that is under way now, another would find nothing: each push is reported by itself.
                That counts only while the clone is where that fetch left it.
        """
        if commit and self._said in ("", commit):
            self._said = commit
        else:
            self._due_at = 0.0

    def work(self, back: Collection[Dependency]) -> None:
        now = time.monotonic()
        if not self._pollers.free(Dependency.REMOTE):
            return
        said, self._said = self._said, ""
        unknown = said and (said != self.head or self._left)
        if unknown or now >= self._due_at or Dependency.REMOTE in back:
            self._due_at = now + self._every_s
            self._left = False
            self._pollers.run(
                Dependency.REMOTE,
                self._repo.fetch,
                self._fetched,
                failed=lambda _error: self.left(),  # it may have moved the clone before
            )

    def next_in(self) -> float | None:
        free = self._pollers.free(Dependency.REMOTE)
        return self._due_at - time.monotonic() if free else None

    def _fetched(self, head: Head) -> None:
        self.head = head.commit
        self._moved()


class VettingPoll:
    """Has new and changed files vetted; one that fails unexpectedly is retried after a pause."""

    def __init__(self, view: View, pollers: Pollers, tracker: Tracker) -> None:
        self._view, self._pollers, self._tracker = view, pollers, tracker
        self.retries = Retries()

    def work(self) -> None:
        if not self._pollers.free(None, VET):
            return
        vetting = self._view.begin_vetting(resting=self.retries.paused())
        if vetting is not None:
            self._pollers.run(
                None,
                vetting.read,
                self._vetted,
                name=VET,
                failed=lambda _error: self._view.not_vetted(),
            )

    def next_in(self) -> float | None:
        return self.retries.next_try_in()

    def note_failures(self) -> None:
        """Report unexpected errors about single actions, and have these retried after a pause."""
        while self._view.failed:
            action_id, error = self._view.failed.popitem()
            self.retries.failed(action_id, error)
            if not isinstance(error, Unavailable | Denied | Misconfigured):
                self._tracker.event("defect", where=VET, action=action_id, error=error)
        self.retries.keep(self._view.tree.open, ())

    def _vetted(self, answers: Mapping[str, Candidate | Exception]) -> None:
        for action_id in self._view.vetted_now(answers):
            self.retries.succeeded(action_id)


class LeadPoll:
    """Confirms that this installation leads the ops repo, until that is known, and again when a fetch
    found that the lead's ref changed.

    Attributes:
        confirmed: whether it is known to lead.
    """

    def __init__(self, leadership: Leadership, pollers: Pollers, outages: Outages) -> None:
        self._leadership, self._pollers, self._outages = leadership, pollers, outages
        self.confirmed = False

    def work(self) -> None:
        self.confirmed = self.confirmed and not self._leadership.strayed()
        needed = {Dependency.REMOTE, Dependency.LEDGER}
        due = not self.confirmed or self._leadership.due()
        if due and not needed & self._outages.resting():
            self._pollers.run(Dependency.LEAD, self._leadership.confirm, self._learn)

    def _learn(self, _none: None) -> None:
        self.confirmed = True


class EnginePoll:
    """Observes the runs in flight.

    Attributes:
        observations: the engine's last answer; None before the first.
        asked_at: when that observation began (monotonic seconds).
    """

    def __init__(self, scheduler: Scheduler, claims: ClaimCache, pollers: Pollers) -> None:
        self._scheduler, self._claims, self._pollers = scheduler, claims, pollers
        self.observations: Mapping[RunKey, Observation] | None = None
        self.asked_at = 0.0
        self._due_at = self._not_before = 0.0

    def hurry(self) -> None:
        """Observe again soon, because a run may have changed; at the earliest after ``OBSERVE_PAUSE``."""
        self._due_at = min(self._due_at, self._not_before)

    def work(self, back: Collection[Dependency]) -> None:
        now, in_flight = time.monotonic(), self._claims.in_flight()
        due = (in_flight and now >= self._due_at) or Dependency.SCHEDULER in back
        if due and self._pollers.free(Dependency.SCHEDULER):
            self._due_at = now + OBSERVE_EVERY_S
            self._pollers.run(
                Dependency.SCHEDULER,
                lambda: self._observe(in_flight),
                lambda answer: self._learn(*answer, asked_at=now),
            )

    def next_in(self) -> float | None:
        free = self._claims.in_flight() and self._pollers.free(Dependency.SCHEDULER)
        return self._due_at - time.monotonic() if free else None

    def _observe(self, claims: list[Claim]) -> tuple[Mapping[RunKey, Observation], float]:
        """The observations, and the seconds that took."""
        began = time.monotonic()
        return self._scheduler.observe(claims), time.monotonic() - began

    def _learn(
        self, observations: Mapping[RunKey, Observation], took_s: float, *, asked_at: float
    ) -> None:
        self.observations, self.asked_at = observations, asked_at
        pause_s = min(LONGEST_OBSERVE_PAUSE_S, OBSERVE_PAUSE * took_s)
        self._not_before = time.monotonic() + pause_s
        self._due_at = max(self._due_at, self._not_before)


class ClaimPoll:
    """Reads the ledger when the claim cache may differ from it.

    Args:
        busy: ids with a step under way.
        know: called with each claim that differs from the cache.
    """

    def __init__(
        self,
        ledger: Ledger,
        claims: ClaimCache,
        pollers: Pollers,
        executor: Executor,
        *,
        busy: Collection[str],
        know: Callable[[Claim], None],
    ) -> None:
        self._ledger, self._claims, self._pollers = ledger, claims, pollers
        self._executor, self._busy, self._know = executor, busy, know

    def work(self, back: Collection[Dependency]) -> None:
        due = self._claims.due(busy=self._busy) or Dependency.LEDGER in back
        if due and self._pollers.free(Dependency.LEDGER):
            self._claims.begin_reading()
            self._pollers.run(Dependency.LEDGER, self._read, self._learn)

    def _read(self) -> Mapping[str, Claim]:
        try:
            return {claim.key.action_id: claim for claim in self._ledger.open_runs()}
        except Exception:
            self._executor.post(self._claims.mark_stale)
            raise

    def _learn(self, claims: Mapping[str, Claim]) -> None:
        enter, remove = self._claims.differences(claims, busy=self._busy)
        for claim in enter:
            self._know(claim)
        for claim in remove:
            self._claims.remove(claim)


class SecretNamesPoll:
    """Lists the names of secrets in the vault, for the actions that wait for them."""

    def __init__(self, grants: Grants, view: View, pollers: Pollers) -> None:
        self._grants, self._view, self._pollers = grants, view, pollers

    def work(self, back: Collection[Dependency]) -> None:
        unresolved = self._view.unresolved()
        if unresolved or Dependency.VAULT in back:
            self._pollers.run(
                Dependency.VAULT,
                self._grants.secret_names,
                lambda names: self._view.learn_secrets(names, unresolved),
            )
