"""Outcomes of runs that have ended in Nomad, from the runner's report and from Nomad's records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from dispatcher.engines.nomad import outcome_file, verdicts
from dispatcher.engines.nomad.api import AllocationStatus, Evaluation, JobStatus, NomadApi
from dispatcher.engines.nomad.job_status import (
    VANISHED,
    client_states,
    is_over,
    observation,
    seconds,
)
from dispatcher.engines.nomad.locations import Locations
from dispatcher.engines.nomad.outcome_file import NO_REPORT, Report
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.engines.nomad.tracked_runs import TrackedRuns
from dispatcher.errors import DisintoError, TemporaryError
from dispatcher.model.run import Observation, Outcome, Placement, RunState
from dispatcher.model.verdicts import Verdict

OUTCOME_WAIT_S = 60.0
"""Seconds after a run's end for which an unreadable outcome is retried before Nomad's records
decide."""

_SETTLED = frozenset({Verdict.SUCCEEDED, Verdict.TIMED_OUT})
"""Verdicts of a runner that nothing in Nomad's records can correct."""


class NotYet(Exception):
    """A run has ended, but its outcome cannot be read at the moment."""


class EndedRuns:
    """Determines how a run ended. Thread-safe.

    Args:
        tracked: state of the runs; the result is kept there.
        clock: seconds that cannot be set.
    """

    def __init__(
        self,
        api: NomadApi,
        nomad: NomadSettings,
        *,
        tracked: TrackedRuns,
        locations: Locations,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._nomad = nomad
        self._tracked = tracked
        self._locations = locations
        self._clock = clock

    def conclude_told(self, told: JobStatus) -> Observation | None:
        """As ``conclude``, of a run of which so far only an event or its runner says that it ended.

        Args:
            told: made from that; what it says is a hint. Only a report that proves itself settles
                the run, else Nomad's list does.
        """
        child = told["ID"]
        (ended,) = told["Allocs"] or [{}]
        with suppress(NotYet, TemporaryError):
            report = self._report(child, ended.get("ID", ""), vanished=False)
            if report.authentic and report.outcome is not None and _is_final(report.outcome):
                engine = self._locations.of(told if ended.get("NodeID") else self._placed(told))
                return self._concluded(child, engine, report.outcome, reported=True)
        (status,) = self._api.job_statuses([child]) or (None,)
        if status is None or is_over(status):
            return self.conclude(status) if status else None
        reason = "it has ended; its outcome is still being read"
        return observation(RunState.RUNNING, self._locations.of(status), reason=reason)

    def _placed(self, told: JobStatus) -> JobStatus:
        """The same, with the node of its allocation, which a runner does not know."""
        (ended,) = told["Allocs"] or [{}]
        nodes = {each["ID"]: each.get("NodeID", "") for each in self._api.allocations(told["ID"])}
        placed = AllocationStatus(ID=ended["ID"], NodeID=nodes.get(ended["ID"], ""))
        return JobStatus(ID=told["ID"], Allocs=[placed])

    def conclude(self, status: JobStatus) -> Observation | None:
        """The end of a run; None if Nomad collected it in the meantime."""
        child, engine = status["ID"], self._locations.of(status)
        try:
            outcome, reported = self._outcome(status)
        except (NotYet, TemporaryError) as error:
            since = self._tracked.enter(child, "ended").since
            return observation(RunState.RUNNING, engine, reason=str(error), since=since)
        if outcome is None:
            return None
        return self._concluded(child, engine, outcome, reported=reported)

    def _concluded(
        self, child: str, engine: Placement, outcome: Outcome, *, reported: bool
    ) -> Observation:
        last = observation(
            RunState.ENDED, engine, outcome=outcome, since=outcome.finished_at, reported=reported
        )
        self._tracked.get(child).ended = last
        return last

    def _outcome(self, status: JobStatus) -> tuple[Outcome | None, bool]:
        """The outcome, and whether the runner left a report."""
        child, allocations = status["ID"], status.get("Allocs") or []
        vanished = bool(client_states(status) & VANISHED)
        report = NO_REPORT
        if len(allocations) == 1:
            report = self._report(child, allocations[0]["ID"], vanished=vanished)
            if report.authentic and report.outcome is not None and _is_final(report.outcome):
                return report.outcome, True
        return self._from_records(status, report)

    def _from_records(self, status: JobStatus, report: Report) -> tuple[Outcome | None, bool]:
        child = status["ID"]
        run = self._tracked.get(child)
        allocations = self._api.allocations(child)
        if len(allocations) > 1:
            main = verdicts.main_allocation(allocations)
            gone = main is not None and main.get("ClientStatus") in VANISHED
            report = self._report(child, main["ID"], vanished=gone) if main else NO_REPORT
        evaluations: list[Evaluation] = []
        if not allocations:
            evaluations = self._api.evaluations(child)
            if not evaluations and self._api.job(child) is None:
                return None, False
        outcome = verdicts.outcome(
            verdicts.Ended(
                allocations=allocations,
                outcome=report.outcome,
                authentic=report.authentic,
                forged=report.forged,
                stopped=bool(status.get("Stop")),
                reason=run.stop_reason,
                evaluations=evaluations,
                expired=run.expired or _expired(evaluations, self._nomad.placement_wait_s),
                memory_mb=self._nomad.memory_max_mb or self._nomad.memory_mb,
            )
        )
        return outcome, report.outcome is not None or report.forged

    def _report(self, child: str, alloc_id: str, *, vanished: bool) -> Report:
        """The runner's report: of its notice, else read from the allocation.

        Args:
            vanished: its node is already declared lost, so there is nothing to wait for.

        Raises:
            NotYet: its node does not answer, and there is still time to wait for it.
        """
        ended = self._tracked.enter(child, "ended")
        run = self._tracked.get(child)
        noticed, run.alloc, key = run.report, alloc_id, run.outcome_key
        vouched, run.vouched = run.vouched == alloc_id, ""
        if noticed is not None and noticed[0] == alloc_id:
            return noticed[1]
        try:
            return outcome_file.read(self._api, alloc_id, key=key, vouched=vouched)
        except TemporaryError as error:
            why = str(error)
        except DisintoError:
            raise
        except Exception as error:  # noqa: BLE001 - the formula may have written it
            why = self._tracked.defect(child, error)
        if vanished or self._clock() - ended.at > OUTCOME_WAIT_S:
            return NO_REPORT
        raise NotYet(f"it has ended, but its outcome cannot be read yet ({why})")


def _is_final(outcome: Outcome) -> bool:
    """An end that nothing in Nomad's records can correct: a success, a timeout, or a formula that
    ended by itself and was not killed.
    """
    return outcome.verdict in _SETTLED or (
        outcome.verdict is Verdict.FAILED
        and outcome.formula_started
        and outcome.exit_code != verdicts.SIGKILL_CODE
    )


def _expired(evaluations: Iterable[Evaluation], wait_s: float) -> bool:
    """Whether the job was stopped after its placement wait expired; derived from Nomad's records,
    so that a restarted dispatcher concludes the same. (A stop moves the job's SubmitTime.)
    """
    created = [(e.get("TriggeredBy"), seconds(e.get("CreateTime"))) for e in evaluations]
    begun = min((time for _, time in created), default=0.0)
    stops = [time for trigger, time in created if trigger == "job-deregister"]
    return any(stop - begun >= wait_s for stop in stops)
