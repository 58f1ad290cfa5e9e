"""The dispatcher's one comment on a pull request: a row per action, and the tails of failed
outputs.

The comment is the only record: rows and outputs are read back from it, so that a restarted
dispatcher edits it. It is recognized by a marker and our own account, because anybody can copy the
marker. Text of actions and runs is untrusted: see ``dispatcher.gate.markdown``.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dispatcher.forge import ForgeRefused
from dispatcher.forge.records import Comment
from dispatcher.gate.markdown import render
from dispatcher.gate.own_comments import CommentBoard, OwnComments
from dispatcher.model.verdicts import Verdict

MARKER = "<!-- disinto: approval -->"
"""First line of our comment on a pull request."""

NOTE = "; at first it "
"""Between a row's details and its note."""

ROWS = 80
"""Actions that a comment lists, those that did not succeed first."""

TAILS = 8
"""Outputs that a comment shows, the latest."""

REMEMBERED = 1_000
"""Maximum of requests whose comment is cached."""

_SUCCESSES = frozenset(verdict.value for verdict in Verdict if verdict.success)

_ID = r"[a-z0-9_-]+"
_ROW = re.compile(rf"^\| `({_ID})` \| (\w+) \| (.*) \|$", re.MULTILINE)
_TAIL = re.compile(
    # Each line of an output is indented, so that none of them can be taken for a line of ours.
    rf"^<details><summary>End of the output of ({_ID})</summary>\n\n((?:(?: {{4}}.*)?\n)+?)</details>$",
    re.MULTILINE,
)
_PERMALINK = re.compile(r"/src/commit/[0-9a-f]+/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One action's row in a comment.

    Attributes:
        action_id: of the action.
        state: one word: a gate's answer, or a verdict.
        details: Markdown that fits a cell of a table (see ``markdown.cell``).
        note: follows the details, as Markdown of the same kind; "" for none. A row that has one keeps
            it for as long as state and details stay: what was noted once is not edited again.
        tail: end of the output as an indented block (see ``markdown.indented``), or "" for none.
    """

    action_id: str
    state: str
    details: str
    note: str = ""
    tail: str = ""


class RequestComments:
    """Our comments by request. Not thread-safe.

    Args:
        board: the ops repo's repository on the forge.
        branch: the branch whose files are actions.
    """

    def __init__(self, board: CommentBoard, *, branch: str) -> None:
        self._board = board
        self._branch = branch
        self._own = OwnComments(board)
        self._cache: OrderedDict[int, Comment | None] = OrderedDict()

    def forget(self) -> None:
        """Drop the cache: another dispatcher may have commented since."""
        self._cache.clear()

    def none_yet(self, request: int) -> None:
        """Note that a request can have no comment of ours yet but one that was made here."""
        self._cache.setdefault(request, None)

    def put(self, request: int, rows: Sequence[Row], *, create: bool) -> None:
        """Write rows into the comment on a request, replacing those of the same actions.

        Args:
            request: number of the pull request.
            rows: the new rows, at most one per action.
            create: whether to comment if there is no comment of ours yet.

        Raises:
            Unavailable, Denied, ForgeRefused: see ``ForgeApi``.
        """
        try:
            self._put(request, rows, create=create)
        except ForgeRefused as refused:
            if refused.status != 404 or not self._cache.pop(request, None):
                raise
            self._put(request, rows, create=create)  # the cached comment was deleted
        except Exception:
            self._cache.pop(request, None)  # unknown whether it arrived
            raise

    def _put(self, request: int, rows: Sequence[Row], *, create: bool) -> None:
        if request not in self._cache:
            self._cache[request] = self._own.find(request, lambda body: MARKER in body.splitlines())
            if len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
        mine = self._cache[request]
        if mine is None and not create:
            return
        body = self._body(mine, rows)
        if mine is None:
            self._cache[request] = self._board.add_comment(request, body)
        elif _says(mine.body) != _says(body):
            self._cache[request] = self._board.edit_comment(mine.id, body)

    def _body(self, mine: Comment | None, rows: Sequence[Row]) -> str:
        text = mine.body.replace("\r\n", "\n") if mine else ""
        listed = {i: Row(action_id=i, state=s, details=d) for i, s, d in _ROW.findall(text)}
        tails: dict[str, str] = dict(_TAIL.findall(text))
        for row in rows:
            listed[row.action_id] = _noted(row, listed.get(row.action_id))
            if row.tail != tails.get(row.action_id, ""):
                tails.pop(row.action_id, None)
                if row.tail:
                    tails[row.action_id] = row.tail
        kept = sorted(listed.values(), key=lambda row: (row.state in _SUCCESSES, row.action_id))
        kept = sorted(kept[:ROWS], key=lambda row: row.action_id)
        return render(
            "actions/request_comment.md.j2",
            marker=MARKER,
            branch=self._branch,
            rows=kept,
            full=len(kept) == ROWS,
            tails=dict(list(tails.items())[-TAILS:]),
        )


def _noted(row: Row, shown: Row | None) -> Row:
    """A row as it is written: with the note that is shown already, else with its own."""
    if shown and shown.state == row.state and shown.details.startswith(row.details + NOTE):
        return shown
    return replace(row, details=row.details + NOTE + row.note) if row.note else row


def _says(body: str) -> str:
    """A comment as far as it matters: another link to the same result is no change."""
    return _PERMALINK.sub("/src/commit/", body.replace("\r\n", "\n").strip())
