"""Maps Nomad's responses of 400 and above to errors.

Texts from Nomad 2.0.5, ``nomad/structs/errors.go`` and ``nomad/job_endpoint.go``. An error of a
server without a code of its own arrives as 500, sometimes behind ``rpc error: ``.
"""

from __future__ import annotations

import json

from dispatcher.engines.nomad.api.shapes import Variable
from dispatcher.errors import (
    Conflict,
    Denied,
    Dependency,
    DisintoError,
    PermanentError,
    Unavailable,
)


class NotFound(PermanentError):
    """Nomad does not know the job, allocation, task, node, policy or variable."""


class VariableConflict(Conflict):
    """A compare-and-set of a variable failed, or its lock is held by another process.

    Attributes:
        current: the variable as it is; None if it is gone, locked, or may not be read.
    """

    def __init__(self, what: str, current: Variable | None) -> None:
        super().__init__(what)
        self.current = current


class Rejected(PermanentError):
    """Nomad understood and rejected the request; the same request never succeeds."""


_NO_FILE = ("no such file or directory",)
_NOT_FOUND = (
    "parameterized job not found",
    "job not found",
    "Unknown allocation",
    "Unknown node",
    "Unknown job",
    "Unknown evaluation",
    "not started yet. No logs available",
    "no such file or directory",
)
_REJECTED = (
    "Payload exceeds maximum size",
    "Payload is not allowed",
    "Payload is required",
    "Dispatch request included unpermitted metadata keys",
    "Dispatch did not provide required meta keys",
    "is not parameterized",
    "can't be dispatched",
    "is stopped",
    "Failed to parse job",
    "error occurred:",  # a list of what is wrong with a job
    "errors occurred:",
    "alidation failed",
    "alidation error",
    "unknown task name",
    "escapes the alloc directory",
    "Filter expression cannot be used",
    "failed to create result paginator",
)
_CONFLICT = (
    "Enforcing job modify index",
    "cas error",
    "attempting to modify locked variable",
    "lock is held by another holder",
    "doesn't hold a lock",
)
_DENIED = ("Permission denied", "ACL token")
_DOWN = (
    "No cluster leader",
    "Not ready to serve consistent reads",
    "No path to region",
    "No path to node",
    "leadership",
    "connection refused",
    "connection reset",
    "EOF",
    "timeout",
    "timed out",
    "keyring has not been initialized",
    "Server is shutting down",
)
_DISABLED = "disabled by the scheduler configuration"


def meaning(status: int, text: str, *, doing: str) -> DisintoError:
    """The error for a response.

    Args:
        status: HTTP status, 400 or above.
        text: the body, which Nomad writes for people.
        doing: the request, such as ``dispatch runner``.
    """
    message = " ".join(text.split())[:500] or f"status {status}"
    what = f"Nomad refused to {doing}: {message}"
    if status == 429 or _DISABLED in message:
        return Unavailable(Dependency.SCHEDULER, what)
    if status in (401, 403) or (status == 500 and _has(message, _DENIED)):
        return Denied(
            Dependency.SCHEDULER,
            what,
            remedy="Give the token of NOMAD_TOKEN or [nomad] token_file the missing permissions.",
        )
    if status == 404 or (status == 400 and _has(message, _NO_FILE)):
        return NotFound(what)
    if status == 409:
        return _conflict(text, doing=doing)
    if status < 500:
        return Rejected(what)
    return _server_error(message, what)


def _conflict(text: str, *, doing: str) -> VariableConflict:
    """The body is the current variable, or a stub if the token may not read it."""
    what = f"Nomad refused to {doing}: it was changed or locked by another client"
    try:
        answer = json.loads(text)
        current = Variable(
            path=answer["Path"],
            items=answer["Items"],
            modify_index=answer["ModifyIndex"],
            locked=bool(answer.get("Lock")),
        )
    except (ValueError, TypeError, KeyError):
        return VariableConflict(what, None)
    return VariableConflict(what, current if current.items else None)


def _server_error(message: str, what: str) -> DisintoError:
    if _has(message, _DOWN):
        return Unavailable(Dependency.SCHEDULER, what)
    if _has(message, _CONFLICT):
        return Conflict(what)
    if _has(message, _NOT_FOUND):
        return NotFound(what)
    if _has(message, _REJECTED):
        return Rejected(what)
    return Unavailable(Dependency.SCHEDULER, what)


def _has(text: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in text for phrase in phrases)
