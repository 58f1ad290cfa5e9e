"""Tells the people on a forge what became of an action: a commit status, and one comment.

The comment is found again by a marker and our own account, so that neither a restart nor another
person's copy of the marker makes a second one.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.forge.records import Comment, Status, User
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.markdown import cell, render

MARKER = "<!-- disinto: approval -->"
"""First line of our comment on a pull request."""

STATE = {Answer.APPROVED: "success", Answer.WAITING: "pending", Answer.REFUSED: "failure"}

DESCRIPTION_LIMIT = 250
REMEMBERED = 10_000

_ROW = re.compile(r"^\| `([a-z0-9_-]+)` \| (\w+) \| (.*) \|$", re.MULTILINE)


class Board(Protocol):
    """What of ``dispatcher.forge.ForgeApi`` a report needs."""

    def me(self) -> User: ...
    def statuses(self, commit: str) -> Sequence[Status]: ...
    def set_status(
        self, commit: str, *, context: str, state: str, description: str, target_url: str = ""
    ) -> None: ...
    def comments(self, number: int) -> Sequence[Comment]: ...
    def add_comment(self, number: int, body: str) -> Comment: ...
    def edit_comment(self, comment: int, body: str) -> Comment: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    action_id: str
    answer: str
    reason: str


class ForgeReporter:
    """Reports decisions. Thread-safe; one at a time, so that a comment is never made twice.

    Args:
        board: the ops repo's repository on the forge.
        branch: the branch whose files are actions.
        status, comment: whether to set statuses, and to comment.
    """

    def __init__(
        self, board: Board, *, branch: str, status: bool = True, comment: bool = True
    ) -> None:
        self._board = board
        self._branch = branch
        self._status = status
        self._comment = comment
        self._lock = threading.Lock()
        self._told: OrderedDict[str, Decision] = OrderedDict()
        self._me: str | None = None

    def report(self, question: Question, decision: Decision) -> None:
        """Say once what was decided; the same decision again costs no call.

        Nothing is said of actions that need no approval.

        Raises:
            Unavailable: the forge cannot be told now; nothing is lost, report again.
            Denied: the token may not write statuses or comments.
            ForgeRefused: the forge will not have it, e.g. since the request was deleted.
        """
        if decision.gate == "main_branch":
            return
        with self._lock:
            if self._told.get(question.action_id) == decision:
                return
            if self._status and decision.landed:
                self._set_status(question, decision)
            if self._comment and decision.request:
                self._write(question, decision)
            self._told[question.action_id] = decision
            self._told.move_to_end(question.action_id)
            if len(self._told) > REMEMBERED:
                self._told.popitem(last=False)

    def _set_status(self, question: Question, decision: Decision) -> None:
        context = f"disinto/{question.action_id}"
        state, description = STATE[decision.answer], decision.reason[:DESCRIPTION_LIMIT]
        for status in self._board.statuses(decision.landed):
            if status.context == context:
                if (status.status, status.description) == (state, description):
                    return
                break
        self._board.set_status(
            decision.landed, context=context, state=state, description=description
        )

    def _write(self, question: Question, decision: Decision) -> None:
        """Put this action's row into the one comment. No comment begins with good news."""
        mine = self._own_comment(decision.request)
        if mine is None and decision.answer is Answer.APPROVED:
            return
        rows = {row[0]: _Row(action_id=row[0], answer=row[1], reason=row[2]) for row in _rows(mine)}
        rows[question.action_id] = _Row(
            action_id=question.action_id,
            answer=decision.answer.value,
            reason=cell(decision.reason),
        )
        body = render(
            "actions/waiting_comment.md.j2",
            marker=MARKER,
            branch=self._branch,
            rows=[rows[key] for key in sorted(rows)],
        )
        if mine is None:
            self._board.add_comment(decision.request, body)
        elif mine.body.strip() != body.strip():
            self._board.edit_comment(mine.id, body)

    def _own_comment(self, request: int) -> Comment | None:
        if self._me is None:
            self._me = self._board.me().name
        for comment in self._board.comments(request):
            ours = comment.user is not None and comment.user.name == self._me
            if ours and comment.body.startswith(MARKER):
                return comment
        return None


def _rows(comment: Comment | None) -> list[tuple[str, str, str]]:
    return _ROW.findall(comment.body.replace("\r\n", "\n")) if comment else []
