"""Finds the commit and the pull request by which a file came to the branch.

This decides nothing: what may run is for ``dispatcher.gate.forgejo``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import tenacity

from dispatcher.forge.records import Request
from dispatcher.gate.history import History

CHAIN = 200
"""Commits after a change among which the end of its rebase merge is looked for."""

SETTLES_S = 5.0
"""A commit younger than this is looked up again, ``SETTLE_TRIES`` times in all. Less patient than the
gate (``dispatcher.gate.forgejo.MERGE_SETTLES_S``): whoever pushes directly pays for each lookup, and a
request that was missed costs no more than its report."""

SETTLE_TRIES = 3
"""Lookups of a young commit for which the forge reports no request."""

REMEMBERED = 1_000


class Requests(Protocol):
    """The part of ``dispatcher.forge.ForgeApi`` that a search for a request needs."""

    def request(self, number: int) -> Request | None: ...
    def request_of(self, commit: str) -> Request | None: ...
    def closed_requests(self, page: int) -> Sequence[Request]: ...


def merged_request(
    forge: Requests,
    history: History,
    *,
    branch: str,
    change: str,
    head: str,
    pages: int,
    settling: bool = False,
) -> Request | None:
    """The merged request that left ``change``, or the nearest commit after it: a rebase merge is
    recorded at its last commit only.

    Args:
        forge: whose requests are searched.
        history: of the ops repo.
        branch: that the request must have been merged into.
        change: commit (hex) on the branch's first-parent chain.
        head: commit (hex) up to which the chain is followed.
        pages: number of pages of closed requests read if the forge does not answer directly.
        settling: whether it is looked up again: then no other is searched for while the request that the
            commit names is open, and may be about to be reported as merged.

    Raises:
        Unavailable, Denied: the forge or the clone is unavailable.
    """
    named = history.names_request(change)  # may be a lie; the forge's own record decides
    request = forge.request(named) if named else None
    if request is not None and merged_here(request, change, branch):
        return request
    if settling and request is not None and request.state == "open":
        return None
    direct = forge.request_of(change)
    if direct is not None and merged_here(direct, change, branch):
        return direct
    chain = history.mainline(head, since=change, limit=CHAIN)
    position = {sha: index for index, sha in enumerate(chain)}
    best: Request | None = None
    for page in range(1, pages + 1):
        requests = forge.closed_requests(page)
        for request in requests:
            merged = request.merge_commit_sha or ""
            if merged not in position or not merged_here(request, merged, branch):
                continue
            if best is None or position[merged] < position[best.merge_commit_sha or ""]:
                best = request
        if best is not None or not requests:
            return best
    return None


def find_settled(
    find: Callable[[], Request | None],
    *,
    age_s: float,
    settles_s: float,
    tries: int,
    pause_s: float,
) -> Request | None:
    """What ``find`` finds, retried while the merge is so young that the forge may not report it yet:
    a merge reaches the branch a moment before the forge's records.

    Args:
        find: looks for the request once.
        age_s: of the commit.
        settles_s: age from which on one lookup decides.
        tries: lookups of a younger commit.
        pause_s: before the second lookup; it doubles, up to a second.
    """
    again = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda request: request is None),
        stop=tenacity.stop_after_attempt(tries if age_s < settles_s else 1),
        wait=tenacity.wait_exponential(multiplier=pause_s, max=1.0),
        retry_error_callback=lambda _state: None,
    )
    settled: Request | None = again(find)
    return settled


def merged_here(request: Request, commit: str, branch: str) -> bool:
    """Whether the forge says that a request was merged into a branch by this commit (hex)."""
    return request.merged and request.merge_commit_sha == commit and request.base.ref == branch


@dataclass(frozen=True, kw_only=True, slots=True)
class Landing:
    """How a file came to the branch.

    Attributes:
        commit: of the first-parent chain (hex).
        request: number of the pull request, or 0 for a direct push.
    """

    commit: str
    request: int = 0


class Landings:
    """Looks up landings, and caches them. Thread-safe.

    Args:
        forge: the ops repo's repository on the forge.
        history: of the ops repo.
        branch: the branch whose files are actions.
        wall: seconds since the epoch.
        pause_s: first pause before a fresh merge is looked up again.
    """

    def __init__(
        self,
        forge: Requests,
        history: History,
        *,
        branch: str,
        wall: Callable[[], float] = time.time,
        pause_s: float = 0.5,
    ) -> None:
        self._forge, self._history, self._branch = forge, history, branch
        self._wall, self._pause_s = wall, pause_s
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, Landing] = OrderedDict()

    def of(self, *, path: str, commit: str) -> Landing | None:
        """The landing of the file at ``commit``; None if no commit of the clone brought it.

        Costs one or two calls per commit of the branch, three times as many for one that is
        younger than ``SETTLES_S`` and was pushed directly.

        Raises:
            Unavailable, Denied: the forge or the clone is unavailable.
        """
        lineage = self._history.lineage(commit, path)
        if lineage is None:
            return None
        change = lineage.mainline
        with self._lock:
            cached = self._cache.get(change.sha)
        if cached is not None:
            return cached
        request = find_settled(
            lambda: self._find(change.sha, commit),
            age_s=self._wall() - change.committed_at,
            settles_s=SETTLES_S,
            tries=SETTLE_TRIES,
            pause_s=self._pause_s,
        )
        landing = Landing(commit=change.sha, request=request.number if request else 0)
        with self._lock:
            self._cache[change.sha] = landing
            if len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
        return landing

    def _find(self, change: str, head: str) -> Request | None:
        return merged_request(
            self._forge, self._history, branch=self._branch, change=change, head=head, pages=1
        )
