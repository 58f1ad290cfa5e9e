"""One HTTP request to a sink: bounded in time and size, TLS verified, no redirect followed."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from dispatcher.errors import Misconfigured, origin_of, reason_of
from dispatcher.host.deadline import PARTS, deadline
from dispatcher.notify.base import MessageRefused, SinkUnavailable

ANSWER_LIMIT = 4_096
"""Maximum bytes of an answer that are read."""

LONGEST_RETRY_AFTER_S = 3_600.0

_OF_THE_MESSAGE = frozenset({400, 413, 415, 422})
"""Status codes that are about this message, not about the sender or the address."""


@dataclass(frozen=True, kw_only=True)
class HttpSink:
    """Sends requests of one sink.

    Attributes:
        sink: its name, for messages.
        cacert: CA certificate file; None for the system's.
        timeout_s: seconds to wait for each part of an answer.
    """

    sink: str
    cacert: Path | None
    timeout_s: float

    def exchange(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes) -> None:
        """Send a request whose answer must be a 2xx.

        Raises:
            SinkUnavailable: no answer, or one that is about more than this message.
            MessageRefused: an answer that is about this message.
            Misconfigured: the CA certificate cannot be read, or the address is none.
        """
        try:
            status, answered, answer = self._exchange(method, url, headers, body)
        except httpx.InvalidURL as error:
            raise Misconfigured(f"[[notify]] {self.sink}: the address cannot be used") from error
        except httpx.HTTPError as error:
            late = isinstance(error, httpx.TimeoutException)
            why = f"no answer within {self.timeout_s:g} s" if late else reason_of(error)
            raise SinkUnavailable(f"the server did not answer: {why}") from None
        if 200 <= status < 300:
            return
        what = f"the server answered {status}"
        if status in _OF_THE_MESSAGE:
            raise MessageRefused(what)
        if 300 <= status < 400:
            target = origin_of(answered.get("location", ""))
            raise SinkUnavailable(
                f"{what}, a redirect to {target}, which is not followed",
                remedy="Set the final address.",
            )
        raise SinkUnavailable(what, retry_after_s=_retry_after(answered, answer))

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, httpx.Headers, bytes]:
        with (
            deadline(PARTS * self.timeout_s) as limit,
            httpx.Client(
                verify=trust(self.sink, self.cacert),
                timeout=self.timeout_s,
                follow_redirects=False,
            ) as client,
            client.stream(
                method,
                url,
                headers={"User-Agent": "disinto", **headers},
                content=body,
                extensions={"trace": limit.trace},
            ) as answer,
        ):
            return answer.status_code, answer.headers, _read(answer)


def trust(sink: str, cacert: Path | None) -> ssl.SSLContext:
    """The TLS context with the trusted certificates.

    Raises:
        Misconfigured: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=str(cacert) if cacert else None)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"[[notify]] {sink}: cacert {cacert} cannot be read: {reason_of(error)}"
        ) from error


def _read(answer: httpx.Response) -> bytes:
    """The beginning of the answer, which is never shown to anybody."""
    read = b""
    for chunk in answer.iter_raw():
        read += chunk
        if len(read) >= ANSWER_LIMIT:
            break
    return read[:ANSWER_LIMIT]


def _retry_after(headers: httpx.Headers, answer: bytes) -> float:
    """The back-off that the server requests, in seconds: by RFC 9110, or in Matrix's answer."""
    wanted = 0.0
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        wanted = float(json.loads(answer)["retry_after_ms"]) / 1000
    with suppress(ValueError):
        wanted = float(headers.get("retry-after", ""))
    return min(max(wanted, 0.0), LONGEST_RETRY_AFTER_S) if wanted == wanted else 0.0  # noqa: PLR0124
