"""Maps Vault's failures to ``dispatcher.errors``, for the thin client and for hvac alike.

Everything that the two can meet becomes an error here, once, with its remedy and with whether a
retry can help. No text holds a token: texts are made of addresses, paths and what the server calls
the error, with anything like a token taken out. ``hvac.exceptions``, which carry the URL and the
body of the answer, are never raised: hvac sends its requests through ``hvac_client.Adapter``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import urllib3.exceptions

from dispatcher.errors import (
    Denied,
    Dependency,
    PermanentError,
    Unavailable,
    origin_of,
    reason_of,
)

_TOKENS = re.compile(r"\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}|\beyJ[A-Za-z0-9_.-]{20,}")
_APPLY = "Run `disinto apply` with an operator's token to grant the permission."
_OPERATOR = (
    "This command requires an operator's token in VAULT_TOKEN; the dispatcher's own token lacks "
    "the permission."
)


class Rejected(PermanentError):
    """The server understood the request and rejects it: 400, 404 or 405.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, what: str, *, status: int, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.status = status


class RightMissing(Denied):
    """The server accepts our token, and refuses it this request: 403."""


def errors_of(body: Mapping[str, Any]) -> str:
    """The ``errors`` of an answer in one line, without anything like a token."""
    text = "; ".join(str(error) for error in body.get("errors") or ())
    return _TOKENS.sub("[token]", " ".join(text.split()))


# -- responses that reject -------------------------------------------------------------------
# ``request`` is the method and the path below /v1/, such as "GET sys/mounts".


def denied(addr: str, request: str, *, operator: bool = False) -> RightMissing:
    """403 to a token that the server accepts.

    Args:
        operator: whether a person's token was used, which only changes the remedy.
    """
    return RightMissing(
        Dependency.VAULT,
        f"Vault at {addr} refuses {request}: permission denied for this token",
        remedy=_OPERATOR if operator else _APPLY,
    )


def rejected(addr: str, request: str, status: int, errors: str) -> Rejected:
    """400, 404, 405 or 412."""
    text = f"Vault at {addr} rejects {request} (HTTP {status}{': ' + errors if errors else ''})"
    return Rejected(text, status=status)


def log_in_refused(addr: str, what: str, errors: str, *, remedy: str) -> Denied:
    """A credential that the server does not accept."""
    reason = f" ({errors})" if errors else ""
    return Denied(
        Dependency.VAULT, f"Vault at {addr} does not accept the {what}{reason}", remedy=remedy
    )


# -- inconclusive responses ----------------------------------------------------


def failed(addr: str, request: str, status: int, body: object) -> Unavailable:
    """Sealed, overloaded, or another status that says nothing about the request.

    Args:
        body: the JSON of the answer, of whatever type.
    """
    errors = errors_of(body) if isinstance(body, dict) else ""
    if status == 503 and "sealed" in errors.lower():
        text = f"Vault at {addr} is sealed"
    elif status == 429:
        text = f"Vault at {addr} rate-limits this client (HTTP 429 for {request})"
    else:
        text = f"Vault at {addr} failed {request} (HTTP {status}{': ' * bool(errors)}{errors})"
    return Unavailable(Dependency.VAULT, text)


def redirected(addr: str, request: str, status: int, location: str) -> Unavailable:
    """A redirect, which is never followed."""
    target = origin_of(location)
    return Unavailable(
        Dependency.VAULT,
        f"Vault at {addr} answered {request} with a redirect to {target} (HTTP {status}), which "
        "is not followed",
        remedy="Set [vault] addr to that address if it is Vault's.",
    )


def not_vault(addr: str, request: str, status: int) -> Unavailable:
    """An answer that is not a JSON object."""
    return Unavailable(
        Dependency.VAULT,
        f"{addr} answered {request} (HTTP {status}) with something that is not Vault's JSON",
        remedy="Check [vault] addr.",
    )


# -- no response -----------------------------------------------------------------------------


def unreachable(addr: str, error: urllib3.exceptions.HTTPError, *, timeout_s: float) -> Unavailable:
    """No connection, no trusted connection, or no answer within ``timeout_s`` seconds."""
    reason: BaseException = getattr(error, "reason", None) or error
    refused = isinstance(reason, urllib3.exceptions.NewConnectionError)  # a TimeoutError, too
    if isinstance(reason, urllib3.exceptions.TimeoutError) and not refused:
        text = f"Vault at {addr} did not answer within {timeout_s:g} s"
    elif isinstance(reason, urllib3.exceptions.SSLError) or "SSL" in type(reason).__name__:
        return Unavailable(
            Dependency.VAULT,
            f"no trusted connection to Vault at {addr}: {_cause(reason)}",
            remedy=_tls_remedy(str(reason)),
        )
    else:
        text = f"Vault at {addr} cannot be reached ({_cause(reason)})"
    return Unavailable(Dependency.VAULT, text)


def _cause(reason: BaseException) -> str:
    return reason_of(reason).rpartition(": ")[2] or type(reason).__name__


def _tls_remedy(reason: str) -> str:
    if re.search(r"wrong.version.number|record layer failure|http request", reason, re.IGNORECASE):
        return (
            "The server uses plain http at this address: set [vault] addr or VAULT_ADDR to http://…"
        )
    return "Set [vault] cacert or VAULT_CACERT to the CA that signed its certificate."
