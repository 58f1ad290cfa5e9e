"""A logged-in connection to Vault or OpenBao: requests with our token, and the errors of a call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dispatcher.settings import VaultAuth, VaultSettings
from dispatcher.vault import errors, health
from dispatcher.vault.http import Reply, VaultHttp
from dispatcher.vault.login import LogIn
from dispatcher.vault.token import HeldToken, TokenKeeper


class Vault:
    """A logged-in connection. Thread-safe; logs in at the first call.

    Log-in is by token (``VAULT_TOKEN``, ``token_file`` or ``~/.vault-token``), AppRole or JWT, as
    the settings say; files are read again at each login.
    """

    def __init__(
        self,
        settings: VaultSettings,
        *,
        environ: Mapping[str, str],
        connections: int = 8,
        operator: bool = False,
    ) -> None:
        """Opens no connection.

        Args:
            settings: where the server is, and how to log in.
            environ: of the process; read for the token alone.
            connections: maximum kept open; more threads open more, which are not kept.
            operator: whether a person acts; only remedies differ.

        Raises:
            Misconfigured: an address or file that cannot be right.
        """
        self.settings = settings
        self.addr = settings.addr.rstrip("/")
        self._operator = operator
        self._http = VaultHttp(settings, connections=connections)
        self._token = TokenKeeper(LogIn(self._http, settings, environ, operator=operator))

    @classmethod
    def of_operator(cls, settings: VaultSettings, *, environ: Mapping[str, str]) -> Vault:
        """The connection of the person at the keyboard: by ``VAULT_TOKEN`` or ``~/.vault-token``,
        whatever the login of ``serve``.
        """
        own = settings.model_copy(update={"auth": VaultAuth.TOKEN, "token_file": None})
        return cls(own, environ=environ, operator=True)

    def __repr__(self) -> str:
        return f"Vault({self.addr!r}, auth={self.settings.auth.value!r})"

    def close(self) -> None:
        """End the renewal and the connections. The token expires by itself."""
        self._token.close()
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        wrap_ttl_s: int | None = None,
        allow: Collection[int] = (),
    ) -> Reply:
        """One request with our token.

        A token that turns out to be dead is replaced by a new login, once.

        Args:
            method: ``GET``, ``POST``, ``LIST``, …
            path: below ``/v1/``.
            body: sent as JSON.
            wrap_ttl_s: have the answer wrapped, for so many seconds.
            allow: statuses that are returned and not raised, such as 404.

        Raises:
            Unavailable: the server gives no usable answer.
            Denied: it denies permission, or rejects our login.
            Rejected: it rejects the request.
        """
        held = self._token.current()
        reply = self._send(held, method, path, body, wrap_ttl_s)
        if reply.status == 403 and not self._alive(held):
            held = self._token.replaced(held)
            reply = self._send(held, method, path, body, wrap_ttl_s)
        if reply.ok or reply.status in allow:
            return reply
        request = f"{method} {path}"
        if reply.status == 403:
            raise errors.denied(self.addr, request, operator=self._operator)
        raise errors.rejected(self.addr, request, reply.status, reply.errors)

    def health(self) -> health.VaultHealth:
        """Health of the server and of our login. Never raises."""
        return health.check_health(self, self._http)

    def server_time(self) -> float:
        """The server's clock, seconds since the epoch. Needs no token.

        Raises:
            Unavailable: the server does not answer, or does not say.
        """
        return health.server_time(self._http)

    def _send(
        self,
        held: HeldToken,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        wrap_ttl_s: int | None,
    ) -> Reply:
        return self._http.request(method, path, body, token=held.token, wrap_ttl_s=wrap_ttl_s)

    def _alive(self, held: HeldToken) -> bool:
        """Whether the server still knows this token: a dead one and a missing right are both 403."""
        return self._http.request("GET", "auth/token/lookup-self", token=held.token).ok
