"""The four questions a runner asks Vault, over the standard library alone.

``hvac`` would cost each run 90 ms of CPU. What this client must know that others need not: whether
a failed request may have reached the server, because the unwrap must never be sent twice.
"""

from __future__ import annotations

import http.client
import json
import os
from typing import Any
from urllib.parse import quote, urlsplit

from dispatcher.errors import Dependency, Misconfigured, Unavailable, origin_of, reason_of

TIMEOUT_S = 10.0
_MAX_REPLY = 8 * 1024 * 1024


class NotSent(Unavailable):
    """No connection could be made: the server cannot have seen the request."""


class AnswerLost(Unavailable):
    """The request was sent, and its result is unknown."""


class Redirected(Misconfigured):
    """Vault answered with a redirect, which is never followed: the token would go along."""


class Reply:
    """Status and JSON of an answer, whatever the status.

    Attributes:
        status: HTTP status.
        body: the JSON object, {} where there is none.
    """

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.body = body

    @property
    def busy(self) -> bool:
        """True if the server did not process it for now: sealed, standby, rate limited."""
        return self.status in (412, 429, 472, 473, 503)

    def get(self, *path: str) -> Any:
        """A value within the body, or None."""
        value: Any = self.body
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value


class VaultClient:
    """One kept connection to one address.

    Args:
        addr: ``http://`` or ``https://`` address, as VAULT_ADDR.
        namespace: sent as X-Vault-Namespace, or "".
        cacert: file with the CA certificate, or "" for those of the system (SSL_CERT_FILE).

    Raises:
        Misconfigured: the address is none.
    """

    def __init__(self, addr: str, *, namespace: str = "", cacert: str = "") -> None:
        self._headers = {"X-Vault-Request": "true"}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace
        self._cacert = cacert
        parts = urlsplit(addr)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Misconfigured(
                f"the address of Vault is {addr!r}",
                remedy="Set [vault] addr (or runner_addr) to an http:// or https:// address.",
            )
        self._address = f"{parts.scheme}://{parts.netloc}"
        self._base = parts.path.rstrip("/") + "/v1/"
        self._connection = self._connection_to(parts.scheme, parts.hostname, parts.port)

    def _connection_to(
        self, scheme: str, host: str, port: int | None
    ) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        import ssl

        try:
            context = ssl.create_default_context(cafile=self._cacert or None)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(
                f"the CA file of Vault {self._cacert} cannot be used: {reason_of(error)}",
                remedy="VAULT_CACERT must name a readable PEM file.",
            ) from None
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)

    def request(
        self, method: str, path: str, *, token: str = "", body: dict[str, Any] | None = None
    ) -> Reply:
        """Send once. A redirect is not followed: it would send the token to the address it names.

        Args:
            path: below ``/v1/``, not yet percent-encoded.

        Raises:
            NotSent: the server cannot have seen it.
            AnswerLost: the server may have seen it.
            Redirected: the server did not work on it, and named another.
        """
        headers = dict(self._headers)
        if token:
            headers["X-Vault-Token"] = token
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        status, location, text = self._exchange(method, self._base + quote(path), data, headers)
        if 300 <= status < 400:
            self.close()
            raise Redirected(
                f"Vault at {self._address} answered with a redirect to {origin_of(location)} "
                f"(HTTP {status}), which is not followed",
                remedy="Set [vault] addr (or runner_addr) to that address if it is Vault's.",
            )
        return Reply(status, _json_object(text))

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        connection = self._connection
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                self.close()
                why = reason_of(error)
                raise NotSent(
                    Dependency.VAULT, f"Vault at {self._address} cannot be reached: {why}"
                ) from None
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read(_MAX_REPLY)
            if answer.will_close:
                self.close()
            return answer.status, answer.getheader("Location", ""), text
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise AnswerLost(
                Dependency.VAULT,
                f"Vault at {self._address} did not answer ({type(error).__name__})",
            ) from None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def ca_file() -> str:
    """The CA file named by the environment, or ""."""
    return os.environ.get("VAULT_CACERT", "")
