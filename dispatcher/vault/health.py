"""Health of the server and of our login, for ``disinto status``, ``/healthz`` and the doctor."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dispatcher.errors import Dependency, DisintoError, Unavailable
from dispatcher.settings import VaultAuth
from dispatcher.vault.http import VaultHttp

if TYPE_CHECKING:
    from dispatcher.vault.session import Vault

SOON_S = 24 * 3600
"""A token that ends within this many seconds and cannot be renewed is worth a warning."""

# Every state of the server that it can report is a 200.
_HEALTH = "sys/health?standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200"


@dataclass(frozen=True, kw_only=True, slots=True)
class VaultHealth:
    """Health of the server and of our login.

    Attributes:
        reachable: the server answered.
        sealed: it answered, and is sealed.
        version: the server's version, or "".
        token_ttl_s: seconds that our token still lives; None if it never ends or is unknown.
        renewable: whether our token can be made to live longer, by renewal or a new login.
        problem: the present or imminent problem, in words; "" if there is none.
    """

    reachable: bool
    sealed: bool = False
    version: str = ""
    token_ttl_s: int | None = None
    renewable: bool = False
    problem: str = ""


def server_time(http: VaultHttp) -> float:
    """The server's clock, seconds since the epoch.

    Raises:
        Unavailable: the server does not answer, or does not say.
    """
    try:
        return float(http.request("GET", _HEALTH, namespaced=False).body["server_time_utc"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(Dependency.VAULT, "Vault does not report its time") from error


def check_health(vault: Vault, http: VaultHttp) -> VaultHealth:
    """Query the server, then our token. Never raises.

    Args:
        vault: the logged-in connection.
        http: to the same server; its state needs no token and is outside of namespaces.
    """
    try:
        server = http.request("GET", _HEALTH, namespaced=False).body
    except DisintoError as error:
        return VaultHealth(reachable=False, problem=str(error))
    version = str(server.get("version", ""))
    if not server.get("initialized", True) or server.get("sealed", False):
        state = "sealed" if server.get("initialized", True) else "not initialized"
        return VaultHealth(
            reachable=True, sealed=True, version=version, problem=f"Vault is {state}"
        )
    try:
        token = vault.call("GET", "auth/token/lookup-self").data
    except DisintoError as error:
        return VaultHealth(reachable=True, version=version, problem=str(error))
    return _token_health(version, token, vault.settings.auth)


def _token_health(version: str, token: Mapping[str, Any], auth: VaultAuth) -> VaultHealth:
    ttl = int(token.get("ttl") or 0) or None
    renewable = ttl is None or bool(token.get("renewable")) or auth is not VaultAuth.TOKEN
    problem = ""
    if ttl is not None and ttl <= SOON_S:
        limit = int(token.get("explicit_max_ttl") or 0)
        if not renewable:
            problem = f"the Vault token expires in {ttl} s and cannot be renewed"
        elif limit and auth is VaultAuth.TOKEN:
            left = int(token.get("creation_time") or 0) + limit - int(time.time())
            if left <= SOON_S:
                problem = f"the Vault token reaches its maximum TTL in {max(left, 0)} s"
    return VaultHealth(
        reachable=True, version=version, token_ttl_s=ttl, renewable=renewable, problem=problem
    )
