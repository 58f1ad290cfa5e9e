"""Derives an observation of each run from one list of Nomad.

One call returns the status and the allocations of every run in flight. More is read only for a run
that has newly ended: its ``outcome.json``, and its records if that file does not settle it. The
conclusion is kept until the run is forgotten.

Where the last list is new enough, and all that was said since is clear, none is needed: see ``run_cache``. An
allocation of which it was said that it has ended, by an event or by its runner, whose notice is earlier and may
contain the outcome, is read at once: the outcome proves itself, by the run's key.

Runs are isolated from each other: a defect of one, or what its formula left, affects only that
one's observation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import partial

from dispatcher.engines.nomad import outcome_file, verdicts
from dispatcher.engines.nomad.api import Allocation, JobStatus, NomadApi
from dispatcher.engines.nomad.children import Children
from dispatcher.engines.nomad.ended_runs import EndedRuns
from dispatcher.engines.nomad.job_status import KIND, client_states, is_over, observation, seconds
from dispatcher.engines.nomad.locations import Locations
from dispatcher.engines.nomad.reads import Reads
from dispatcher.engines.nomad.render import runner_prefix
from dispatcher.engines.nomad.run_cache import RunCache
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.engines.nomad.tracked_runs import TrackedRuns
from dispatcher.engines.nomad.wait_reasons import WaitReasons
from dispatcher.errors import DisintoError
from dispatcher.model.payload import check_authentic, decode_end_notice
from dispatcher.model.run import Claim, Observation, Placement, RunKey, RunState
from dispatcher.settings import Settings


class Observer:
    """Observes runs, isolated from each other. Thread-safe.

    Args:
        clock: monotonic seconds: durations decide about runs.
        wake: called when more is known of a run than last observed; must not block.
        wake_later: called when that can wait a little.
    """

    def __init__(
        self,
        api: NomadApi,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None] = lambda: None,
        wake_later: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._nomad = settings.section(NomadSettings)
        self._clock = clock
        prefix = runner_prefix(self._nomad)
        self._children = Children(api, prefix=prefix)
        self._reasons = WaitReasons(api, prefix=prefix)
        self._locations = Locations(api)
        self._tracked = TrackedRuns(clock=clock)
        self._ended = EndedRuns(
            api, self._nomad, tracked=self._tracked, locations=self._locations, clock=clock
        )
        self._reads = Reads(clock=clock, late=wake)
        self._wake, self._wake_later = wake, wake_later
        self._cache = RunCache(self._tracked, clock=clock)

    def close(self) -> None:
        """Start no further reads."""
        self._reads.close()

    def child_of(self, claim: Claim) -> str | None:
        """The dispatched job of a run, if one is known."""
        return self._children.of(claim)

    def allocation_of(self, child: str) -> str:
        """The allocation in which a dispatched job runs, as last observed, else as Nomad reports it;
        "" if there is none.
        """
        run = self._tracked.get(child)
        if not run.alloc:
            allocation = verdicts.main_allocation(self._api.allocations(child))
            run.alloc = allocation["ID"] if allocation else ""
        return run.alloc

    def stop(self, child: str, *, reason: str = "") -> None:
        """Stop the run; the first reason that is given is kept. The next observation lists it."""
        run = self._tracked.get(child)
        run.stop_reason = run.stop_reason or reason
        self._api.stop(child)
        self._cache.changed(child)

    def has_ended(self, child: str) -> bool:
        """Whether the run was observed to have ended."""
        return self._tracked.ended(child) is not None

    def dispatched(self, child: str, *, outcome_key: str) -> None:
        """Note that Nomad has just answered that it dispatched this job."""
        self._tracked.get(child).outcome_key = outcome_key
        seen = observation(RunState.PENDING, Placement(kind=KIND, job=child), since=time.time())
        if self._cache.dispatched(child, seen):
            self._wake()

    def allocation_ended(self, allocation: Allocation) -> None:
        """Note an allocation that has ended, as an event says: its outcome is read at once."""
        # Its runner may have said so before Nomad knew, and the read then have shown no end.
        self._reads.retry(allocation.get("JobID", ""))
        if self._cache.ended(allocation):
            self._wake()

    def allocation_placed(self, allocation: Allocation) -> None:
        """Note where a run executes, and whether its task has begun, as an event says."""
        if self._cache.placed(allocation):
            self._wake_later()

    def changed(self, child: str) -> None:
        """Have the next observation list the runs, because one changed in another way."""
        if self._cache.changed(child):
            self._wake_later()

    def doubt(self) -> None:
        """Have the next observation list the runs: any may have changed."""
        self._cache.doubt_all()

    def told_by_runner(self, notice: bytes) -> bool:
        """Note the allocation that a runner's notice names, like that of an event; see ``Scheduler.told``."""
        try:
            child, alloc_id, outcome, clean = decode_end_notice(notice)
            run = self._tracked.get(child) if self._cache.knows(child) else None
            if run is None or not run.outcome_key:
                return False
            check_authentic(notice, run.outcome_key)
        except ValueError:  # also NotAuthentic
            return False
        run.alloc, run.node = alloc_id, run.node if run.alloc == alloc_id else ""
        report = outcome_file.decoded(outcome, key=run.outcome_key)
        run.report = (alloc_id, report) if report.authentic else None
        run.vouched = alloc_id if clean and not report.authentic else ""
        # Anybody who heard it on the network can send it again, as often as they like.
        if self._cache.ended(
            Allocation(ID=alloc_id, JobID=child, NodeID=run.node, ClientStatus="complete")
        ):
            self._wake()
        return True

    def forget(self, child: str) -> None:
        """Drop the run."""
        for memory in (self._cache, self._reads, self._tracked, self._reasons, self._children):
            memory.forget(child)

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        """See ``Scheduler.observe``."""
        children = self._children.of_all(claims)
        ended = {key: self._tracked.ended(child) for key, child in children.items()}
        observations = {key: last for key, last in ended.items() if last is not None}
        keys = {child: key for key, child in children.items() if key not in observations}
        outcome_keys = {claim.key: claim.outcome_key for claim in claims}
        for child, key in keys.items():
            self._tracked.get(child).outcome_key = outcome_keys[key]
        for child, observed in self._current(keys).items():
            if observed is not None:
                observations[keys[child]] = observed
        if self._cache.has_more(children.values()):
            self._wake_later()  # what woke the caller would not wake it again
        return observations

    def _current(self, children: Collection[str]) -> Mapping[str, Observation | None]:
        """Observations of runs that were not known to have ended."""
        cached = self._cache.take(children)
        reads = {
            child: partial(self._isolated, status, partial(self._ended.conclude_told, status))
            for child, status in cached.ended.items()
        }
        concluded = {
            child: seen
            for child, seen in self._reads.results(reads).items()
            if seen is not None and seen.state is RunState.ENDED
        }
        rest = [child for child in children if child not in concluded]
        unclear = cached.ended.keys() - concluded.keys()
        self._cache.doubt(unclear)
        if rest and (unclear or not cached.suffices_for(rest)):
            return {**concluded, **self._list(rest)}
        placed = {
            child: self._isolated(status, partial(self._open, status, ""))
            for child, status in cached.placed.items()
            if child in rest
        }
        changed = {child: seen for child, seen in placed.items() if seen is not None}
        self._cache.observed(changed)
        return {**concluded, **{child: cached.observations[child] for child in rest}, **changed}

    def _list(self, children: Collection[str]) -> Mapping[str, Observation | None]:
        began = self._clock()
        statuses = self._api.job_statuses(children)
        observed = self._observed(statuses)
        listed = {child: seen for child, seen in observed.items() if seen is not None}
        over = {status["ID"] for status in statuses if is_over(status)} & listed.keys()
        unread = {child for child in over if listed[child].state is not RunState.ENDED}
        self._cache.listed(children, listed, unread=unread, began=began)
        return observed

    def _observed(self, statuses: Collection[JobStatus]) -> dict[str, Observation | None]:
        """By job; None for one that Nomad collected in the meantime."""
        over = {status["ID"]: status for status in statuses if is_over(status)}
        open_ = {status["ID"]: status for status in statuses if not is_over(status)}
        reasons = self._reasons.of({c for c, status in open_.items() if not status.get("Allocs")})
        observations = {
            child: self._isolated(status, partial(self._open, status, reasons.get(child, "")))
            for child, status in open_.items()
        }
        reads = {
            child: partial(self._isolated, status, partial(self._ended.conclude, status))
            for child, status in over.items()
        }
        concluded = self._reads.results(reads)
        for child in over:
            read = child in concluded
            observations[child] = concluded[child] if read else self._outcome_pending(child)
        return observations

    def _isolated(
        self, status: JobStatus, observe: Callable[[], Observation | None]
    ) -> Observation | None:
        """The observation of one run; if observing fails, one that reports it, so that the others
        are unaffected."""
        child = status["ID"]
        try:
            return observe()
        except DisintoError as error:
            reason = str(error)
            self._cache.doubt([child])
        except Exception as error:  # noqa: BLE001 - no defect in one run may hide the others
            reason = f"it cannot be observed: {self._tracked.defect(child, error)}"
        return observation(RunState.RUNNING, Placement(kind=KIND, job=child), reason=reason)

    def _outcome_pending(self, child: str) -> Observation:
        """A run that has ended, and whose outcome takes longer to read than ``observe`` waits."""
        return observation(
            RunState.RUNNING,
            Placement(kind=KIND, job=child),
            reason="it has ended; its outcome is still being read",
            since=self._tracked.enter(child, "ended").since,
        )

    # Runs that have not ended

    def _open(self, status: JobStatus, wait_reason: str) -> Observation:
        child, states, engine = status["ID"], client_states(status), self._locations.of(status)
        if engine.alloc:
            run = self._tracked.get(child)
            run.alloc, run.node = engine.alloc, (status.get("Allocs") or [{}])[0].get("NodeID", "")
        if not states:
            return self._waiting(status, engine, wait_reason)
        if "unknown" in states:
            return self._out_of_touch(child, engine)
        if states <= verdicts.CLIENT_ENDED and "lost" in states and not status.get("Stop"):
            self.stop(child)  # or else Nomad places it a second time
        if status.get("Stop"):
            since = self._tracked.enter(child, "stopping").since
            return observation(RunState.RUNNING, engine, reason="stopping", since=since)
        if states <= {"pending"}:
            since = self._tracked.enter(child, "setup").since
            reason = f"node {engine.node} is setting it up"
            return observation(RunState.PENDING, engine, reason=reason, since=since)
        return observation(
            RunState.RUNNING, engine, since=self._tracked.enter(child, "running").since
        )

    def _waiting(self, status: JobStatus, engine: Placement, reason: str) -> Observation:
        child, since = status["ID"], seconds(status.get("SubmitTime"))
        waited_s = self._clock() - self._tracked.enter(child, "waiting").at
        if waited_s > self._nomad.placement_wait_s:
            # Its end is read once the job is observed stopped; it may still be placed until then.
            self._tracked.get(child).expired = True
            self.stop(child)
        return observation(RunState.PENDING, engine, reason=reason, since=since)

    def _out_of_touch(self, child: str, engine: Placement) -> Observation:
        """A run on a node that does not answer."""
        unknown = self._tracked.enter(child, "unknown")
        if self._clock() - unknown.at > self._nomad.node_wait_s:
            self.stop(child)  # a stop makes Nomad call it lost
        down_since = datetime.fromtimestamp(unknown.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        reason = (
            f"node {engine.node} is down since {down_since}, waiting for it to return or be "
            "declared lost"
        )
        return observation(RunState.RUNNING, engine, reason=reason, since=unknown.since)
