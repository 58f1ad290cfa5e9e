"""Outcomes of runs whose runner is gone."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import suppress

from dispatcher.engines.local.leftovers import sweep
from dispatcher.engines.local.spool import STREAMS, Spool
from dispatcher.errors import Exit
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict

STARTS = 3
"""Start attempts per run: runners that may end, by a signal or for lack of space, before they use
its grant."""

_TAIL_BYTES = 4000


class Endings:
    """Determines outcomes, and counts runners that ended before they began. Thread-safe."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()
        self._lock = threading.Lock()

    def forget(self, spool: Spool) -> None:
        """The run is over."""
        with self._lock:
            self._ended.pop(spool.token, None)

    def conclude(self, spool: Spool, *, overdue: bool, code: int | None) -> Outcome | None:
        """The outcome of a run whose runner is gone; None if it never began and may begin.

        Args:
            overdue: its runner hung and was killed.
            code: exit code of the runner if it was our child.
        """
        outcome = spool.outcome()
        if outcome is None:
            outcome = self._without_report(spool, overdue=overdue, code=code)
            if outcome is not None:
                with suppress(OSError):  # on a full disk; a restart determines it again
                    spool.conclude(outcome)
        return outcome

    def _without_report(self, spool: Spool, *, overdue: bool, code: int | None) -> Outcome | None:
        """An outcome for a runner that left none, after ending its remaining processes."""
        if not spool.begun():
            if code is None or self._may_start_again(spool, code):
                return None
            how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
            message = spool.log_tail() or "it left no message; check memory and disk space"
            return Outcome(
                verdict=Verdict.ERROR,
                exit_code=Verdict.ERROR.exit_code,
                error=f"the runner {how} before it began: {message}",
            )
        foreign = spool.has_foreign_outcome()
        clean = sweep(spool)
        spool.remove_private()
        verdict = Verdict.TIMED_OUT if overdue else Verdict.LOST
        error = (
            "the runner did not end at its timeout and was killed"
            if overdue
            else "the runner was killed, or the machine stopped; how the formula ended is unknown"
        )
        if foreign:
            error += "; outcome.json was not written by the runner and was discarded"
        return Outcome(
            verdict=verdict,
            exit_code=verdict.exit_code,
            formula_started=True,
            error=error if clean else f"{error}; some of its processes could not be killed",
            finished_at=time.time(),
            logs=_tail(spool),
        )

    def _may_start_again(self, spool: Spool, code: int) -> bool:
        """Whether a run whose runner did not use its grant may be started again."""
        if code >= 0 and code not in (Exit.TEMPFAIL, Exit.IOERR):
            return False  # a broken installation does not repair itself
        with self._lock:
            self._ended[spool.token] += 1
            return self._ended[spool.token] < STARTS


def _tail(spool: Spool) -> str:
    """The last characters of the log, which was redacted before it was written."""
    text = ""
    for stream in STREAMS:
        with suppress(OSError), spool.log(stream).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text += file.read().decode("utf-8", "replace")
    return text.replace("\0", "\ufffd")[-1000:]
