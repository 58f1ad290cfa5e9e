"""From one list of Nomad to an observation for each run.

One call tells the status and the allocations of every run in flight. Only for a run that has newly
ended is more asked: its ``outcome.json``, and its records where that file does not settle it. What
was concluded is kept until the run is forgotten.

Each run is judged by itself: what is wrong with one, or what its formula left, is said of that one
and keeps nothing from the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from dispatcher.engines.log import LazyLogger
from dispatcher.engines.nomad import outcome_file, verdicts
from dispatcher.engines.nomad.api import Evaluation, JobStatus, NomadApi
from dispatcher.engines.nomad.outcome_file import NO_WORD, Word
from dispatcher.engines.nomad.reads import Reads
from dispatcher.engines.nomad.render import runner_prefix
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Denied, DisintoError, TemporaryError
from dispatcher.model.run import Claim, Engine, Observation, Outcome, RunKey, RunState, Verdict
from dispatcher.settings import Settings

REASONS_EVERY_S = 5.0
"""How often the reasons of waiting runs are asked for anew."""

NEW_REASONS_EVERY_S = 1.0
"""The same while runs wait whose reason is not known: the answer tells of all that wait, so asking
for each that comes would cost their number squared."""

OUTCOME_WAIT_S = 60.0
"""How long a run has ended before an outcome that cannot be read is given up, and Nomad's records
decide."""

_KIND = "nomad"
_VANISHED = frozenset({"lost", "unknown"})
"""``ClientStatus`` of allocations whose node does not answer."""

_SETTLED = frozenset({Verdict.SUCCEEDED, Verdict.TIMED_OUT})
"""Verdicts of a runner that nothing in Nomad's records can correct."""


class NotYet(Exception):
    """A run has ended, and what it left cannot be read at the moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """Since when a run is in a condition that may last only so long."""

    condition: str
    since: float  # seconds since the epoch, for people
    at: float  # by the observer's clock


class Observer:
    """Keeps what must be known from one look to the next. Thread-safe.

    Args:
        clock: seconds that cannot be set: durations decide over runs.
        wake: called from a thread of its own when more is known of a run than the last look said.
    """

    def __init__(
        self,
        api: NomadApi,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._nomad = settings.section(NomadSettings)
        self._clock = clock
        self._prefix = runner_prefix(settings.section(NomadSettings))
        self._turn = threading.RLock()
        self._ended: dict[str, Observation] = {}
        self._children: dict[RunKey, str] = {}
        self._keys: dict[str, str] = {}
        self._stopping: dict[str, str] = {}
        self._expired: dict[str, bool] = {}
        self._seen: dict[str, _Seen] = {}
        self._reasons: dict[str, str] = {}
        self._reasons_at = 0.0
        self._defects: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._reads = Reads(clock=clock, late=wake)
        self._log = LazyLogger("disinto.nomad")

    def close(self) -> None:
        self._reads.close()

    def child_of(self, claim: Claim) -> str | None:
        """The dispatched job of a run, where one is known."""
        return (
            claim.engine_id or self._children.get(claim.key) or self._find([claim]).get(claim.key)
        )

    def will_stop(self, child: str, *, reason: str) -> None:
        """The run is about to be stopped by us, for this reason."""
        with self._turn:
            self._stopping.setdefault(child, reason)

    def has_ended(self, child: str) -> bool:
        """Whether Nomad was seen to be done with the run."""
        with self._turn:
            return child in self._ended

    def forget(self, child: str) -> None:
        """Nobody asks about the run any more."""
        self._reads.forget(child)
        with self._turn:
            for memory in (
                self._ended,
                self._keys,
                self._stopping,
                self._expired,
                self._seen,
                self._reasons,
                self._defects,
            ):
                memory.pop(child, None)
            for key in [key for key, named in self._children.items() if named == child]:
                del self._children[key]

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        """See ``Scheduler.observe``."""
        children = self._children_of(claims)
        found = {
            key: ended
            for key, child in children.items()
            if (ended := self._ended.get(child)) is not None
        }
        asked = {child: key for key, child in children.items() if key not in found}
        with self._turn:
            outcome_keys = {claim.key: claim.outcome_key for claim in claims}
            self._keys |= {child: outcome_keys[key] for child, key in asked.items()}
        statuses = self._api.job_statuses(list(asked)) if asked else []
        over = [status for status in statuses if _over(status)]
        open_ = [status for status in statuses if not _over(status)]
        reasons = self._placement_reasons(open_)
        for status in open_:
            look = partial(self._open, status, reasons)
            if (observation := self._alone(status, look)) is not None:
                found[asked[status["ID"]]] = observation
        reads = {s["ID"]: partial(self._alone, s, partial(self._conclude, s)) for s in over}
        concluded = self._reads.results(reads)
        for status in over:
            child = status["ID"]
            observation = concluded[child] if child in concluded else self._unread(status)
            if observation is not None:
                found[asked[child]] = observation
        return found

    def _alone(
        self, status: JobStatus, look: Callable[[], Observation | None]
    ) -> Observation | None:
        """What a look at one run says; if it fails, that it did: the others count all the same."""
        child = status["ID"]
        try:
            return look()
        except DisintoError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - no defect in one run may hide the others
            reason = f"it cannot be observed: {self._defect(child, error)}"
        engine = Engine(kind=_KIND, job=child)
        return _observation(RunState.RUNNING, child, engine, reason=reason)

    def _defect(self, child: str, error: Exception) -> str:
        """Words for an error that nobody expected; its traceback is logged once for each run."""
        name = type(error).__name__
        with self._turn:
            known = self._defects.get(child) == name
            self._defects[child] = name
        if not known:
            self._log.error("defect", where=f"observing {child}", exc_info=error)
        return f"unexpected {name}, see the log of 'disinto serve'"

    def _unread(self, status: JobStatus) -> Observation:
        """A run that has ended, and whose outcome is being read for longer than a look waits."""
        child = status["ID"]
        return _observation(
            RunState.RUNNING,
            child,
            Engine(kind=_KIND, job=child),
            reason="it has ended; its outcome is still being read",
            since=self._in(child, "ended").since,
        )

    # Which job is whose

    def _children_of(self, claims: Collection[Claim]) -> dict[RunKey, str]:
        named = {claim.key: claim.engine_id for claim in claims if claim.engine_id}
        nameless = [claim for claim in claims if not claim.engine_id]
        if nameless:
            named |= self._find(nameless)
        return named

    def _find(self, claims: Collection[Claim]) -> dict[RunKey, str]:
        """Runs by the meta of their jobs: after a crash between a dispatch and its record."""
        wanted = {(claim.key.action_id, claim.key.blob): claim.key for claim in claims}
        found: dict[RunKey, str] = {}
        for stub in self._api.jobs(prefix=self._prefix, meta=True):
            meta = stub.get("Meta") or {}
            key = wanted.get((meta.get("action_id", ""), meta.get("blob", "")))
            if key is not None and stub.get("ParentID"):
                found[key] = stub["ID"]
        with self._turn:
            self._children |= found
        return found

    # Runs that go on

    def _open(self, status: JobStatus, reasons: Mapping[str, str]) -> Observation:
        child, allocations = status["ID"], status.get("Allocs") or []
        states, engine = _states(status), self._engine(status)
        if not allocations:
            return self._waiting(status, engine, reasons.get(child, ""))
        if "unknown" in states:
            unknown = self._in(child, "unknown")
            if self._clock() - unknown.at > self._nomad.node_wait_s:
                self._api.stop(child)  # a stop makes Nomad call it lost
            since = unknown.since
            reason = (
                f"node {engine.node} is down since {_utc(since)}, waiting for it to return or be "
                "declared lost"
            )
            return _observation(RunState.RUNNING, child, engine, reason=reason, since=since)
        if states <= verdicts.CLIENT_ENDED and "lost" in states and not status.get("Stop"):
            self._api.stop(child)  # or else Nomad places it a second time
        if status.get("Stop"):
            since = self._in(child, "stopping").since
            return _observation(RunState.RUNNING, child, engine, reason="stopping", since=since)
        if states <= {"pending"}:
            since = self._in(child, "setup").since
            reason = f"node {engine.node} is setting it up"
            return _observation(RunState.PENDING, child, engine, reason=reason, since=since)
        since = self._in(child, "running").since
        return _observation(RunState.RUNNING, child, engine, since=since)

    def _waiting(self, status: JobStatus, engine: Engine, reason: str) -> Observation:
        child, since = status["ID"], _seconds(status.get("SubmitTime"))
        if self._clock() - self._in(child, "waiting").at > self._nomad.placement_wait_s:
            # Its end is read when the job is seen stopped; it may find a place until then.
            with self._turn:
                self._expired[child] = True
            self._api.stop(child)
        return _observation(RunState.PENDING, child, engine, reason=reason, since=since)

    def _placement_reasons(self, statuses: Iterable[JobStatus]) -> Mapping[str, str]:
        """Why runs wait for placement: one call for all of them, and not at every look."""
        waiting = {status["ID"] for status in statuses if not status.get("Allocs")}
        now = time.monotonic()
        with self._turn:
            every_s = REASONS_EVERY_S if waiting <= self._reasons.keys() else NEW_REASONS_EVERY_S
            if not waiting or now - self._reasons_at < every_s:
                return self._reasons
            self._reasons_at = now
        blocked = self._api.evaluations_where(
            f'Status == "blocked" and JobID matches "^{self._prefix}[^/]*/dispatch-"'
        )
        by_job: dict[str, list[Evaluation]] = {}
        for evaluation in blocked:
            by_job.setdefault(evaluation.get("JobID", ""), []).append(evaluation)
        reasons = {child: verdicts.placement(by_job.get(child, ())) for child in waiting}
        with self._turn:
            self._reasons = reasons
        return reasons

    # Runs that have ended

    def _conclude(self, status: JobStatus) -> Observation | None:
        """The end of a run; None if Nomad collected it in the meantime."""
        child, engine = status["ID"], self._engine(status)
        try:
            outcome, reported = self._outcome(status)
        except (NotYet, TemporaryError) as error:
            since = self._in(child, "ended").since
            return _observation(RunState.RUNNING, child, engine, reason=str(error), since=since)
        if outcome is None:
            return None
        observation = _observation(
            RunState.ENDED, child, engine, outcome=outcome, since=outcome.finished_at
        )
        observation = replace(observation, reported=reported)
        with self._turn:
            self._ended[child] = observation
            self._seen.pop(child, None)
        return observation

    def _outcome(self, status: JobStatus) -> tuple[Outcome | None, bool]:
        """The outcome, and whether the runner left any word of it."""
        child, allocations = status["ID"], status.get("Allocs") or []
        vanished = bool(_states(status) & _VANISHED)
        word = NO_WORD
        if len(allocations) == 1:
            word = self._word(child, allocations[0]["ID"], vanished=vanished)
            if word.authentic and word.outcome is not None and _plain(word.outcome):
                return word.outcome, True
        return self._from_records(status, word)

    def _from_records(self, status: JobStatus, word: Word) -> tuple[Outcome | None, bool]:
        child = status["ID"]
        allocations = self._api.allocations(child)
        if len(allocations) > 1:
            main = verdicts.main_allocation(allocations)
            gone = main is not None and main.get("ClientStatus") in _VANISHED
            word = self._word(child, main["ID"], vanished=gone) if main else NO_WORD
        evaluations: list[Evaluation] = []
        if not allocations:
            evaluations = self._api.evaluations(child)
            if not evaluations and self._api.job(child) is None:
                return None, False
        outcome = verdicts.outcome(
            verdicts.Ended(
                allocations=allocations,
                outcome=word.outcome,
                authentic=word.authentic,
                forged=word.forged,
                stopped=bool(status.get("Stop")),
                reason=self._stopping.get(child, ""),
                evaluations=evaluations,
                expired=self._expired.get(child, False)
                or _expired(evaluations, self._nomad.placement_wait_s),
                memory_mb=self._nomad.memory_max_mb or self._nomad.memory_mb,
            )
        )
        return outcome, word.outcome is not None or word.forged

    def _word(self, child: str, alloc_id: str, *, vanished: bool) -> Word:
        """What the runner left.

        Args:
            vanished: its node was given up already, so there is nothing to wait for.

        Raises:
            NotYet: its node does not answer, and there is still time to wait for it.
        """
        ended = self._in(child, "ended")
        try:
            return outcome_file.read(self._api, alloc_id, key=self._keys.get(child, ""))
        except TemporaryError as error:
            why = str(error)
        except DisintoError:
            raise
        except Exception as error:  # noqa: BLE001 - the formula may have written it
            why = self._defect(child, error)
        if vanished or self._clock() - ended.at > OUTCOME_WAIT_S:
            return NO_WORD
        raise NotYet(f"it has ended, but its outcome cannot be read yet ({why})")

    # Small things

    def _engine(self, status: JobStatus) -> Engine:
        allocations = status.get("Allocs") or []
        if not allocations:
            return Engine(kind=_KIND, job=status["ID"])
        first = allocations[0]
        return Engine(
            kind=_KIND,
            job=status["ID"],
            alloc=first.get("ID", ""),
            node=self._node_name(first.get("NodeID", "")),
        )

    def _node_name(self, node_id: str) -> str:
        """The name of a node; its ID where the token may not list nodes."""
        if node_id and node_id not in self._nodes:
            try:
                known = {node["ID"]: node.get("Name") or node["ID"] for node in self._api.nodes()}
            except Denied:
                known = {}
            with self._turn:
                self._nodes |= {**known, node_id: known.get(node_id, node_id)}
        return self._nodes.get(node_id, "")

    def _in(self, child: str, condition: str) -> _Seen:
        with self._turn:
            seen = self._seen.get(child)
            if seen is None or seen.condition != condition:
                seen = _Seen(condition=condition, since=time.time(), at=self._clock())
                self._seen[child] = seen
            return seen


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _over(status: JobStatus) -> bool:
    """Nomad is done with the job, and every client with its part of it.

    A job that was stopped is ``dead`` at once, while its task may still be running. One that was
    stopped on a node that does not answer stays ``pending`` for as long as it does not.
    """
    states = _states(status)
    if status.get("Stop") and states & _VANISHED:
        return states <= verdicts.CLIENT_ENDED | _VANISHED
    return status.get("Status") == "dead" and states <= verdicts.CLIENT_ENDED


def _states(status: JobStatus) -> set[str]:
    return {allocation.get("ClientStatus", "") for allocation in status.get("Allocs") or []}


def _plain(word: Outcome) -> bool:
    """An end that nothing in Nomad's records can correct: a success, a timeout, or a formula that
    ended by itself, and not by what Nomad would know more about.
    """
    return word.verdict in _SETTLED or (
        word.verdict is Verdict.FAILED
        and word.formula_started
        and word.exit_code != verdicts.SIGKILL_CODE
    )


def _expired(evaluations: Iterable[Evaluation], wait_s: float) -> bool:
    """Whether the job was stopped only after it had waited its time; told from Nomad's records,
    so that a dispatcher that was started anew says the same. (A stop moves the job's SubmitTime.)
    """
    created = [(e.get("TriggeredBy"), _seconds(e.get("CreateTime"))) for e in evaluations]
    begun = min((time for _, time in created), default=0.0)
    stops = [time for trigger, time in created if trigger == "job-deregister"]
    return any(stop - begun >= wait_s for stop in stops)


def _observation(
    state: RunState,
    child: str,
    engine: Engine,
    *,
    outcome: Outcome | None = None,
    reason: str = "",
    since: float = 0.0,
) -> Observation:
    return Observation(
        state=state, engine_id=child, engine=engine, outcome=outcome, reason=reason, since=since
    )


def _seconds(nanoseconds: int | None) -> float:
    return (nanoseconds or 0) / 1e9
