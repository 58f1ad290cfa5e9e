"""Requests to a provider's API: each is sent once, its answer is bounded, and what fails says what it proves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from dispatcher.errors import Misconfigured, reason_of
from dispatcher.provision.provider import ProviderBusy, ProviderUnclear

TIMEOUT_S = 30.0
_ANSWER_LIMIT = 16 * 2**20


class Raw(NamedTuple):
    """An answer as it came: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    text: bytes


class HttpClient:
    """Sends requests over HTTP, and follows no redirect.

    Args:
        base_url: of the API.
        name: of the provider, for messages.
        headers: of every request.
        busy, unclear: the adapter's own errors.
        timeout_s: seconds for each step of a request.
        transport: in place of the network.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._name, self._busy, self._unclear = name, busy, unclear
        self._client = httpx.Client(
            base_url=base_url,
            headers={**headers, "Accept": "application/json", "User-Agent": "disinto"},
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
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
            ProviderUnclear: (as ``unclear``) no answer, or one that is too large.
        """
        try:
            with self._client.stream(method, path, params=params, json=body) as answer:
                return Raw(answer.status_code, answer.headers, _bounded(answer))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._busy(f"{self._name} cannot be reached: {reason_of(error)}") from None
        except httpx.HTTPError as error:
            late = isinstance(error, httpx.TimeoutException)
            why = "no answer in time" if late else type(error).__name__
            raise self._unclear(f"{self._name} did not answer {what}: {why}") from None


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


def _bounded(answer: httpx.Response) -> bytes:
    text = bytearray()
    for part in answer.iter_bytes():
        text += part
        if len(text) > _ANSWER_LIMIT:
            raise httpx.ReadError("too large")
    return bytes(text)
