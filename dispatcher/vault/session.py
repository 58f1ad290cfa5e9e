"""A logged-in connection to Vault or OpenBao: log-in, renewal, and the errors of a call.

Renewal happens before a call, when a third or less of the token's time is left; a daemon thread
does the same while nobody calls, since a token without a log-in behind it cannot be got back once
it has ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dispatcher.errors import (
    Denied,
    Dependency,
    DisintoError,
    PermanentError,
    Unavailable,
)
from dispatcher.settings import VaultAuth, VaultSettings
from dispatcher.vault import login
from dispatcher.vault.http import Reply, VaultHttp

SOON_S = 24 * 3600
"""A token that ends within this many seconds and cannot be renewed is worth a warning."""

_APPLY = "Run `disinto apply` with an operator's token, so that the right exists."
_OPERATOR = (
    "This command wants an operator's token in VAULT_TOKEN; the dispatcher's own may not do this."
)


class Rejected(PermanentError):
    """The server understood the request and rejects it: 400, 404 or 405.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, what: str, *, status: int, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class VaultHealth:
    """How the server and our log-in stand.

    Attributes:
        reachable: the server answered.
        sealed: it answered, and is sealed.
        version: the server's version, or "".
        token_ttl_s: seconds that our token still lives; None where it never ends or is unknown.
        renewable: whether our token can be made to live longer, by renewal or a new log-in.
        problem: what is wrong, or will be soon, in words; "" where nothing is.
    """

    reachable: bool
    sealed: bool = False
    version: str = ""
    token_ttl_s: int | None = None
    renewable: bool = False
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """The token in use. Times are of ``time.monotonic``."""

    token: str = field(repr=False)
    granted_s: float
    ends_at: float | None
    renewable: bool
    due_at: float

    @classmethod
    def of(cls, got: login.Login, now: float) -> _Held:
        if not got.ttl_s:
            return cls(
                token=got.token, granted_s=0, ends_at=None, renewable=False, due_at=float("inf")
            )
        return cls(
            token=got.token,
            granted_s=got.ttl_s,
            ends_at=now + got.ttl_s,
            renewable=got.renewable,
            due_at=now + got.ttl_s * 2 / 3,
        )

    def left_s(self, now: float) -> float:
        return float("inf") if self.ends_at is None else self.ends_at - now

    def later(self, now: float) -> _Held:
        """The same, looked at again after a quarter of what is left, or ten seconds."""
        return replace(self, due_at=now + max(0.2, min(10.0, self.left_s(now) / 4)))


class Vault:
    """A logged-in connection. Thread-safe; logs in at the first call.

    Log-in is by token (``VAULT_TOKEN``, ``token_file`` or ``~/.vault-token``), AppRole or JWT, as
    the settings say; files are read again at each log-in.
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
            connections: kept open at most; more threads open more, which are not kept.
            operator: whether a person acts; only remedies differ.

        Raises:
            Misconfigured: an address or file that cannot be right.
        """
        self.settings = settings
        self.addr = settings.addr.rstrip("/")
        self._operator = operator
        self._environ = {name: environ[name] for name in ("VAULT_TOKEN", "HOME") if name in environ}
        self._http = VaultHttp(settings, connections=connections)
        self._held: _Held | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None

    @classmethod
    def of_operator(cls, settings: VaultSettings, *, environ: Mapping[str, str]) -> Vault:
        """The connection of the person at the keyboard: by ``VAULT_TOKEN`` or ``~/.vault-token``,
        whatever the way in which ``serve`` logs in.
        """
        own = settings.model_copy(update={"auth": VaultAuth.TOKEN, "token_file": None})
        return cls(own, environ=environ, operator=True)

    def __repr__(self) -> str:
        return f"Vault({self.addr!r}, auth={self.settings.auth.value!r})"

    def close(self) -> None:
        """Ends the renewal and the connections. The token is left to its time."""
        self._stop.set()
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

        A token that turns out to be dead is replaced by a new log-in, once.

        Args:
            method: ``GET``, ``POST``, ``LIST``, …
            path: below ``/v1/``.
            body: sent as JSON.
            wrap_ttl_s: have the answer wrapped, for so many seconds.
            allow: statuses that are returned and not raised, such as 404.

        Raises:
            Unavailable: the server cannot be asked now.
            Denied: it refuses our rights, or our log-in.
            Rejected: it rejects the request.
        """
        held = self._ensured()
        reply = self._send(held, method, path, body, wrap_ttl_s)
        if reply.status == 403 and not self._alive(held):
            held = self._replaced(held)
            reply = self._send(held, method, path, body, wrap_ttl_s)
        if reply.ok or reply.status in allow:
            return reply
        if reply.status == 403:
            raise Denied(
                Dependency.VAULT,
                f"Vault at {self.addr} refuses {method} {path}: permission denied for this token",
                remedy=_OPERATOR if self._operator else _APPLY,
            )
        raise Rejected(
            f"Vault at {self.addr} rejects {method} {path} (HTTP {reply.status}"
            f"{': ' + reply.errors if reply.errors else ''})",
            status=reply.status,
        )

    def health(self) -> VaultHealth:
        """How the server and our log-in stand. Never raises."""
        try:
            seen = self._http.request(
                "GET",
                "sys/health?standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200",
                namespaced=False,
            ).body
        except DisintoError as error:
            return VaultHealth(reachable=False, problem=str(error))
        version = str(seen.get("version", ""))
        if not seen.get("initialized", True) or seen.get("sealed", False):
            state = "sealed" if seen.get("initialized", True) else "not initialized"
            return VaultHealth(
                reachable=True, sealed=True, version=version, problem=f"Vault is {state}"
            )
        try:
            token = self.call("GET", "auth/token/lookup-self").data
        except DisintoError as error:
            return VaultHealth(reachable=True, version=version, problem=str(error))
        return self._token_health(version, token)

    def _token_health(self, version: str, token: Mapping[str, Any]) -> VaultHealth:
        ttl = int(token.get("ttl") or 0) or None
        renewable = (
            ttl is None or bool(token.get("renewable")) or self.settings.auth is not VaultAuth.TOKEN
        )
        problem = ""
        if ttl is not None and ttl <= SOON_S:
            limit = int(token.get("explicit_max_ttl") or 0)
            if not renewable:
                problem = f"our Vault token ends in {ttl} s and cannot be renewed"
            elif limit and self.settings.auth is VaultAuth.TOKEN:
                left = int(token.get("creation_time") or 0) + limit - int(time.time())
                if left <= SOON_S:
                    problem = f"our Vault token ends for good in {max(left, 0)} s"
        return VaultHealth(
            reachable=True, version=version, token_ttl_s=ttl, renewable=renewable, problem=problem
        )

    # -- the token -------------------------------------------------------------------------

    def _send(
        self,
        held: _Held,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        wrap_ttl_s: int | None,
    ) -> Reply:
        return self._http.request(method, path, body, token=held.token, wrap_ttl_s=wrap_ttl_s)

    def _alive(self, held: _Held) -> bool:
        """Whether the server knows this token still: it says 403 to a dead one and to a right
        that is missing alike."""
        return self._http.request("GET", "auth/token/lookup-self", token=held.token).ok

    def _ensured(self) -> _Held:
        """The token in use, renewed or replaced when that is due."""
        held = self._held
        now = time.monotonic()
        if held is not None and now < held.due_at:
            return held
        # While another thread renews, a token that still lives is good enough.
        if held is not None and held.left_s(now) > 0 and self._lock.locked():
            return held
        with self._lock:
            held = self._held
            if held is None:
                held = self._logged_in()
            elif time.monotonic() >= held.due_at:
                held = self._renewed(held)
            self._held = held
        self._keep(held)
        return held

    def _logged_in(self) -> _Held:
        return _Held.of(
            login.log_in(self._http, self.settings, self._environ, operator=self._operator),
            time.monotonic(),
        )

    def _replaced(self, dead: _Held) -> _Held:
        """A new log-in instead of a token that the server does not know any more."""
        with self._lock:
            if self._held is None or self._held.token == dead.token:
                self._held = None
                self._held = self._logged_in()
            return self._held

    def _renewed(self, held: _Held) -> _Held:
        now = time.monotonic()
        left = held.left_s(now)
        try:
            if left > 0 and held.renewable:
                renewed = self._renewal(held)
                # At its maximal time a token is renewed to no later end; only a log-in helps.
                if renewed is not None and renewed.left_s(now) > left + 0.1 * held.granted_s:
                    return renewed
            return self._logged_in_again(held, now)
        except Unavailable:
            if left <= 0:
                raise
            return held.later(now)

    def _renewal(self, held: _Held) -> _Held | None:
        """Our token with a later end, or None where the server will not have it."""
        now = time.monotonic()
        reply = self._http.request("POST", "auth/token/renew-self", {}, token=held.token)
        auth = reply.body.get("auth")
        if not reply.ok or not auth:
            return None
        return _Held.of(
            login.Login(
                token=held.token,
                ttl_s=float(auth.get("lease_duration") or 0),
                renewable=bool(auth.get("renewable")),
            ),
            now,
        )

    def _logged_in_again(self, held: _Held, now: float) -> _Held:
        try:
            fresh = self._logged_in()
        except PermanentError:
            if held.left_s(now) <= 0:
                raise
            return held.later(now)
        # The same token from the same file gives no new time.
        return replace(fresh, due_at=held.later(now).due_at) if fresh.token == held.token else fresh

    def _keep(self, held: _Held) -> None:
        """Start the thread that renews while nobody calls, if the token ever ends."""
        if held.ends_at is None or self._keeper is not None or self._stop.is_set():
            return
        with self._lock:
            if self._keeper is None:
                self._keeper = threading.Thread(
                    target=_keep_alive,
                    args=(weakref.ref(self), self._stop),
                    name="vault-token",
                    daemon=True,
                )
                self._keeper.start()

    def _due_in_s(self) -> float:
        held = self._held
        return 5.0 if held is None else held.due_at - time.monotonic()


def _keep_alive(vault: weakref.ref[Vault], stop: threading.Event) -> None:
    """Renew until the connection is closed or nobody holds it any more."""
    pause = 0.0
    while not stop.wait(pause):
        alive = vault()
        if alive is None:
            return
        # What went wrong is said to whoever calls next, and by health().
        with contextlib.suppress(DisintoError):
            alive._ensured()
        pause = min(max(alive._due_in_s(), 0.2), 60.0)
        del alive
