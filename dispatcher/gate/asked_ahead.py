"""Asks the forge about a request that was just merged, while the branch is still being fetched.

A webhook names the request and the commit. That tells what to ask, and is believed in nothing: the gate takes
these answers only for a commit that the branch has, as fetched, and that names the same request; it checks
them as any others, and they can only approve (see ``dispatcher.gate.forgejo``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

from dispatcher.errors import DisintoError
from dispatcher.forge.records import Request
from dispatcher.gate.approvers import Forge
from dispatcher.gate.landing import merged_here
from dispatcher.gate.request_records import RequestRecords, ask

LASTS_S = 1.0
"""Seconds after which such answers count no more, from when they were asked for."""

MOST = 4
"""Requests that are asked about ahead at a time. Whoever can sign webhooks, or repeats one, causes no more
calls than for so many in ``LASTS_S``, and no further ones while those are unanswered."""

MOST_PERMISSIONS = 2
"""Approvers whose permission is asked for with the rest; the gate asks for more."""

THREADS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Ahead:
    """What was asked about one request.

    Attributes:
        request: as merged.
        records: what the forge says of it.
    """

    request: Request
    records: RequestRecords


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    request: Future[Request | None]
    records: RequestRecords
    at: float

    @property
    def under_way(self) -> bool:
        """Whether calls are unanswered."""
        records = self.records
        known = (self.request, records.reviews, records.pushes, records.commits)
        # Those about permissions are complete once the reviews are known.
        return not (
            all(each.done() for each in known)
            and all(each.done() for each in records.permissions.values())
        )


class AskedAhead:
    """Answers that are under way, or a moment old. Thread-safe; never blocks but in ``of``.

    Args:
        forge: the ops repo's repository on the forge.
        branch: that the requests are merged into.
        permissions: whether an approver's permission decides.
        clock: monotonic seconds.
        threads: for the calls; replaced in tests.
    """

    def __init__(
        self,
        forge: Forge,
        *,
        branch: str,
        permissions: bool,
        clock: Callable[[], float] = time.monotonic,
        threads: Executor | None = None,
    ) -> None:
        self._forge, self._branch, self._clock = forge, branch, clock
        self._most_permissions = MOST_PERMISSIONS if permissions else 0
        self._threads = threads or ThreadPoolExecutor(THREADS, thread_name_prefix="ahead")
        self._lock = threading.Lock()
        self._asked: dict[tuple[int, str], _Asked] = {}
        self._costly: list[_Asked] = []  # a moment old or under way, also if they were dropped

    def ask(self, number: int, commit: str) -> None:
        """Begin to ask about a request, unless that was done a moment ago, or too many are asked about.

        Args:
            number: of the request.
            commit: that its merge made (hex).
        """
        now = self._clock()
        with self._lock:
            self._asked = {k: v for k, v in self._asked.items() if now - v.at < LASTS_S}
            self._costly = [v for v in self._costly if now - v.at < LASTS_S or v.under_way]
            if (number, commit) in self._asked or len(self._costly) >= MOST:
                return
            asked = _Asked(
                request=self._threads.submit(self._forge.request, number),
                records=ask(
                    self._forge,
                    self._threads,
                    number,
                    asked_at=now,
                    lasts_s=lambda: self._left_s(now),
                    most_permissions=self._most_permissions,
                ),
                at=now,
            )
            self._asked[number, commit] = asked
            self._costly.append(asked)

    def of(self, number: int, commit: str) -> Ahead | None:
        """What was asked about a merged request; None if nothing was, or if the forge did not say yet that
        this commit merged it: then what it said of the request was before the merge as well.
        """
        with self._lock:
            asked = self._asked.get((number, commit))
        if asked is None or (lasts_s := self._left_s(asked.at)) <= 0:
            return None
        try:
            request = asked.request.result(timeout=lasts_s)
        except (DisintoError, TimeoutError):
            return None  # the gate asks by itself, and reports what is wrong
        if request is None or not merged_here(request, commit, self._branch):
            return None
        return Ahead(request=request, records=asked.records)

    def _left_s(self, asked_at: float) -> float:
        """Seconds for which answers count that were asked for at this time."""
        return max(0.0, LASTS_S - (self._clock() - asked_at))

    def drop(self) -> None:
        """Forget all answers, because something may have changed."""
        with self._lock:
            self._asked.clear()
