"""Gate ``forgejo``: a merged pull request brought the file, and those approved it who have to.

The steps of a decision: where the content comes from (git), which request merged it (git and
forge), whether the reviewed, the merged and the present content are one blob, and whose approval
counts (``request_approval``). Any inconsistency is a refusal; any unavailable server is an exception.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from dispatcher.errors import DisintoError
from dispatcher.forge import TooLarge
from dispatcher.forge.records import Request
from dispatcher.gate.approvers import Approvers, Forge
from dispatcher.gate.asked_ahead import Ahead, AskedAhead
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.history import Broken, History, origin, short
from dispatcher.gate.landing import find_settled, merged_request
from dispatcher.gate.request_approval import RequestApprovals
from dispatcher.gate.request_records import RequestRecords, ask
from dispatcher.model.approval_need import Need
from dispatcher.ops_repo.lineage import Lineage

LOOK_BACK_PAGES = 4
"""Pages of closed requests that are searched for the one that merged a commit."""

FRESH_S = 1.0
"""Seconds for which an answer about a request is reused for its other files. A withdrawn approval
may still start a run for this long."""

MERGE_SETTLES_S = 30.0
"""A commit younger than this is looked up again, ``SETTLE_TRIES`` times in all, before it counts as
pushed past the requests. More patient than ``dispatcher.gate.landing``: a request that was missed here
refuses an approved action."""

SETTLE_TRIES = 5

THREADS = 8
"""Threads for calls to the forge, besides those of the callers."""


class _No(Exception):
    """The end of a decision that is not an approval."""

    def __init__(
        self, answer: Answer, reason: str, *, commit: str, request: int = 0, landed: str = ""
    ) -> None:
        super().__init__(reason)
        self.decision = Decision(
            answer=answer,
            reason=reason,
            gate="forgejo",
            commit=commit,
            request=request,
            landed=landed or commit,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """Who approved a request, or why nobody did."""

    approved_by: tuple[str, ...]
    reason: str
    at: float


class ForgejoGate:
    """Decides by the forge's records. Thread-safe.

    Args:
        forge: the ops repo's repository on the forge.
        history: the ops repo's history.
        branch: the branch whose files are actions.
        approvers: who may approve.
        ahead: what is asked about a request when a webhook reports its merge; None if nothing is.
        clock: monotonic seconds.
        wall: seconds since the epoch.
        pause_s: first pause before a fresh merge is looked up again.
    """

    def __init__(
        self,
        *,
        forge: Forge,
        history: History,
        branch: str,
        approvers: Approvers,
        ahead: AskedAhead | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        pause_s: float = 0.1,
    ) -> None:
        self._forge = forge
        self._history = history
        self._branch = branch
        self._ahead = ahead
        self._clock = clock
        self._wall = wall
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._requests: dict[str, tuple[Request, str]] = {}
        self._judged: dict[tuple[int, str, Need], _Judged] = {}
        self._round = (0, 0)  # invalidations of all, and of all but approvals
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="forge")
        self._approvals = RequestApprovals(forge, approvers, self._threads)

    def check(self, question: Question) -> Decision:
        try:
            return self._check(question)
        except _No as no:
            return no.decision
        except TooLarge as error:
            return Decision(answer=Answer.WAITING, reason=str(error), gate="forgejo")

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Drop cached answers about requests. The mapping of commits to requests stays cached."""
        if self._ahead is not None and not keep_approvals:
            self._ahead.drop()  # before the round is counted: ``_asked_ahead`` reads them the other way round
        with self._lock:
            whole, part = self._round
            self._round = (whole, part + 1) if keep_approvals else (whole + 1, part)
            self._judged = {
                key: judged
                for key, judged in self._judged.items()
                if keep_approvals and judged.approved_by
            }

    def _check(self, question: Question) -> Decision:
        path, blob = question.path, question.blob
        lineage = origin(self._history, commit=question.commit, path=path, blob=blob)
        if isinstance(lineage, Broken):
            raise _No(Answer.REFUSED, f"{lineage.reason}; {_bring(path)}", commit=lineage.commit)
        if lineage.mainline.sha in self._history.withdrawn(question.commit, path):
            raise _No(
                Answer.REFUSED,
                f"{self._branch} was rewritten since commit {short(lineage.mainline.sha)} brought "
                f"{path}, which dropped a later change of the file; {_bring(path)}",
                commit=lineage.mainline.sha,
            )
        ahead = self._asked_ahead(lineage)
        if ahead is not None:
            # These answers are older than the question: they only approve.
            with suppress(_No, DisintoError, TimeoutError):
                return self._decided(question, lineage, ahead)
        return self._decided(question, lineage, None)

    def _decided(self, question: Question, lineage: Lineage, ahead: Ahead | None) -> Decision:
        """The approval.

        Args:
            ahead: the answers to use, if they were asked for before the question.
        """
        path = question.path
        request, head, records = self._request(lineage, question, ahead)
        merged_at = request.merged_at.timestamp() if request.merged_at else 0.0
        if lost := self._history.forgotten(lineage.mainline.sha, at=merged_at):
            raise _No(
                Answer.REFUSED,
                f"{lost}; {_bring(path)}",
                commit=lineage.mainline.sha,
                request=request.number,
            )
        end_check = self._same_blob(request, head, lineage, question)
        judged = self._judge(request, head, question.need, records)
        end_check()
        if not judged.approved_by:
            plain = question.need.plain
            wanted = "an approval that counts" if plain else "the approvals it needs"
            raise _No(
                Answer.WAITING,
                f"pull request #{request.number} was merged without {wanted}: {judged.reason}",
                commit=head,
                request=request.number,
                landed=lineage.mainline.sha,
            )
        return Decision(
            answer=Answer.APPROVED,
            reason=f"pull request #{request.number} was approved by "
            f"{', '.join(judged.approved_by)} at {short(head)}",
            gate="forgejo",
            approved_by=judged.approved_by,
            commit=head,
            request=request.number,
            landed=lineage.mainline.sha,
            landed_at=self._history.arrived_at(lineage.mainline),
        )

    def _asked_ahead(self, lineage: Lineage) -> Ahead | None:
        """What was asked about the request that the commit names, when its merge was reported."""
        if self._ahead is None:
            return None
        change = lineage.mainline.sha
        with self._lock:
            asked_in = self._round
        ahead = self._ahead.of(self._history.names_request(change), change)
        if ahead is None:
            return None
        return replace(ahead, records=replace(ahead.records, asked_in=asked_in))

    # --- which request --------------------------------------------------------------------------

    def _request(
        self, lineage: Lineage, question: Question, ahead: Ahead | None
    ) -> tuple[Request, str, RequestRecords | None]:
        """The merged request that brought the change, and its merged head. When the request is new, its
        records are asked for at the same time.
        """
        change = lineage.mainline.sha
        if not self._is_inside(lineage.last.sha, lineage, change):
            raise _No(
                Answer.REFUSED,
                f"commit {short(lineage.last.sha)} changed {question.path} and did not come with "
                f"the merge {short(change)}; {_bring(question.path)}",
                commit=lineage.last.sha,
            )
        if ahead is not None:
            return ahead.request, self._merged_head(ahead.request, ahead.records), ahead.records
        cached = self._requests.get(change)
        if cached is not None:
            return *cached, None
        # Everything is asked at once about the request that the commit names, and again if it was another.
        named = self._history.names_request(change)
        records = self._ask(named, question.need) if named else None
        request, looks = self._find_settled(lineage, question)
        if request is None:
            raise _No(
                Answer.REFUSED,
                f"commit {short(change)} changed {question.path} on {self._branch} without a merged "
                f"pull request; {_bring(question.path)}",
                commit=change,
            )
        if records is None or records.number != request.number or looks > 1:
            records = self._ask(request.number, question.need)
        head = self._merged_head(request, records)
        with self._lock:  # both stay as they are
            if len(self._requests) >= 10_000:
                self._requests.clear()
            self._requests[change] = (request, head)
        return request, head, records

    def _ask(self, number: int, need: Need) -> RequestRecords:
        """Ask for what the forge says of a request, without waiting for the answers."""
        with self._lock:
            asked_in = self._round
        most = self._approvals.most_permissions(need)
        return ask(self._forge, self._threads, number, asked_in=asked_in, most_permissions=most)

    def _find_settled(self, lineage: Lineage, question: Question) -> tuple[Request | None, int]:
        """The request, and how often it was looked for."""
        looks = 0
        age_s = self._wall() - lineage.mainline.committed_at

        def find() -> Request | None:
            nonlocal looks
            looks += 1
            return merged_request(
                self._forge,
                self._history,
                branch=self._branch,
                change=lineage.mainline.sha,
                head=question.commit,
                pages=LOOK_BACK_PAGES,
                settling=looks == 1 and age_s < MERGE_SETTLES_S,
            )

        request = find_settled(
            find,
            age_s=age_s,
            settles_s=MERGE_SETTLES_S,
            tries=SETTLE_TRIES,
            pause_s=self._pause_s,
        )
        return request, looks

    def _merged_head(self, request: Request, records: RequestRecords) -> str:
        head = records.head(self._forge)
        if head is None:
            raise _No(
                Answer.REFUSED,
                f"the forge does not report which commit of pull request #{request.number} was "
                "merged",
                commit=request.merge_commit_sha or "",
                request=request.number,
            )
        return head

    # --- one blob -------------------------------------------------------------------------------

    def _same_blob(
        self, request: Request, head: str, lineage: Lineage, question: Question
    ) -> Callable[[], None]:
        """Start to check that the reviewed, the merged and the present content are the same bytes,
        and that this request brought them; the returned function ends the check.
        """

        def no(what: str) -> _No:
            reason = f"pull request #{request.number} {what}; {_bring(question.path)}"
            commit = request.merge_commit_sha or ""
            return _No(Answer.REFUSED, reason, commit=commit, request=request.number)

        if self._history.blob_at(request.merge_commit_sha or "", question.path) != question.blob:
            raise no(f"did not leave {question.path} as it is now")
        if not request.merge_base:
            raise no("has no place at which it left the branch")
        reviewed = self._threads.submit(self._blob_at, head, lineage, question)
        before = self._threads.submit(self._blob_at, request.merge_base, lineage, question)

        def end() -> None:
            if reviewed.result() != question.blob:
                raise no(f"was reviewed with other content in {question.path}")
            if before.result() == question.blob:
                raise no(f"did not change {question.path}")

        return end

    def _blob_at(self, commit: str, lineage: Lineage, question: Question) -> str | None:
        """The file's blob at a commit of the request: from the clone, if a merge brought the commit there."""
        here = self._is_inside(commit, lineage, question.commit)
        return (self._history if here else self._forge).blob_at(commit, question.path)

    def _is_inside(self, commit: str, lineage: Lineage, head: str) -> bool:
        """Whether a commit is in the history of a later one than brought the change to the branch. Mostly
        it is that one or its parent, for which git need not be asked.
        """
        change = lineage.mainline
        near = commit in (change.sha, *change.parents)
        return near or self._history.is_ancestor(commit, head)

    # --- whose approval, asked once for all files of a request --------------------------------

    def _judge(
        self, request: Request, head: str, need: Need, records: RequestRecords | None
    ) -> _Judged:
        key = (request.number, head, need)
        with self._lock:
            cached = self._judged.get(key)
            if cached is not None and self._clock() - cached.at < FRESH_S:
                return cached
            asked_in = records.asked_in if records else self._round
        approved_by, reason = self._approvals.of(request, head, need, records)
        now = self._clock()
        ahead = records.asked_at if records else None
        at = now if ahead is None else ahead
        judged = _Judged(approved_by=approved_by, reason=reason, at=at)
        with self._lock:
            stale = [k for k, v in self._judged.items() if now - v.at >= FRESH_S]
            for old in stale:
                del self._judged[old]
            # Answers requested before an invalidation are not cached, nor what asking ahead does not approve.
            current = asked_in == self._round and ahead is None
            if current or (approved_by and asked_in[0] == self._round[0]):
                self._judged[key] = judged
        return judged


def _bring(path: str) -> str:
    return f"change {path} by a pull request"
