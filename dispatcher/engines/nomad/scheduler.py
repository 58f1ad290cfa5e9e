"""Scheduler that runs actions as dispatched jobs of Nomad.

Calls to Nomad, counted in tests: a run takes four (dispatch, what the outcome is, outcome, purge), three if its
runner says that the outcome is there, two if its notice contains it, one more if it may have been submitted
before; each parent job takes three when it is first used, and one every five seconds at most while runs are
dispatched from it. Observing takes one, however many runs are in flight, plus one now and then for why some still
wait; and none while the last list is under three seconds old and nothing puts it in doubt: see ``run_cache``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from dispatcher.engines.base import CannotSubmit, LogChunk, Stream, payload_of
from dispatcher.engines.nomad.api import NomadApi, NotFound, Rejected
from dispatcher.engines.nomad.coalesced import Coalesced
from dispatcher.engines.nomad.event_follower import EventFollower
from dispatcher.engines.nomad.finished import FinishedJobs
from dispatcher.engines.nomad.observing import Observer
from dispatcher.engines.nomad.output import Follower, whole
from dispatcher.engines.nomad.output_times import offsets_since
from dispatcher.engines.nomad.parents import Parent, Parents
from dispatcher.engines.nomad.progress_file import read_progress
from dispatcher.engines.nomad.render import META_OPTIONAL, META_REQUIRED, of_class, runner_prefix
from dispatcher.engines.nomad.settings import AUTO, NomadDriver, NomadSettings
from dispatcher.engines.nomad.verdicts import main_allocation
from dispatcher.errors import Denied, Dependency, DisintoError, Misconfigured, Unavailable
from dispatcher.model.job_class import JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim, Observation, RunKey, RunSpec, WrappedGrant
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import Settings
from dispatcher.settings.jobs import class_settings

MAX_PAYLOAD_BYTES = 16_384
"""Nomad's limit for a dispatch's payload (``DispatchPayloadSizeLimit``)."""

CHANGES_WAIT_S = 0.3
"""Seconds for which changes other than ends are collected before the runs are observed."""

CONFIRMATIONS = 5
"""Dispatches sent before an ID unknown to Nomad counts as an outage."""


class NomadScheduler:
    """Runs are children of parameterized batch jobs. Thread-safe.

    Args:
        api: the connection; ``close`` leaves it open.
        settings: of the whole dispatcher.
        wake: called from a thread of its own, once ``observe`` has been called, whenever Nomad
            says that a run has changed. A hint only: the event stream may be silent about a gap,
            so callers must keep polling ``observe``.
        clock: monotonic seconds, which stand still while this machine is suspended; replaced in
            tests.
        wall_clock: seconds since the epoch, compared with Nomad's records of finished runs.
    """

    def __init__(
        self,
        api: NomadApi,
        settings: Settings,
        *,
        wake: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._settings = settings
        self._parents = Parents(api, settings, clock=clock)
        prefix = runner_prefix(settings.section(NomadSettings))
        notify = wake or (lambda: None)
        self._observer = Observer(
            api,
            settings,
            clock=clock,
            wake=notify,
            wake_later=Coalesced(notify, after_s=CHANGES_WAIT_S),
        )
        self._events = (
            EventFollower(api, self._observer, prefix=prefix, wake=wake) if wake else None
        )
        self._finished = FinishedJobs(
            api,
            prefix=prefix,
            keep_s=settings.section(NomadSettings).keep_finished_s,
            clock=wall_clock,
        )
        self._clock = clock
        self._without_parent: dict[RunKey, float] = {}
        self._lock = threading.Lock()

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        """See ``Scheduler.submit``. Class and mounts decide on the parent job.

        Of concurrent calls with one idempotency token, all but one get the ID of a job that does not
        exist. So if there may be another, the ID is read back; else the next ``observe`` shows it.

        Raises:
            Misconfigured: that parent is not registered. ``disinto apply`` registers it, so the
                run may be submitted again; after ``placement_wait_s`` it is ``unplaceable``.
        """
        nomad = of_class(self._settings, spec.job_class)
        spec = replace(
            spec,
            listener_url=nomad.told_at(self._settings.http.listen),
            notice_has_outcome=nomad.listener_url != AUTO,
        )
        fitting, payload = self._fit(spec, grant, nomad)
        if fitting.mounts and nomad.driver is NomadDriver.RAW_EXEC:
            raise CannotSubmit(
                f"the action needs the mount {fitting.mounts[0].value}, and the driver raw_exec "
                "has no host volumes",
                verdict=Verdict.UNPLACEABLE,
                remedy='Set [nomad] driver = "docker", or remove the mounts from the action.',
            )
        variant = JobVariant(job_class=spec.job_class, mounts=frozenset(fitting.mounts))
        with self._failures_put_in_doubt():
            return self._dispatched(fitting, variant, payload, meta=_meta(spec, grant), again=again)

    def _dispatched(
        self,
        spec: RunSpec,
        variant: JobVariant,
        payload: bytes,
        *,
        meta: dict[str, str],
        again: bool,
    ) -> str:
        parent = self._parent(spec.key, variant)
        for _ in range(CONFIRMATIONS):
            try:
                dispatched = self._api.dispatch(
                    parent.name,
                    payload=payload,
                    meta=meta,
                    idempotency_token=spec.key.token,
                    id_prefix=spec.key.action_id,
                )
            except (NotFound, Rejected) as error:
                self._parents.drop(parent.name)
                raise CannotSubmit(
                    error.what, verdict=Verdict.ERROR, remedy="Run `disinto apply`."
                ) from error
            if not again or self._api.job(dispatched.job_id) is not None:
                self._parents.dispatched(parent, variant, dispatched.job_id)
                self._observer.dispatched(dispatched.job_id, outcome_key=spec.outcome_key)
                return dispatched.job_id
        raise Unavailable(
            Dependency.SCHEDULER,
            f"Nomad confirmed {CONFIRMATIONS} times that it dispatched {spec.key.action_id}, but "
            "has no such job",
        )

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        """See ``Scheduler.observe``."""
        if self._events:
            self._events.start()
        with self._failures_put_in_doubt():
            self._parents.check()
            return self._observer.observe(claims)

    def told(self, notice: bytes) -> bool:
        """See ``Scheduler.told``."""
        return self._observer.told_by_runner(notice)

    def logs(
        self,
        claim: Claim,
        *,
        follow: bool = False,
        offsets: Mapping[Stream, int] | None = None,
    ) -> Iterator[LogChunk]:
        """See ``Scheduler.logs``. Offsets count bytes over the files that rotation has left."""
        with self._failures_put_in_doubt():
            child = self._observer.child_of(claim)
            if child is None:
                return
            if follow:
                follower = Follower(
                    self._api,
                    allocations=lambda: self._api.allocations(child),
                    alive=lambda: self._alive(child),
                    offsets=offsets or {},
                )
                yield from follower.follow()
                return
            alloc_id = self._observer.allocation_of(child)
            if alloc_id:
                yield from whole(self._api, alloc_id, offsets or {})

    def offsets_since(self, claim: Claim, since: float) -> Mapping[Stream, int]:
        """See ``Scheduler.offsets_since``."""
        with self._failures_put_in_doubt():
            child = self._observer.child_of(claim)
            allocation = main_allocation(self._api.allocations(child)) if child else None
            return offsets_since(self._api, allocation["ID"], since) if allocation else {}

    def progress(self, claims: Collection[Claim]) -> Mapping[RunKey, Progress]:
        """See ``Scheduler.progress``. Two calls per run whose allocation was observed, else three."""
        found: dict[RunKey, Progress] = {}
        for claim in claims:
            with suppress(DisintoError):
                child = self._observer.child_of(claim)
                alloc_id = self._observer.allocation_of(child) if child else ""
                progress = read_progress(self._api, alloc_id, key=claim.outcome_key)
                if progress is not None:
                    found[claim.key] = progress
        return found

    def cancel(self, claim: Claim, *, reason: str) -> None:
        """See ``Scheduler.cancel``. The job is stopped and kept, so that its end can be read."""
        with self._failures_put_in_doubt():
            child = self._observer.child_of(claim)
            if child is not None:
                self._observer.stop(child, reason=reason)

    def kept(self) -> Collection[RunKey]:
        """Those whose finished jobs have been kept for ``[nomad] keep_finished_s``."""
        with self._failures_put_in_doubt():
            return self._finished.due()

    def forget(self, claim: Claim) -> None:
        """See ``Scheduler.forget``. The job stays for ``[nomad] keep_finished_s``, and is purged by
        the call that follows ``kept``; Nomad removes the logs when it collects the allocation.
        """
        with self._failures_put_in_doubt():
            child = self._finished.due_job(claim.key) or self._observer.child_of(claim)
            if child is not None:
                self._finished.release(child, ended=self._observer.has_ended(child))
                self._observer.forget(child)

    def drifted(self) -> Mapping[str, str]:
        """How each parent job in use differs from what was rendered, in words, by name."""
        return self._parents.drifted()

    def close(self) -> None:
        """End the threads of this object."""
        if self._events:
            self._events.close()
        self._observer.close()

    @contextmanager
    def _failures_put_in_doubt(self) -> Iterator[None]:
        """After a call that failed, the next observation asks Nomad whether it is there."""
        try:
            yield
        except (Unavailable, Denied):
            self._observer.doubt()
            raise

    def _parent(self, key: RunKey, variant: JobVariant) -> Parent:
        try:
            parent = self._parents.get(variant)
        except Misconfigured as error:
            with self._lock:
                since = self._without_parent.setdefault(key, self._clock())
            if self._clock() - since <= self._settings.section(NomadSettings).placement_wait_s:
                raise
            raise CannotSubmit(
                error.what, verdict=Verdict.UNPLACEABLE, remedy=error.remedy
            ) from error
        with self._lock:
            self._without_parent.pop(key, None)
        return parent

    def _fit(
        self, spec: RunSpec, grant: WrappedGrant, nomad: NomadSettings
    ) -> tuple[RunSpec, bytes]:
        """The spec and its payload: with the formula inside, or with the ops repo mounted to read
        it from."""
        payload = payload_of(spec, grant)
        over = len(payload) - MAX_PAYLOAD_BYTES
        if over <= 0:
            return spec, payload
        fixed = class_settings(self._settings, spec.job_class).fixed_mounts
        lacks_repo = fixed and Mount.OPS_REPO not in spec.mounts
        if spec.formula.commit and nomad.driver is not NomadDriver.RAW_EXEC and not lacks_repo:
            mounts = tuple(m for m in Mount if m in spec.mounts or m is Mount.OPS_REPO)
            files: dict[str, bytes | None] = dict.fromkeys(spec.files)
            outside = replace(spec, formula_text=None, files=files, mounts=mounts)
            payload = payload_of(outside, grant)
            over = len(payload) - MAX_PAYLOAD_BYTES
            if over <= 0:
                return outside, payload
            why = "even without the formula"
        elif spec.formula.commit and lacks_repo:
            why = (
                f"and the job class {spec.job_class} does not have the mount ops-repo to read the "
                "formula from"
            )
        elif spec.formula.commit:
            why = "and the driver raw_exec has no mounted ops repo to read the formula from"
        else:
            why = "and the operator's own formulas are not in the mounted ops repo"
        raise CannotSubmit(
            f"the payload is {over} bytes over Nomad's {MAX_PAYLOAD_BYTES}, {why}",
            verdict=Verdict.INVALID,
            remedy="Make the action's context or params, or the formula, shorter.",
        )

    def _alive(self, child: str) -> bool:
        job = self._api.job(child)
        return job is not None and job.get("Status") != "dead"


def _meta(spec: RunSpec, grant: WrappedGrant) -> dict[str, str]:
    """Meta of the job, for people who view it in Nomad. Contains nothing secret."""
    meta = {
        "action_id": spec.key.action_id,
        "formula": f"{spec.formula.name}.{spec.formula.kind.value}",
        "commit": spec.commit,
        "grant_accessor": grant.grant.accessor,
        "blob": spec.key.blob,
        "tier": spec.tier.value,
        "approved_by": ", ".join(spec.approved_by),
    }
    return {key: meta[key] for key in (*META_REQUIRED, *META_OPTIONAL)} | spec.meta
