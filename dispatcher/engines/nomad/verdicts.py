"""Derives a run's outcome from Nomad's records. Pure: records in, an outcome or text out.

Read in this order; the first that is conclusive decides:

1. ``outcome.json``, the runner's own report; corrected where the runner cannot know better (it was
   killed for memory, or started a second time by the engine). It counts only if it verifies with
   the run's key, or, for a run without one, if Nomad reports the exit code that goes with it.
2. an allocation whose node vanished: ``lost``.
3. ``ClientDescription`` of a run that Nomad itself ended at its time limit; Nomad calls it
   ``complete``.
4. the task's last ``Terminated`` event: out of memory, stopped by a person, exit code.
5. the event of a set-up that failed: image, driver, volume, template, secrets.
6. a stop before anything started; an evaluation that gave up.

Never the last event of all: after ``Terminated`` come ``Not Restarting``, ``Killed`` and others.

The texts and shapes were observed on Nomad 2.0.5; ``tests/unit/nomad_answers`` holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dispatcher.engines.nomad.api.shapes import Allocation, Evaluation, TaskEvent
from dispatcher.engines.nomad.render import TASK
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict

SIGKILL_CODE = 137
CLIENT_ENDED = frozenset({"complete", "failed", "lost"})
"""``ClientStatus`` of allocations whose client is done with them."""

_STARTED = "Started"
_SETUP_FAILURES = {
    "Driver Failure": "the task driver failed",
    "Setup Failure": "the task could not be set up",
    "Task hook failed": "the task could not be set up",
    "Failed Artifact Download": "an artifact could not be fetched",
    "Failed Validation": "Nomad's client refused the task",
    "Template": "a template could not be rendered",
    "Vault": "Nomad got no token from Vault",
}
_STOPPED_IN_NOMAD = "stopped in Nomad, or by 'disinto cancel'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The records of a run that has ended.

    Attributes:
        allocations: of the dispatched job, in any order; normally one.
        outcome: the runner's own report, or None if it left none or it cannot be read.
        authentic: the outcome verified with the run's key. A run claimed by an older release has
            none.
        forged: there is an outcome that the run's runner did not write.
        stopped: True if the dispatched job itself was stopped.
        reason: our own reason for stopping it, or "" if we did not, or it is no longer known.
        evaluations: of the dispatched job; needed only if there are no allocations.
        expired: True if it was stopped because it waited too long for placement.
        memory_mb: the memory limit of a run, for messages; 0 if unknown.
    """

    allocations: Sequence[Allocation] = ()
    outcome: Outcome | None = None
    authentic: bool = False
    forged: bool = False
    stopped: bool = False
    reason: str = ""
    evaluations: Sequence[Evaluation] = ()
    expired: bool = False
    memory_mb: int = 0


def outcome(run: Ended) -> Outcome:
    """The outcome of a run that has ended."""
    main = main_allocation(run.allocations)
    if main is None:
        return _never_placed(run)
    if run.outcome is not None and (run.authentic or _exit_code_agrees(run.outcome, main)):
        return _corrected(run, run.outcome, main)
    without = _without_report(run, main)
    return _disowned(without) if run.forged or run.outcome is not None else without


def main_allocation(allocations: Sequence[Allocation]) -> Allocation | None:
    """The allocation that counts: the first in which the task started, else the newest.

    A run has more than one only if Nomad replaced it (a drained node, ``alloc stop``); the grant
    lets only the first start the formula.
    """
    ordered = sorted(allocations, key=lambda a: (a.get("CreateIndex", 0), a.get("CreateTime", 0)))
    for allocation in ordered:
        if _count(_events(allocation), _STARTED):
            return allocation
    return ordered[-1] if ordered else None


def client_ended(allocation: Allocation) -> bool:
    """True once the client is done with it; a requested stop is not an end."""
    return allocation.get("ClientStatus") in CLIENT_ENDED


def started_at(allocation: Allocation) -> float:
    """When the task started, seconds since the epoch; 0.0 if never."""
    return _seconds(_task(allocation).get("StartedAt"))


def placement(evaluations: Iterable[Evaluation]) -> str:
    """Why it cannot be placed, in Nomad's own numbers, or "" if Nomad does not report it.

    For example ``1 node evaluated, 1 filtered: missing compatible host volumes``.
    """
    newest = sorted(evaluations, key=lambda e: e.get("CreateIndex", 0), reverse=True)
    for evaluation in newest:
        for metric in (evaluation.get("FailedTGAllocs") or {}).values():
            return _numbers(metric)
    return ""


def _never_placed(run: Ended) -> Outcome:
    numbers = placement(run.evaluations)
    if run.expired:
        return _outcome(
            Verdict.UNPLACEABLE, f"not placed in time: {numbers or 'Nomad reports no cause'}"
        )
    if run.stopped:
        return _outcome(Verdict.CANCELLED, run.reason or _STOPPED_IN_NOMAD)
    for evaluation in run.evaluations:
        if evaluation.get("Status") == "failed":
            description = evaluation.get("StatusDescription") or "no description"
            return _outcome(
                Verdict.UNPLACEABLE, f"Nomad gave up placing it: {numbers or description}"
            )
    return _outcome(Verdict.ERROR, "Nomad ended the job without ever placing it")


def _corrected(run: Ended, reported: Outcome, main: Allocation) -> Outcome:
    """The runner's report, corrected by what only the engine knows."""
    if (
        not reported.formula_started
        and reported.verdict is Verdict.ERROR
        and _started_before(run, main)
    ):
        return replace(
            reported,
            verdict=Verdict.LOST,
            exit_code=Verdict.LOST.exit_code,
            error="Nomad started the task a second time, which the grant forbids; how the first "
            f"start ended is unknown. "
            f"The second: {reported.error}",
        )
    if reported.exit_code == SIGKILL_CODE and reported.verdict is Verdict.FAILED and _oom(main):
        return replace(reported, error=_memory_words(run))
    if reported.verdict is Verdict.CANCELLED:
        return replace(reported, error=run.reason or _why_stopped(run, main))
    return reported


def _started_before(run: Ended, main: Allocation) -> bool:
    """Whether the task may have started before the start that left the outcome."""
    starts = sum(_count(_events(allocation), _STARTED) for allocation in run.allocations)
    vanished = any(
        allocation.get("ClientStatus") in ("lost", "unknown")
        for allocation in run.allocations
        if allocation is not main
    )
    return starts > 1 or vanished


def _exit_code_agrees(reported: Outcome, main: Allocation) -> bool:
    """Whether the runner's process ended as its outcome says; True if Nomad does not
    report how it ended.
    """
    terminated = _last(_events(main), "Terminated")
    return terminated is None or _number(terminated, "exit_code") == reported.exit_code


def _disowned(without: Outcome) -> Outcome:
    """The outcome by Nomad's records alone, if the file is not the runner's. Never a success: the
    run's outputs are missing.
    """
    forged = (
        "outcome.json was not written by this run's runner: the formula replaced it, or the "
        "runner's image is from another release; its logs and outputs were discarded"
    )
    error = f"{without.error}; {forged}" if without.error else forged
    if without.verdict is Verdict.SUCCEEDED:
        failed = Verdict.FAILED
        return replace(without, verdict=failed, exit_code=failed.exit_code, error=error)
    return replace(without, error=error)


def _without_report(run: Ended, main: Allocation) -> Outcome:
    status = main.get("ClientStatus", "")
    if status in ("lost", "unknown"):
        return _outcome(
            Verdict.LOST,
            f"the node {_node(main)} stopped responding during the run",
            main,
        )
    if "max_run_duration" in main.get("ClientDescription", ""):
        return _outcome(Verdict.TIMED_OUT, "Nomad stopped it at its time limit", main)
    terminated = _last(_events(main), "Terminated")
    if terminated is not None:
        return _terminated(run, main, terminated)
    return _never_started(run, main)


def _terminated(run: Ended, main: Allocation, event: TaskEvent) -> Outcome:
    code = _number(event, "exit_code")
    signal = _number(event, "signal") or (code - 128 if 128 < code < 160 else 0)
    if _oom(main):
        return _outcome(Verdict.FAILED, _memory_words(run), main, code=code, signal=signal or 9)
    if run.stopped or main.get("DesiredStatus") == "stop":
        return _outcome(Verdict.CANCELLED, run.reason or _why_stopped(run, main), main)
    if code == 0 and not signal:
        return _outcome(Verdict.SUCCEEDED, "", main)
    how = f"was killed by signal {signal}" if signal else f"exited with {code}"
    return _outcome(
        Verdict.FAILED,
        f"the runner {how} before reporting",
        main,
        code=code or 128 + signal,
        signal=signal,
    )


def _never_started(run: Ended, main: Allocation) -> Outcome:
    events = _events(main)
    for kind, description in _SETUP_FAILURES.items():
        event = _last(events, kind)
        if event is not None:
            message = event.get("DisplayMessage") or "no message"
            if message.startswith("Failed to pull"):
                return _outcome(Verdict.ERROR, f"the image is missing: {message}", main)
            return _outcome(Verdict.ERROR, f"{description}: {message}", main)
    if run.stopped or main.get("DesiredStatus") == "stop":
        return _outcome(Verdict.CANCELLED, run.reason or _why_stopped(run, main), main)
    message = main.get("ClientDescription") or "no description"
    if started_at(main):
        return _outcome(
            Verdict.LOST, f"it started, but Nomad does not report how it ended ({message})", main
        )
    return _outcome(Verdict.ERROR, f"Nomad could not start it: {message}", main)


def _outcome(
    verdict: Verdict, error: str, main: Allocation | None = None, *, code: int = 0, signal: int = 0
) -> Outcome:
    task = _task(main) if main is not None else {}
    started = _seconds(task.get("StartedAt"))
    return Outcome(
        verdict=verdict,
        exit_code=code or verdict.exit_code,
        signal=signal or None,
        formula_started=started > 0,
        error=error,
        started_at=started,
        finished_at=_seconds(task.get("FinishedAt")) if started else 0.0,
    )


def _why_stopped(run: Ended, main: Allocation) -> str:
    if run.stopped:
        return _STOPPED_IN_NOMAD
    description = main.get("DesiredDescription") or "without a description"
    return f"Nomad stopped the allocation: {description}"


def _memory_words(run: Ended) -> str:
    return f"out of memory (limit {run.memory_mb} MiB)" if run.memory_mb else "out of memory"


def _oom(allocation: Allocation) -> bool:
    event = _last(_events(allocation), "Terminated")
    return event is not None and (event.get("Details") or {}).get("oom_killed") == "true"


def _node(allocation: Allocation) -> str:
    return allocation.get("NodeName") or allocation.get("NodeID") or "?"


def _task(allocation: Allocation) -> Mapping[str, Any]:
    return (allocation.get("TaskStates") or {}).get(TASK) or {}


def _events(allocation: Allocation) -> list[TaskEvent]:
    return _task(allocation).get("Events") or []


def _last(events: Iterable[TaskEvent], kind: str) -> TaskEvent | None:
    matching = [event for event in events if event.get("Type") == kind]
    return max(matching, key=lambda event: event.get("Time", 0)) if matching else None


def _count(events: Iterable[TaskEvent], kind: str) -> int:
    return sum(event.get("Type") == kind for event in events)


def _number(event: TaskEvent, name: str) -> int:
    try:
        return int((event.get("Details") or {}).get(name, "0"))
    except ValueError:
        return 0


def _seconds(stamp: str | None) -> float:
    """Seconds since the epoch of one of Nomad's time stamps (nine digits, ``Z``); 0.0 for none."""
    if not stamp or stamp.startswith("0001-"):
        return 0.0
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0


def _numbers(metric: Mapping[str, Any]) -> str:
    evaluated = metric.get("NodesEvaluated") or 0
    if not evaluated:
        return f"no node evaluated in the node pool {metric.get('NodePool') or 'default'}"
    parts = [f"{evaluated} node{'' if evaluated == 1 else 's'} evaluated"]
    filtered, exhausted = metric.get("NodesFiltered") or 0, metric.get("NodesExhausted") or 0
    if filtered:
        causes = [*(metric.get("ConstraintFiltered") or {}), *(metric.get("ClassFiltered") or {})]
        parts.append(_with_causes(f"{filtered} filtered", causes))
    if exhausted:
        causes = [*(metric.get("DimensionExhausted") or {}), *(metric.get("ClassExhausted") or {})]
        parts.append(_with_causes(f"{exhausted} exhausted", causes))
    quota = metric.get("QuotaExhausted") or []
    if quota:
        parts.append(_with_causes("quota used up", quota))
    return ", ".join(parts)


def _with_causes(what: str, causes: Iterable[str]) -> str:
    named = ", ".join(sorted(causes))
    return f"{what}: {named}" if named else what
