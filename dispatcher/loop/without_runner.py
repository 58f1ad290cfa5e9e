"""Runs whose runner ended without a report: whether their formula can have started.

To an engine, a runner that is not installed or lacks its interpreter looks like a formula that failed.
Vault has the proof: if the grant was never unwrapped, nothing started. Then only the runner and the
engine wrote to the task's standard error, so it contains no secret and may be shown.
"""

from __future__ import annotations

from dispatcher.engines.base import Scheduler, Stream
from dispatcher.model.run import Claim, Outcome
from dispatcher.model.verdicts import Verdict

LINES = 3
CHARACTERS = 400
_TAIL_BYTES = 8_192


def may_not_have_started(outcome: Outcome, *, reported: bool) -> bool:
    """Whether Vault must be checked for whether the formula of an ended run started.

    Args:
        reported: whether the runner itself reported the outcome.
    """
    return not reported and outcome.verdict in (Verdict.FAILED, Verdict.SUCCEEDED)


def never_started(outcome: Outcome, stderr: str) -> Outcome:
    """The outcome of a run whose runner ended before it used its grant.

    Args:
        outcome: as the engine derived it.
        stderr: the end of the task's standard error, or "".
    """
    how = outcome.error or f"exit code {outcome.exit_code}"
    return Outcome(
        verdict=Verdict.ERROR,
        exit_code=Verdict.ERROR.exit_code,
        error=f"the formula never started: {how}; standard error: {stderr or '(empty)'}",
    )


def last_stderr(scheduler: Scheduler, claim: Claim) -> str:
    """The last lines of a run's standard error, on one line and without control characters.

    Raises:
        Unavailable, Denied: the engine cannot be reached.
    """
    tail = b""
    for chunk in scheduler.logs(claim):
        if chunk.stream is Stream.STDERR:
            tail = (tail + chunk.data)[-_TAIL_BYTES:]
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    text = "; ".join(lines[-LINES:])
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[-CHARACTERS:]
