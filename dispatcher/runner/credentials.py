"""Obtains the secrets' values from the wrapping token, or the reason why the formula must not
start.

The order is the fence: where the token was minted, one unwrap, a look at ourselves with what came
out (a revoked grant ends here), then each secret. Nothing here writes a value anywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NoReturn

from dispatcher.errors import Dependency, Exit, PermanentError, Unavailable
from dispatcher.model.dynamic import DynamicSecret
from dispatcher.model.job_class import FORGE_TOKEN
from dispatcher.model.payload import WRAPPING_GONE, Payload
from dispatcher.model.run import RunSpec
from dispatcher.runner.dynamic import Fetched, fetch_dynamic, value_fault
from dispatcher.runner.vault_client import AnswerLost, NotSent, Reply, VaultClient, ca_file

WAIT_S = 60.0
"""Seconds for which requests to an unreachable Vault are retried."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_MINTING = "auth/token/create/"


class GrantRefused(PermanentError):
    """The grant is unusable: used before, minted elsewhere, revoked, or without permission."""

    exit_code = Exit.NOPERM


class SecretMissing(PermanentError):
    """A secret that the action names cannot be passed to the formula."""

    exit_code = Exit.CONFIG


def fetch(payload: Payload, *, before_unwrap: Callable[[], None]) -> Fetched:
    """Use up the grant and get every secret of the run.

    Args:
        before_unwrap: called once, right before the unwrap is first sent.

    Raises:
        GrantRefused, SecretMissing: see there.
        Unavailable: Vault could not be reached for ``WAIT_S`` seconds, or the answer to the unwrap
            was lost, and with it the grant.
    """
    spec = payload.spec
    client = VaultClient(spec.vault_addr, namespace=spec.vault_namespace, cacert=ca_file())
    try:
        patience = _Patience(WAIT_S)
        _check_origin(client, payload, patience)
        before_unwrap()
        token = _unwrap(client, payload.token, patience)
        _look_at_self(client, token, patience)
        fetched = _read_stored(client, token, payload, patience)
        _fetch_dynamic(client, token, payload, patience, fetched)
        return fetched
    finally:
        client.close()


class _Patience:
    """Retries with growing pauses, for a bounded time in total."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._pause = _FIRST_PAUSE_S

    def ask(self, request: Callable[[], Reply], *, once: bool = False) -> Reply:
        """Args: once: a request that must not be sent again if the server may have worked on it."""
        while True:
            try:
                reply = request()
                again = reply.busy or (reply.status >= 500 and not once)
                trouble: Unavailable = Unavailable(
                    Dependency.VAULT, f"Vault returned {reply.status}"
                )
                if not again:
                    return reply
            except NotSent as error:
                trouble = error
            except AnswerLost as error:
                if once:
                    raise
                trouble = error
            if time.monotonic() + self._pause > self._end:
                raise trouble
            time.sleep(self._pause * (1 + os.urandom(1)[0] / 512))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)


def _check_origin(client: VaultClient, payload: Payload, patience: _Patience) -> None:
    reply = patience.ask(
        lambda: client.request("POST", "sys/wrapping/lookup", body={"token": payload.token})
    )
    if reply.status != 200:
        _refuse_used(reply)
    path = reply.get("data", "creation_path")
    if path != payload.creation_path or not str(path).startswith(_MINTING):
        raise GrantRefused(
            f"the wrapping token was minted at {path}, not at {payload.creation_path}",
            remedy="Somebody may have put another token in its place: possible interception.",
        )


def _unwrap(client: VaultClient, wrapping: str, patience: _Patience) -> str:
    try:
        reply = patience.ask(
            lambda: client.request("POST", "sys/wrapping/unwrap", token=wrapping), once=True
        )
    except AnswerLost as error:
        raise Unavailable(
            Dependency.VAULT,
            f"the answer to the unwrap was lost, and the grant with it: {error.what}",
            remedy="The formula did not start; submit the action again under a new id.",
        ) from None
    token = reply.get("auth", "client_token")
    if reply.status != 200 or not isinstance(token, str) or not token:
        _refuse_used(reply)
    return str(token)


def _refuse_used(reply: Reply) -> NoReturn:
    if reply.status in (400, 403, 404):
        raise GrantRefused(
            f"{WRAPPING_GONE}: it was used before, revoked, or has expired: possible interception",
            remedy="See Vault's audit log for who unwrapped it; the dispatcher revokes the grant.",
        )
    raise GrantRefused(f"Vault returned {reply.status} for the wrapping token")


def _look_at_self(client: VaultClient, token: str, patience: _Patience) -> None:
    reply = patience.ask(lambda: client.request("GET", "auth/token/lookup-self", token=token))
    if reply.status != 200:
        raise GrantRefused(
            f"the grant may not look itself up (Vault returned {reply.status}): it was revoked, or "
            "its policies do not allow auth/token/lookup-self",
            remedy="A revoked grant means that the dispatcher abandoned this run.",
        )


def _read_stored(client: VaultClient, token: str, payload: Payload, patience: _Patience) -> Fetched:
    spec = payload.spec
    fetched = Fetched()
    faults: list[str] = []
    dynamic = {secret.name for secret in spec.dynamic}
    for name in spec.secrets:
        if name in dynamic:
            continue
        path = f"{spec.kv_mount}/data/{_below(spec, name)}"
        reply = patience.ask(lambda path=path: client.request("GET", path, token=token))  # type: ignore[misc]
        value = reply.get("data", "data", "value")
        fault = _fault(reply, value)
        if fault:
            faults.append(f"{name} ({path}) {fault}")
        else:
            fetched.values[name] = value
    if faults:
        raise SecretMissing(
            "secrets that cannot be passed to the formula: " + "; ".join(faults),
            remedy="Store them with `disinto secrets put NAME`, a bot's token with "
            "`disinto secrets put --bot NAME`.",
        )
    return fetched


def _below(spec: RunSpec, name: str) -> str:
    """Path of a stored secret below the KV engine."""
    if spec.bot and name == FORGE_TOKEN:
        return f"{spec.bots_prefix}/{spec.bot}"
    return f"{spec.kv_prefix}/{name}"


def _fetch_dynamic(
    client: VaultClient, token: str, payload: Payload, patience: _Patience, fetched: Fetched
) -> None:
    def send(secret: DynamicSecret) -> Reply:
        method, body = ("GET", None) if secret.write is None else ("POST", dict(secret.write))
        return patience.ask(
            lambda: client.request(method, secret.path, token=token, body=body), once=True
        )

    fault = fetch_dynamic(payload.spec, send, fetched)
    if fault:
        raise SecretMissing(
            f"a dynamic secret cannot be passed to the formula: {fault}",
            remedy="See [vault.dynamic] in the settings; `disinto apply` writes the policy, and "
            "`disinto doctor` checks mount and role.",
        )


def _fault(reply: Reply, value: object) -> str:
    """The problem with one secret, or ""."""
    if reply.status != 200:
        refusals = {403: "may not be read by this grant", 404: "is missing"}
        return refusals.get(reply.status, f"could not be read (Vault returned {reply.status})")
    return "has no field `value`" if value is None else value_fault(value)
