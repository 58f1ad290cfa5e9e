"""Requests to a provider's API: each is sent once, its answer is bounded in size and in time as a whole, and
what fails says what it proves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpx

from dispatcher.errors import Misconfigured, reason_of
from dispatcher.host.deadline import Deadline, deadline
from dispatcher.provision.provider import ProviderBusy, ProviderUnclear

TIMEOUT_S = 30.0
"""Seconds for each step of a request: the connection, and each wait for more of the answer."""

TOTAL_S = 60.0
"""Seconds from the connection to the end of the answer."""

_ANSWER_LIMIT = 16 * 2**20
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*", re.ASCII)  # fmt: skip


class Raw(NamedTuple):
    """An answer as it came: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    text: bytes


class HttpClient:
    """Sends requests over HTTP, and follows no redirect.

    Args:
        base_url: of the API; see ``check_url``.
        name: of the provider, for messages.
        headers: of every request.
        busy, unclear: the adapter's own errors.
        timeout_s, total_s: see ``TIMEOUT_S`` and ``TOTAL_S``.
        transport: in place of the network.

    Raises:
        Misconfigured: the address is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        headers: Mapping[str, str],
        busy: type[ProviderBusy],
        unclear: type[ProviderUnclear],
        timeout_s: float = TIMEOUT_S,
        total_s: float = TOTAL_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._name, self._busy, self._unclear = name, busy, unclear
        self._total_s = total_s
        try:
            check_url(base_url)
        except ValueError as error:
            raise Misconfigured(f"the address of {name}'s API: {error}") from None
        self._client = httpx.Client(
            base_url=base_url,
            headers={**headers, "Accept": "application/json", "User-Agent": "disinto"},
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            # The deadline watches connections that are opened; so none is used again.
            limits=httpx.Limits(max_keepalive_connections=0),
            transport=transport,
        )

    def send(
        self,
        method: str,
        path: str,
        *,
        what: str,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Raw:
        """Send once.

        Args:
            what: the request, for messages.

        Raises:
            ProviderBusy: (as ``busy``) there is no connection, so nothing was done.
            ProviderUnclear: (as ``unclear``) no answer in time, or one that is too large.
        """
        with deadline(self._total_s) as limit:
            trace = {"trace": limit.trace}
            try:
                with self._client.stream(
                    method, path, params=params, json=body, extensions=trace
                ) as answer:
                    return Raw(answer.status_code, answer.headers, _bounded(answer, limit))
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                raise self._busy(f"{self._name} cannot be reached: {reason_of(error)}") from None
            except httpx.HTTPError as error:
                late = limit.over or isinstance(error, httpx.TimeoutException)
                why = "no answer in time" if late else type(error).__name__
                raise self._unclear(f"{self._name} did not answer {what}: {why}") from None


def check_url(text: str) -> str:
    """The address of an API, as it is.

    Raises:
        ValueError: it is none, in words.
    """
    try:
        known = re.fullmatch("[!-~]{1,2000}", text) is not None and _is_base(urlsplit(text))
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"{text[:100]!r} is not an address such as https://api.example.com")
    return text


def _is_base(parts: SplitResult) -> bool:
    """Whether paths can be put after it.

    Raises:
        ValueError: its port, or what is in brackets, is none.
    """
    host = parts.hostname or ""
    known = bool(ip_address(host)) if ":" in host else _HOST.fullmatch(host) is not None
    plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("https", "http") and known and plain and parts.port != 0


def sendable(token: str, *, name: str, noun: str) -> str:
    """A token without the white space around it.

    Args:
        name: of the secret that holds it.
        noun: what the provider calls it, with its article.

    Raises:
        Misconfigured: it cannot be sent in a header.
    """
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise Misconfigured(
            f"{name} is not {noun}", remedy=f"Store one: disinto secrets put {name}"
        )
    return token


def header_number(headers: Mapping[str, str], name: str) -> int | None:
    """A header that is a whole number; None for any other."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _bounded(answer: httpx.Response, limit: Deadline) -> bytes:
    text = bytearray()
    for part in answer.iter_bytes():
        text += part
        if len(text) > _ANSWER_LIMIT:
            raise httpx.ReadError("too large")
    if limit.over:  # an answer without a length ends with its connection
        raise httpx.ReadTimeout("too late")
    return bytes(text)
