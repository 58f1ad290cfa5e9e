"""Reports the state of actions on the forge: commit statuses, and one comment.

``disinto/<id>`` is the status of the run, ``disinto/<id>/approval`` that of the approval. Both are
set on the commit by which the action came to the branch. Everything is compared with what the
forge shows before it is written, so that it can be reported again at any time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from dispatcher.errors import DisintoError
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.commit_status import CommitStatuses, StatusBoard
from dispatcher.gate.ended import Ended, report_each
from dispatcher.gate.landing import Landing
from dispatcher.gate.markdown import cell, indented, inert
from dispatcher.gate.own_comments import CommentBoard
from dispatcher.gate.request_comment import RequestComments, Row
from dispatcher.model.health import LockPlace
from dispatcher.model.paths import ACTIONS_PATH
from dispatcher.model.result import Result

APPROVAL = {Answer.APPROVED: "success", Answer.WAITING: "pending", Answer.REFUSED: "failure"}
"""State of the approval's status."""

NOT_ENDED = ("pending", "waits or runs")
NOT_RUN = ("failure", "refused: does not run")
"""State and description of the run's status before there is a result."""

DETAILS_LIMIT = 400
"""Characters of a row's text, without the link."""

TAIL_LINES, TAIL_CHARACTERS = 40, 1_000
"""Of an output that a comment shows, at most."""

SKEW_S = 10.0
"""Seconds by which the forge's clock and ours may differ."""

REMEMBERED = 10_000

V = TypeVar("V")


class Board(StatusBoard, CommentBoard, Protocol):
    """The part of ``dispatcher.forge.ForgeApi`` that reports need."""


class Finder(Protocol):
    """Finds how a file came to the branch; see ``dispatcher.gate.landing.Landings``."""

    def of(self, *, path: str, commit: str) -> Landing | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """An approved action that has to wait for its lock.

    Attributes:
        decision: the approval, as reported.
        lock: its place.
    """

    action_id: str
    decision: Decision
    lock: LockPlace


class ForgeReporter:
    """Reports decisions and results. Thread-safe; one at a time, so that a comment is never
    created twice.

    Args:
        board: the ops repo's repository on the forge.
        branch: the branch whose files are actions.
        landings: how actions came to the branch.
        contains: whether a head of the branch contains a commit (both hex).
        web_url: address of the repository for people, without a slash at the end.
        status, comment: whether to set statuses, and to comment.
        clock: seconds since the epoch; replaced in tests.
    """

    def __init__(
        self,
        board: Board,
        *,
        branch: str,
        landings: Finder,
        contains: Callable[[str, str], bool],
        web_url: str,
        status: bool = True,
        comment: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._landings, self._contains = landings, contains
        self._web_url = web_url
        self._status = status
        self._comment = comment
        self._statuses = CommitStatuses(board)
        self._comments = RequestComments(board, branch=branch)
        self._clock = clock
        self._since, self._first_head = clock(), ""
        self._lock = threading.Lock()
        self._reported: OrderedDict[str, Decision | Result] = OrderedDict()
        self._landed: OrderedDict[str, Landing] = OrderedDict()

    def forget(self) -> None:
        """Drop the cache: another dispatcher may have reported since."""
        with self._lock:
            self._since, self._first_head = self._clock(), ""
            self._reported.clear()
            self._landed.clear()
            self._statuses.forget()
            self._comments.forget()

    def leads_from(self, commit: str) -> None:
        """Note the first head of this term; see ``_came_since``."""
        with self._lock:
            self._first_head = commit

    def _came_since(self, decision: Decision) -> bool:
        """Whether the commit came to the branch while this dispatcher leads, so that no other can have
        reported about it. Around the beginning, the forge's clock is not trusted with that.
        """
        after_s = decision.landed_at - self._since
        if abs(after_s) > SKEW_S:
            return after_s > 0
        return bool(self._first_head) and not self._contains(self._first_head, decision.landed)

    # --- approval -------------------------------------------------------------------------------

    def report(self, question: Question, decision: Decision) -> None:
        """Report a decision once; the same decision again costs no call.

        Nothing is reported of actions that need no approval, or that have ended.

        Raises:
            Unavailable: the forge cannot be reached now; nothing is lost; retry.
            Denied: the token may not write statuses or comments.
            ForgeRefused: the forge rejects it, e.g. because the request was deleted.
        """
        if decision.gate == "main_branch":
            return
        action_id = question.action_id
        with self._lock:
            reported = self._reported.get(action_id)
            if reported == decision or isinstance(reported, Result):
                return
            if decision.landed and decision.request:
                landing = Landing(commit=decision.landed, request=decision.request)
                _note(self._landed, action_id, landing)
                if self._came_since(decision):
                    self._statuses.none_yet(decision.landed)
                    self._comments.none_yet(decision.request)
            if self._status and decision.landed:
                self._set_decided(action_id, decision)
            if self._comment and decision.request:
                row = _row_of(action_id, decision)
                # A comment is never created for good news.
                bad_news = decision.answer is not Answer.APPROVED
                self._comments.put(decision.request, [row], create=bad_news)
            _note(self._reported, action_id, decision)

    def report_queued(self, queued: Sequence[Queued]) -> None:
        """Note in the rows of approved actions that they have to wait for their lock, and for whom.

        A row is noted once: it does not follow the queue, which would cost an edit for each action of
        the queue whenever a run ends. A comment is never created for it: people are notified of a
        new one, and are to be notified of the end.

        Raises:
            Unavailable, Denied, ForgeRefused: as for ``report``.
        """
        by_request: dict[int, list[Row]] = {}
        with self._lock:
            for each in queued:
                ended = isinstance(self._reported.get(each.action_id), Result)
                if self._comment and each.decision.request and not ended:
                    row = replace(
                        _row_of(each.action_id, each.decision), note=cell(_place(each.lock))
                    )
                    by_request.setdefault(each.decision.request, []).append(row)
            for request, rows in by_request.items():
                self._comments.put(request, rows, create=False)

    def _set_decided(self, action_id: str, decision: Decision) -> None:
        self._statuses.set(
            decision.landed,
            approval_context(action_id),
            state=APPROVAL[decision.answer],
            description=decision.reason,
        )
        shown = self._statuses.get(decision.landed, run_context(action_id))
        if shown is not None and shown.target_url:
            return  # it has ended, as a dispatcher before this one reported
        state, description = NOT_RUN if decision.answer is Answer.REFUSED else NOT_ENDED
        self._statuses.set(
            decision.landed, run_context(action_id), state=state, description=description
        )

    # --- results --------------------------------------------------------------------------------

    def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
        """Report how actions ended: one status per action, and one edit of a comment per pull
        request.

        Returns:
            Why an action could not be reported, by its id; retry these. ``Unavailable`` and
            ``Denied`` as for ``report``; other errors are final.
        """
        by_request: dict[int, list[Row]] = {}

        def report(each: Ended) -> None:
            _note(self._reported, each.result.id, each.result)
            request = self._set_ended(each)
            if request and self._comment:
                by_request.setdefault(request, []).append(self._row(each))

        with self._lock:
            failures, down = report_each(ended, report)
            if down:
                return failures
            for request, rows in by_request.items():
                try:
                    self._comments.put(request, rows, create=True)
                except DisintoError as error:
                    failures |= {row.action_id: error for row in rows}
        return failures

    def _set_ended(self, ended: Ended) -> int:
        """Set the statuses of an action; returns the number of its request, or 0."""
        result = ended.result
        landing = self._landing(result)
        if landing is None:
            return 0
        if self._status:
            approval = self._statuses.get(landing.commit, approval_context(result.id))
            if result.approved_by and approval is not None and approval.status != "success":
                self._statuses.set(
                    landing.commit,
                    approval_context(result.id),
                    state="success",
                    description=f"approved by {', '.join(result.approved_by)}",
                )
            self._statuses.set(
                landing.commit,
                run_context(result.id),
                state="success" if result.verdict.success else "failure",
                description=_in_words(result),
                target_url=ended.link(self._web_url),
            )
        return landing.request

    def _landing(self, result: Result) -> Landing | None:
        landing = self._landed.get(result.id)
        if landing is None and result.commit:
            path = f"{ACTIONS_PATH}/{result.id}.toml"
            landing = self._landings.of(path=path, commit=result.commit)
            if landing is not None:
                _note(self._landed, result.id, landing)
        return landing

    def _row(self, ended: Ended) -> Row:
        result = ended.result
        details = f"{inert(_end_of(result), DETAILS_LIMIT)}; [result]({ended.link(self._web_url)})"
        tail = ""
        if not result.verdict.success:
            tail = indented(result.logs, lines=TAIL_LINES, characters=TAIL_CHARACTERS)
        return Row(action_id=result.id, state=result.verdict.value, details=details, tail=tail)


def run_context(action_id: str) -> str:
    """Name of the commit status of a run."""
    return f"disinto/{action_id}"


def approval_context(action_id: str) -> str:
    """Name of the commit status of an approval."""
    return f"disinto/{action_id}/approval"


def _row_of(action_id: str, decision: Decision) -> Row:
    return Row(
        action_id=action_id,
        state=decision.answer.value,
        details=cell(decision.reason[:DETAILS_LIMIT]),
    )


def _place(lock: LockPlace) -> str:
    """The place of an action in the queue of its lock, for people."""
    ahead = f", with {lock.ahead} before it" if lock.ahead else ""
    held = f", held by {lock.holder}" if lock.holder else ""
    return f"waited for lock {lock.name}{held}{ahead}"


def _in_words(result: Result) -> str:
    return f"{result.verdict}: {_end_of(result)}"


def _end_of(result: Result) -> str:
    """Exit code, duration and error of a result."""
    took = f" after {result.duration_s:g} s" if result.duration_s is not None else ""
    error = f": {result.error}" if result.error else ""
    return f"exit code {result.exit_code}{took}{error}"


def _note(memory: OrderedDict[str, V], action_id: str, value: V) -> None:
    memory[action_id] = value
    memory.move_to_end(action_id)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
