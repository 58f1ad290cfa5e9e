"""HTTP to Vault or OpenBao: one pool of connections, and the one place where answers become errors.

Over urllib3 rather than hvac, for two reasons that were measured: a call costs 0.3 ms of CPU
against hvac's 0.65 ms and httpx's 0.55 ms, with four calls in every run, and the import costs 65 ms
against 105 ms. And hvac's exceptions carry the text of the answer, in which tokens can be.

Nothing here knows of log-in; see ``dispatcher.vault.session``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3

from dispatcher.errors import Dependency, Misconfigured, Unavailable, origin_of, reason_of
from dispatcher.settings import VaultSettings

_TOKENS = re.compile(r"\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}|\beyJ[A-Za-z0-9_.-]{20,}")
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
        return self.status < 300

    @property
    def data(self) -> Mapping[str, Any]:
        """The part ``data``; empty where there is none."""
        return self.body.get("data") or {}

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self.body.get("warnings") or ())

    @property
    def errors(self) -> str:
        """What the server says went wrong, in one line, without anything like a token."""
        return errors_of(self.body)


def errors_of(body: Mapping[str, Any]) -> str:
    """The ``errors`` of an answer in one line, without anything like a token."""
    text = "; ".join(str(error) for error in body.get("errors") or ())
    return _TOKENS.sub("[token]", " ".join(text.split()))


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
            # Never repeated here: the callers know which call may be made twice. Never
            # redirected: the token would travel to whatever address the answer names.
            retries=False,
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            ca_certs=str(settings.cacert) if settings.cacert else None,
        )

    def __repr__(self) -> str:
        return f"VaultHttp({self.addr!r})"

    def close(self) -> None:
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
            The answer, also where it refuses (400, 403, 404, 405, 412).

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
            raise self._unreachable(error) from None
        if 300 <= answer.status < 400:
            target = origin_of(answer.headers.get("Location", ""))
            raise Unavailable(
                Dependency.VAULT,
                f"Vault at {self.addr} answered {method} {path} with a redirect to {target} "
                f"(HTTP {answer.status}), which is not followed",
                remedy="Set [vault] addr to that address if it is Vault's.",
            )
        return self._parsed(method, path, answer.status, answer.data)

    def _parsed(self, method: str, path: str, status: int, raw: bytes) -> Reply:
        try:
            body = json.loads(raw) if raw.strip() else {}
        except ValueError:
            body = None
        if status >= 300 and status not in _RETURNED:
            said = errors_of(body) if isinstance(body, dict) else ""
            raise Unavailable(Dependency.VAULT, self._failure(method, path, status, said))
        if not isinstance(body, dict):
            raise Unavailable(
                Dependency.VAULT,
                f"{self.addr} answered {method} {path} (HTTP {status}) with something that is "
                "not Vault's JSON",
                remedy="Check [vault] addr.",
            )
        return Reply(status=status, body=body)

    def _failure(self, method: str, path: str, status: int, said: str) -> str:
        if status == 503 and "sealed" in said.lower():
            return f"Vault at {self.addr} is sealed"
        if status == 429:
            return f"Vault at {self.addr} limits our rate (HTTP 429 for {method} {path})"
        return (
            f"Vault at {self.addr} failed {method} {path} (HTTP {status}{': ' * bool(said)}{said})"
        )

    def _unreachable(self, error: urllib3.exceptions.HTTPError) -> Unavailable:
        reason: BaseException = getattr(error, "reason", None) or error
        refused = isinstance(reason, urllib3.exceptions.NewConnectionError)  # a TimeoutError, too
        if isinstance(reason, urllib3.exceptions.TimeoutError) and not refused:
            said = f"did not answer within {self._timeout_s:g} s"
        elif isinstance(reason, urllib3.exceptions.SSLError) or "SSL" in type(reason).__name__:
            return Unavailable(
                Dependency.VAULT,
                f"no trusted connection to Vault at {self.addr}: {_cause(reason)}",
                remedy=_tls_remedy(str(reason)),
            )
        else:
            said = f"cannot be reached ({_cause(reason)})"
        return Unavailable(Dependency.VAULT, f"Vault at {self.addr} {said}")


def _cause(reason: BaseException) -> str:
    return reason_of(reason).rpartition(": ")[2] or type(reason).__name__


def _tls_remedy(reason: str) -> str:
    if re.search(r"wrong.version.number|record layer failure|http request", reason, re.IGNORECASE):
        return "It speaks plain http at this address: set [vault] addr or VAULT_ADDR to http://…"
    return "Set [vault] cacert or VAULT_CACERT to the CA that signed its certificate."


def _shown(addr: str) -> str:
    """An address without the credentials that somebody wrote into it."""
    return re.sub(r"//[^/@]*@", "//[credentials]@", addr)
