"""HTTP to Vault or OpenBao: one pool of connections, one set of timeouts, TLS and namespace.

Every request goes through here, hvac's too (``hvac_client``). hvac's own transport, ``requests``,
would by default follow redirects, use a proxy of the environment and trust another set of CAs, and
costs 0.65 ms of CPU per call, where urllib3 costs 0.3 ms and httpx 0.55 ms; every run makes four.
Those calls do without hvac altogether, so that what never administers need not import it.

Log-in is not done here; see ``session``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3

from dispatcher.errors import Misconfigured
from dispatcher.settings import VaultSettings
from dispatcher.vault import errors

_RETURNED = frozenset({400, 403, 404, 405, 412})


def _empty() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer of the server. Its body may hold tokens and stays out of ``repr``.

    Attributes:
        status: 2xx, or one of 400, 403, 404, 405, 412.
        body: the JSON object, empty for an answer without one.
    """

    status: int
    body: Mapping[str, Any] = field(repr=False, default_factory=_empty)

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return self.status < 300

    @property
    def data(self) -> Mapping[str, Any]:
        """The part ``data``; empty if there is none."""
        return self.body.get("data") or {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the server warns of, in its words."""
        return tuple(self.body.get("warnings") or ())

    @property
    def errors(self) -> str:
        """The server's description of what went wrong, in one line, without anything like a token."""
        return errors.errors_of(self.body)


class VaultHttp:
    """Requests to one server. Thread-safe; connections are kept and reused."""

    def __init__(self, settings: VaultSettings, *, connections: int) -> None:
        """Raises ``Misconfigured`` for an address or CA file that cannot be right."""
        self.addr = settings.addr.rstrip("/")
        parts = urlsplit(self.addr)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise Misconfigured(
                f"the Vault address {_shown(self.addr)!r} is not of the form https://host:port",
                remedy="Set [vault] addr or VAULT_ADDR.",
            )
        if settings.cacert is not None and not settings.cacert.is_file():
            raise Misconfigured(
                f"the CA certificate {settings.cacert} of Vault is not a file",
                remedy="Set [vault] cacert or VAULT_CACERT.",
            )
        self._namespace = settings.namespace.strip("/")
        self._timeout_s = settings.timeout_s
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            # Never retried here: the callers know which call may be made twice. Never
            # redirected: the token would travel to whatever address the answer names.
            retries=False,
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            ca_certs=str(settings.cacert) if settings.cacert else None,
        )

    def __repr__(self) -> str:
        return f"VaultHttp({self.addr!r})"

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str = "",
        wrap_ttl_s: int | None = None,
        namespaced: bool = True,
    ) -> Reply:
        """One request to ``/v1/<path>``.

        Returns:
            The answer, also if it refuses (400, 403, 404, 405, 412).

        Raises:
            Unavailable: no connection, a timeout, sealed, overloaded, any other 5xx, an answer
                that is not Vault's.
        """
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if self._namespace and namespaced:
            headers["X-Vault-Namespace"] = self._namespace
        if wrap_ttl_s is not None:
            headers["X-Vault-Wrap-TTL"] = f"{wrap_ttl_s}s"
        try:
            answer = self._pool.request(
                method, f"{self.addr}/v1/{path}", headers=headers, json=body
            )
        except urllib3.exceptions.HTTPError as error:
            raise errors.unreachable(self.addr, error, timeout_s=self._timeout_s) from None
        request = f"{method} {path}"
        if 300 <= answer.status < 400:
            location = answer.headers.get("Location", "")
            raise errors.redirected(self.addr, request, answer.status, location)
        return self._parsed(request, answer.status, answer.data)

    def _parsed(self, request: str, status: int, raw: bytes) -> Reply:
        try:
            body = json.loads(raw) if raw.strip() else {}
        except ValueError:
            body = None
        if status >= 300 and status not in _RETURNED:
            raise errors.failed(self.addr, request, status, body)
        if not isinstance(body, dict):
            raise errors.not_vault(self.addr, request, status)
        return Reply(status=status, body=body)


def _shown(addr: str) -> str:
    """An address without the credentials that somebody wrote into it."""
    return re.sub(r"//[^/@]*@", "//[credentials]@", addr)
