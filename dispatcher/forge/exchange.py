"""HTTP exchanges with the forge over httpx: bounded, counted, and with errors mapped in one place.

It must not follow a redirect, or return a response that it cannot parse completely.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import httpx
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from dispatcher.errors import (
    Denied,
    Dependency,
    Misconfigured,
    PermanentError,
    Unavailable,
    reason_of,
)

PAGE = 50
"""Entries per page: the maximum of a forge by default."""

MAX_PAGES = 20
"""Maximum of pages read of one list; a request with more reviews or commits is not judged."""

MAX_ANSWER_BYTES = 8 * 2**20

MAX_TIMEOUTS = 6
"""Time-outs within which an answer must be here whole: each covers one read only."""

MAX_TIME = 253_402_300_800.0
"""The end of the year 9999, seconds since the epoch."""

_COUNT_DIGITS = 9

ACCESS_WANTED = (
    "a valid token of an account that administers the ops repo (for an author: may write to it), "
    "with the scopes read:user, read:organization, write:repository and write:issue"
)
"""The token needed, for messages."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[_T]):
    """A page of a list.

    Attributes:
        total: entries of the whole list, as the forge counts them; None if it does not say.
        at: when the forge answered, by its own clock, seconds since the epoch; None likewise.
    """

    entries: tuple[_T, ...]
    total: int | None
    at: float | None


class TooLarge(PermanentError):
    """A list of the forge exceeds the maximum that is read."""


class AnswerTooLarge(Unavailable):
    """An answer of the forge has more than ``MAX_ANSWER_BYTES``."""


class ForgeRefused(PermanentError):
    """The forge understood and rejected a write.

    Attributes:
        status: its HTTP status code.
    """

    def __init__(self, what: str, *, status: int, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.status = status


def many(record: type[_T]) -> TypeAdapter[list[_T]]:
    """A list of records. Go's empty list is ``null``, and means an empty list."""
    of = Annotated[list[record], BeforeValidator(lambda raw: [] if raw is None else raw)]  # type: ignore[valid-type]
    return TypeAdapter(of)


class Exchange:
    """An HTTP client of the forge's v1 API. Thread-safe.

    Every method raises ``Unavailable`` (forge) when there is no usable answer (no connection, a
    time-out, a status of 429 or 5xx, a redirect, an answer that does not parse) and ``Denied``
    (forge) for 401 and 403.

    Args:
        wanted: the token needed, and ``token_source`` where it comes from; for messages.

    Raises:
        Misconfigured: the address is not one, or the CA certificate cannot be read.
    """

    def __init__(
        self,
        *,
        url: str,
        token: str,
        cacert: Path | None,
        timeout_s: float,
        token_source: str,
        transport: httpx.BaseTransport | None,
        wanted: str = ACCESS_WANTED,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise Misconfigured(f"[forge] url is {url!r}, not an http:// or https:// address")
        self._token_source, self._wanted = token_source, wanted
        self._lock = threading.Lock()
        self._whole_s = MAX_TIMEOUTS * timeout_s
        self.calls = 0
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            headers={
                "Authorization": f"token {token}",
                "Accept": "application/json",
                "User-Agent": "disinto",
            },
            timeout=timeout_s,
            verify=trusted(cacert),
            follow_redirects=False,
            cookies=no_cookies(),
            transport=transport,
        )

    def close(self) -> None:
        self._client.close()

    def pages(
        self,
        path: str,
        of: TypeAdapter[list[_T]],
        params: Mapping[str, object] | None = None,
        *,
        counted: bool = False,
    ) -> list[_T]:
        """All pages of a list, until one is empty. A short page is no end: the forge filters after it
        has cut the list into pages.

        Args:
            counted: whether the forge's header counts the whole list, filtered entries as well: then
                a short page that completes that number is the last. On a time line it counts the page.
        """
        entries: list[_T] = []
        for number in range(1, MAX_PAGES + 1):
            page = self.page(path, of, {"limit": PAGE, **(params or {}), "page": number})
            if page is None:
                raise _must_exist(path)
            entries.extend(page.entries)
            complete = counted and len(page.entries) < PAGE and page.total == len(entries)
            if not page.entries or complete:
                return entries
        raise TooLarge(f"the forge has more than {MAX_PAGES} pages of {path}")

    def get(
        self,
        path: str,
        of: TypeAdapter[_T],
        params: Mapping[str, object] | None = None,
        *,
        absent: int = 404,
    ) -> _T | None:
        """One record, or None if the forge reports that it does not exist.

        Args:
            absent: the status by which it does so.
        """
        status, body = self._exchange("GET", path, params=params)
        if status == absent:
            return None
        if status != 200:
            raise _no_answer(f"the forge answered {status} to GET {path}")
        return parse(body, of, f"GET {path}")

    def page(
        self, path: str, of: TypeAdapter[list[_T]], params: Mapping[str, object]
    ) -> Page[_T] | None:
        """One page of a list, with what the forge says about the list; None for a 404.

        Raises:
            AnswerTooLarge: a smaller page may be readable.
        """
        status, body, headers = self._answer("GET", path, params=params)
        if status == 404:
            return None
        if status != 200:
            raise _no_answer(f"the forge answered {status} to GET {path}")
        entries: list[_T] = parse(body, of, f"GET {path}")
        return Page(
            entries=tuple(entries),
            total=_count(headers.get("X-Total-Count", "")),
            at=_date(headers.get("Date", "")),
        )

    def must(
        self, path: str, of: TypeAdapter[_T], params: Mapping[str, object] | None = None
    ) -> _T:
        """One record that must exist."""
        answer = self.get(path, of, params)
        if answer is None:
            raise _must_exist(path)
        return answer

    def send(
        self, method: str, path: str, content: Mapping[str, object], of: TypeAdapter[_T]
    ) -> _T:
        status, body = self._exchange(method, path, content=content)
        if 400 <= status < 500:
            raise ForgeRefused(
                f"the forge answered {status} to {method} {path}: {_message(body)}", status=status
            )
        return parse(body, of, f"{method} {path}")

    def probe(self, path: str, *, token: str) -> tuple[int, bytes]:
        """Status and body of a GET with another token; 401, 403 and 404 are answers here."""
        status, body, _ = self._answer("GET", path, denials=(), token=token)
        return status, body

    def post_nothing(self, path: str) -> tuple[int, str]:
        """Status and message of a POST without content, which must be one that requires some.

        Raises:
            Denied: the forge rejects the token (401); 403 is an answer here.
        """
        status, body, _ = self._answer("POST", path, content={}, denials=(401,))
        return status, _message(body)

    def delete(self, path: str) -> None:
        """Delete what may be gone already (404).

        Raises:
            ForgeRefused: the forge rejects it.
        """
        status, body = self._exchange("DELETE", path)
        if 400 <= status < 500 and status != 404:
            raise ForgeRefused(
                f"the forge answered {status} to DELETE {path}: {_message(body)}", status=status
            )

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        content: Mapping[str, object] | None = None,
    ) -> tuple[int, bytes]:
        status, body, _ = self._answer(method, path, params=params, content=content)
        return status, body

    def _answer(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        content: Mapping[str, object] | None = None,
        denials: Collection[int] = (401, 403),
        token: str | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        with self._lock:
            self.calls += 1
        query = httpx.QueryParams({k: str(v) for k, v in params.items()}) if params else None
        headers = None if token is None else {"Authorization": f"token {token}"}
        until = time.monotonic() + self._whole_s
        try:
            with self._client.stream(
                method, path, params=query, json=content, headers=headers
            ) as answer:
                body = _read(answer, f"{method} {path}", until=until)
                status, received = answer.status_code, answer.headers
        except httpx.HTTPError as error:
            raise _no_answer(
                f"the forge did not answer {method} {path} ({reason_of(error)})"
            ) from error
        if status in denials:
            raise Denied(
                Dependency.FORGE,
                f"the forge answered {status} to {method} {path}: {_message(body)}",
                remedy=f"Set {self._token_source} to {self._wanted}.",
            )
        if status == 429 or status >= 500 or 300 <= status < 400:
            raise _no_answer(f"the forge answered {status} to {method} {path}")
        return status, body, received


def no_cookies() -> CookieJar:
    """Keeps no cookie: a client that is used with several tokens must not mix up whose they are."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def _must_exist(path: str) -> Unavailable:
    return _no_answer(
        f"the forge answered 404 to GET {path}",
        "Check [forge] url and repository, and that the token may read the repository.",
    )


def _date(text: str) -> float | None:
    """The header ``Date`` in seconds since the epoch; None if it is missing or wrong."""
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return at if 0.0 <= at < MAX_TIME else None


def _count(text: str) -> int | None:
    """The header ``X-Total-Count``; None if it is missing or wrong."""
    short = len(text) <= _COUNT_DIGITS and text.isascii() and text.isdigit()
    return int(text) if short else None


def trusted(cacert: Path | None) -> ssl.SSLContext:
    """Trust in the forge's certificate.

    Raises:
        Misconfigured: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=str(cacert) if cacert else None)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"[forge] cacert {cacert} cannot be read: {reason_of(error)}"
        ) from error


def _read(answer: httpx.Response, what: str, *, until: float) -> bytes:
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if time.monotonic() > until:
            raise _no_answer(f"the forge's answer to {what} did not arrive in time")
        if len(body) > MAX_ANSWER_BYTES:
            raise AnswerTooLarge(
                Dependency.FORGE, f"the forge's answer to {what} is over {MAX_ANSWER_BYTES} bytes"
            )
    return bytes(body)


def parse(body: bytes, of: TypeAdapter[_T], what: str) -> _T:
    """A JSON text as a record.

    Raises:
        Unavailable: it is not one; ``what`` names the question in the message.
    """
    try:
        return of.validate_python(json.loads(body))
    except (ValueError, RecursionError) as error:  # ValidationError is a ValueError
        kind = "fields missing or wrong" if isinstance(error, ValidationError) else "not JSON"
        raise _no_answer(f"the forge's answer to {what} is unusable: {kind}") from None


def _message(body: bytes) -> str:
    """The forge's own message of an error, shortened; shown to people only."""
    try:
        return str(json.loads(body).get("message", ""))[:300]
    except (ValueError, AttributeError, RecursionError):
        return "no message"


def _no_answer(what: str, remedy: str | None = None) -> Unavailable:
    return Unavailable(Dependency.FORGE, what, remedy=remedy)
