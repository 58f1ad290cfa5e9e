"""A request to cancel an action: ``vault/actions/<id>.cancel.toml``, beside the action it means.

It names the action's exact content by its blob, so that a request stays about one run, whatever
happens to the files. The gate decides whether it counts, as for the action itself; this module only
parses the file. It never raises because of the file's content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dispatcher.errors import Problem

LIMIT = 4_096
"""Bytes of a request; a larger file is not read."""

REASON_LIMIT = 300
"""Characters of a reason."""

_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_KEYS = ("id", "blob", "reason")


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    """The content of a request.

    Attributes:
        action_id: the action's id.
        blob: git blob hash (hex) of the action's file.
        reason: why, in the author's words: printable and on one line, or "".
    """

    action_id: str
    blob: str
    reason: str = ""

    def to_toml(self) -> bytes:
        """The request as the file that is committed."""
        lines = [
            "# Requests cancellation of this action; blob is the git blob hash of its file.",
            f'id = "{self.action_id}"',
            f'blob = "{self.blob}"',
        ]
        if self.reason:
            lines.append(f"reason = {_toml(self.reason)}")
        return ("\n".join(lines) + "\n").encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelNote:
    """A request, for people.

    Attributes:
        id: the action's.
        path: of the request.
        state: ``approved``, ``waiting``, ``ignored`` (it is wrong) or ``unread``.
        by: who requested and who approved it, in words; "" if unknown.
        reason: why it is in that state.
    """

    id: str
    path: str
    state: str
    by: str = ""
    reason: str = ""


def parse_cancel_request(
    data: bytes | int, *, path: str, action_id: str
) -> CancelRequest | tuple[Problem, ...]:
    """The request in a file, or what is wrong with it.

    Args:
        data: the file's bytes, or their number if it was too large to be read.
        path: for messages.
        action_id: the id in the file's name.
    """
    from dispatcher.toml.source import TomlSource, quoted  # 'status' only shows what was read

    if isinstance(data, int):
        message = f"the file has {data:,} bytes, more than the {LIMIT:,} allowed"
        return (Problem(message=message, path=path),)
    source = TomlSource.parse(data, path=path, limit=LIMIT)
    if source.problems:
        return source.problems
    problems = [
        source.problem(f"unknown key {quoted(key)}", (key,), key=True)
        for key in source.data
        if key not in _KEYS
    ]
    given_id, blob = source.data.get("id"), source.data.get("blob")
    reason = source.data.get("reason", "")
    if given_id != action_id:
        shown = quoted(given_id) if isinstance(given_id, str) else "missing"
        problems.append(source.problem(f"id is {shown}, but the file name implies {action_id}"))
    if not isinstance(blob, str) or not _BLOB.fullmatch(blob):
        problems.append(source.problem("blob must be the git blob hash of the action's file"))
    if not isinstance(reason, str) or reason_problem(reason):
        what = reason_problem(reason) if isinstance(reason, str) else "reason must be text"
        problems.append(source.problem(what, ("reason",)))
    if problems or not isinstance(blob, str) or not isinstance(reason, str):
        return tuple(problems)
    return CancelRequest(action_id=action_id, blob=blob, reason=reason)


def reason_problem(reason: str) -> str:
    """What is wrong with a reason, as a sentence without a full stop; "" for a good one."""
    if len(reason) > REASON_LIMIT:
        return f"reason has {len(reason)} characters, more than the {REASON_LIMIT} allowed"
    return "" if reason.isprintable() else "reason must be one line of printable text"


def _toml(text: str) -> str:
    """A basic string; the text is printable."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
