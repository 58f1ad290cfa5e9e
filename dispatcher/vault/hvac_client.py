"""hvac for administrative work: its knowledge of Vault's API, over our own connection.

hvac knows paths, bodies and how to quote names in them. Timeouts, TLS, namespace, redirects, the
token and the errors are those of ``http``, ``session`` and ``errors``: hvac sends its requests
through ``Adapter``, and so never sees a token, a proxy of the environment or an answer that
refuses.

The first call of ``hvac_client`` or ``hvac_over`` imports hvac. With ``requests`` that costs 60 ms
of CPU and 5 MiB, which commands that administer nothing (``status``, ``plan``, completion) save.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dispatcher.vault.errors import Rejected
from dispatcher.vault.http import Reply

if TYPE_CHECKING:
    import hvac

    from dispatcher.vault.session import Vault

Send = Callable[[str, str, Mapping[str, Any] | None], Reply]
"""Sends method, path below ``/v1/`` and body; returns what was accepted and raises the rest."""


def hvac_client(vault: Vault) -> hvac.Client:
    """hvac with the token of a connection, which is renewed and replaced as for every other call.

    Every call raises what ``Vault.call`` raises.
    """
    return hvac_over(vault.call)


def hvac_over(send: Send) -> hvac.Client:
    """hvac with another way to send its requests."""
    import hvac

    # An empty token keeps hvac from reading VAULT_TOKEN and ~/.vault-token on its own.
    return hvac.Client(token="", adapter=lambda **_: Adapter(send))


class Adapter:
    """What hvac sends requests with. It offers only what administrative work needs."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def get(self, url: str, *, wrap_ttl: None = None) -> Mapping[str, Any]:
        del wrap_ttl  # hvac always passes it; only grants are wrapped, without hvac
        return self._request("GET", url)

    def list(self, url: str) -> Mapping[str, Any]:
        return self._request("LIST", url)

    def post(
        self, url: str, *, json: Mapping[str, Any], wrap_ttl: None = None
    ) -> Mapping[str, Any]:
        del wrap_ttl
        return self._request("POST", url, json)

    def delete(self, url: str) -> Mapping[str, Any]:
        return self._request("DELETE", url)

    def login(self, url: str, *, use_token: bool, json: Mapping[str, Any]) -> Mapping[str, Any]:
        del use_token  # the session keeps tokens, hvac does not
        return self._request("POST", url, json)

    def _request(
        self, method: str, url: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        return self._send(method, url.removeprefix("/v1/"), body).body


def if_present(call: Callable[..., Any], *args: str, **kwargs: str) -> Mapping[str, Any] | None:
    """``data`` of hvac's answer, perhaps empty; None if nothing is there (404)."""
    try:
        body: Mapping[str, Any] = call(*args, **kwargs)
    except Rejected as rejected:
        if rejected.status == 404:
            return None
        raise
    return body.get("data") or {}


def listed(call: Callable[..., Any], **kwargs: str) -> Sequence[str]:
    """``keys`` of hvac's answer; empty if nothing is there (404)."""
    return [str(key) for key in (if_present(call, **kwargs) or {}).get("keys") or ()]
