"""Concurrent reads of newly ended runs: a slow one does not delay the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from dispatcher.model.run import Observation, RunState

WORKERS = 8
"""Threads that read."""

PATIENCE_S = 1.0
"""Seconds for which ``results`` waits for reads it began; slower ones are in a later call."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 16.0
"""Seconds before a read without a result is retried; doubled each time."""


@dataclass(kw_only=True, slots=True)
class _Read:
    """The newest read of a run.

    Attributes:
        again_at: by the clock, when it may be retried; None until its result was fetched.
        outdated: the run has changed since it began, so that it is retried without a pause.
    """

    future: Future[Observation | None]
    pause_s: float
    again_at: float | None = None
    outdated: bool = False


class Reads:
    """One read at a time for each run, a bounded number for all. Thread-safe.

    Args:
        clock: seconds that cannot be set.
        late: called when a read ends after ``results`` returned, or is to be repeated at once; must not block.
    """

    def __init__(self, *, clock: Callable[[], float], late: Callable[[], None]) -> None:
        self._clock = clock
        self._late = late
        self._lock = threading.Lock()
        self._reads: dict[str, _Read] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="disinto-outcomes")

    def close(self) -> None:
        """Start no further reads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def forget(self, child: str) -> None:
        """Drop a run's read."""
        with self._lock:
            self._reads.pop(child, None)

    def retry(self, child: str) -> None:
        """Let the next call of ``results`` read a run at once, because it is known to have changed."""
        with self._lock:
            read = self._reads.get(child)
            if read is not None:
                read.outdated = True
                read.again_at = None if read.again_at is None else self._clock()

    def results(
        self, wanted: Mapping[str, Callable[[], Observation | None]]
    ) -> dict[str, Observation | None]:
        """Results of the reads of these runs; unfinished ones are left out.

        A read whose observation says that the run has not ended is repeated after a pause.

        Args:
            wanted: the function that reads each run; raises nothing.
        """
        with self._lock:
            begun = {
                child: self._begin(child, read)
                for child, read in wanted.items()
                if self._is_due(child)
            }
            reads = {child: self._reads[child] for child in wanted}
        wait([read.future for read in begun.values()], timeout=PATIENCE_S)
        results: dict[str, Observation | None] = {}
        for child, read in reads.items():
            if read.future.done():
                results[child] = self._taken(child, read)
            elif child in begun:
                read.future.add_done_callback(self._tell)
        return results

    def _is_due(self, child: str) -> bool:
        read = self._reads.get(child)
        return read is None or (read.again_at is not None and self._clock() >= read.again_at)

    def _begin(self, child: str, read: Callable[[], Observation | None]) -> _Read:
        before = self._reads.get(child)
        pause_s = FIRST_PAUSE_S if before is None else min(2 * before.pause_s, LONGEST_PAUSE_S)
        self._reads[child] = begun = _Read(future=self._pool.submit(read), pause_s=pause_s)
        return begun

    def _taken(self, child: str, read: _Read) -> Observation | None:
        try:
            observation = read.future.result()
        except CancelledError:
            return None  # closed in the meantime
        again = False
        with self._lock:
            if observation is None or observation.state is RunState.ENDED:
                if self._reads.get(child) is read:
                    del self._reads[child]
            elif read.again_at is None:
                again = read.outdated
                read.again_at = self._clock() + (0.0 if again else read.pause_s)
        if again:
            self._late()
        return observation

    def _tell(self, future: Future[Observation | None]) -> None:
        if not future.cancelled():
            self._late()
