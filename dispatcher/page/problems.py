"""Problems: what could not be answered, in plain words for people and by RFC 9457 for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from dispatcher.errors import (
    Conflict,
    Denied,
    Dependency,
    DisintoError,
    InvalidInput,
    InvalidValue,
    Misconfigured,
    NotFound,
    TemporaryError,
)
from dispatcher.operate.provisioned import BeingCreated
from dispatcher.page.language import mark

MEDIA_TYPE = "application/problem+json"

UNREADABLE = mark("some of what you entered is not right; nothing was sent")
"""What is said above a form whose fields have errors."""

RETRY_S = 5
"""Seconds after which what is unavailable may be retried."""

TITLES: Mapping[int, str] = {
    400: mark("This request cannot be understood"),
    401: mark("You are not logged in"),
    403: mark("You may not do this"),
    404: mark("There is nothing here"),
    405: mark("This page does not take such a request"),
    408: mark("The request took too long to arrive"),
    409: mark("Something else happened first"),
    413: mark("This is too much for one request"),
    421: mark("This address is not served here"),
    422: mark("Something in what you entered is not right"),
    429: mark("Too many requests at once"),
    500: mark("The page has a defect"),
    502: mark("Another server gave an answer that cannot be used"),
    503: mark("Something that this page needs does not answer"),
}
"""The headline of each status that the page answers with."""


REMEDIES: Mapping[int, str] = {
    400: mark("Correct the request, and send it again."),
    401: mark("Log in. A program sends a token of the forge, or the cookie of a session."),
    403: mark("Ask an administrator of the ops repo for the right to do it."),
    404: mark("Check the address, or begin at the overview."),
    405: mark("What can be asked for here is described at /openapi.json."),
    408: mark("Send it again over a faster connection."),
    409: mark("Reload the page to see what is there now, and decide again."),
    413: mark("Send less at once."),
    421: mark("Open the page by the address that it was set up with."),
    422: mark("Correct what is named, and send it again."),
    429: mark("Wait a moment, then try again."),
    500: mark("Try again; if it happens again, report it with the time."),
    502: mark("Try again; if it happens again, look at that server."),
    503: mark("Try again in a moment."),
}
"""What can be done about each, where nothing more precise is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """What is wrong with one field of a form or of a query."""

    field: str
    message: str


@dataclass(kw_only=True, eq=False)
class Problem(Exception):
    """A request that is not answered with what it asked for.

    Attributes:
        status: of HTTP; a key of ``TITLES``.
        title: the headline, a message; "" for that of the status.
        what: what was wrong, one sentence without a full stop; a message to translate, or the words
            of an error.
        remedy: what the reader can do; "" for that of the status.
        values: fill the ``%(name)s`` of ``what`` and ``remedy``.
        errors: by field.
        headers: of the answer.
    """

    status: int
    what: str = ""
    remedy: str = ""
    values: Mapping[str, object] = field(default_factory=dict)
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    def __post_init__(self) -> None:
        self.remedy = self.remedy or REMEDIES.get(self.status, "")

    def to_json(self) -> dict[str, object]:
        """The problem details, in English."""
        title = self.title or TITLES.get(self.status) or HTTPStatus(self.status).phrase
        details: dict[str, object] = {"type": "about:blank", "title": title, "status": self.status}
        if self.what:
            details["detail"] = self.what % self.values if self.values else self.what
        if self.remedy:
            details["remedy"] = self.remedy % self.values if self.values else self.remedy
        if self.errors:
            details["errors"] = [{"field": e.field, "detail": e.message} for e in self.errors]
        return details


def of_error(error: DisintoError) -> Problem:
    """The problem of an error that an adapter or a command raised."""
    headers: dict[str, str] = {}
    match error:
        case NotFound():
            status = 404
        case Denied(dependency=Dependency.FORGE | Dependency.REMOTE):
            status = 403
        case Denied() | Misconfigured():
            status = 503
        case InvalidInput() | InvalidValue():
            status = 422
        case Conflict():
            status = 409
        case BeingCreated():
            status, headers = 409, {"Retry-After": str(RETRY_S)}
        case TemporaryError():
            status, headers = 503, {"Retry-After": str(RETRY_S)}
        case _:
            status = 422
    errors = [
        FieldError(field=p.field or "", message=p.message)
        for p in (error.problems if isinstance(error, InvalidInput) else ())
        if p.field
    ]
    return Problem(
        status=status,
        what=error.what.rstrip("."),
        remedy=error.remedy or "",
        errors=errors,
        headers=headers,
    )


def not_found(what: str = mark("no page has this address")) -> Problem:
    """404."""
    return Problem(status=404, what=what)


def defect() -> Problem:
    """An error that nobody gave a meaning: ours."""
    return Problem(
        status=500,
        what=mark("an unexpected error occurred; it is in the log of the page"),
    )
