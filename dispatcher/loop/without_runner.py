"""Runs whose runner ended without a word, and whether their formula can have started.

A runner that is not installed, or an interpreter that is not there, ends like a formula that failed,
as far as an engine can tell. Vault knows better: a grant that was never unwrapped started nothing.
Then the task's standard error is the runner's and the engine's alone, and may be shown: no formula
wrote to it, so no secret can be in it.
"""

from __future__ import annotations

from dispatcher.engines.base import Scheduler, Stream
from dispatcher.model.run import Claim, Outcome
from dispatcher.model.verdicts import Verdict

LINES = 3
CHARACTERS = 400
_TAIL_BYTES = 8_192


def is_in_doubt(outcome: Outcome, *, reported: bool) -> bool:
    """Whether Vault must be asked if the formula of an ended run can have started.

    Args:
        reported: whether the runner itself reported the outcome.
    """
    return not reported and outcome.verdict in (Verdict.FAILED, Verdict.SUCCEEDED)


def never_started(outcome: Outcome, words: str) -> Outcome:
    """What a run amounts to whose runner ended before it used its grant.

    Args:
        outcome: what the engine made of it.
        words: the end of the task's standard error, or "".
    """
    how = outcome.error or f"exit code {outcome.exit_code}"
    return Outcome(
        verdict=Verdict.ERROR,
        exit_code=Verdict.ERROR.exit_code,
        error=f"the formula never started: {how}; standard error: {words or '(empty)'}",
    )


def last_words(scheduler: Scheduler, claim: Claim) -> str:
    """The last lines of a run's standard error, in one line and without control characters.

    Raises:
        Unavailable, Denied: the engine cannot be reached for them.
    """
    tail = b""
    for chunk in scheduler.logs(claim):
        if chunk.stream is Stream.STDERR:
            tail = (tail + chunk.data)[-_TAIL_BYTES:]
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    text = "; ".join(lines[-LINES:])
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[-CHARACTERS:]
