"""Opens a desktop for a person: derives its credentials, and exchanges them for a session of Guacamole.

No credential leaves this process but in one encrypted document, which goes to the machine in the body of a
request, over TLS whose certificate the attested inventory entry names (or, at a gateway, which is
verified). What comes back is a session token for this one desktop; ``link`` hands it to a browser.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

from dispatcher.desktop.credentials import VARIABLE, Credentials
from dispatcher.desktop.gateway import ID_RULE, host_at
from dispatcher.desktop.guacamole import CONNECTION, VNC_PORT, document, seal, stream_url, vnc
from dispatcher.errors import (
    Denied,
    Dependency,
    Exit,
    InvalidValue,
    Misconfigured,
    PermanentError,
    TemporaryError,
)
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.model.run import RunKey
from dispatcher.provision.probe import WrongCertificate, exchange, pinned
from dispatcher.settings import Settings
from dispatcher.vault import Vault
from dispatcher.vault.derived import derive
from dispatcher.vault.errors import RightMissing
from dispatcher.vault.names import derive_policy

SESSION_S = 12 * 3600.0
"""Seconds for which a session can be reloaded and reconnected."""

TIMEOUT_S = 20.0
"""Seconds for each request to a desktop, from the connection to the end of the answer."""

_ANSWER_LIMIT = 64 * 1024
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[A-Za-z0-9_.=+/-]{16,512}")


class Target(StrEnum):
    """Where a browser reaches a desktop."""

    GATEWAY = "gateway"
    IP = "ip"


class NotBelieved(PermanentError):
    """No signed result wrote the entry as it is, so nothing of it is used."""

    exit_code = Exit.NOPERM


class NotActive(TemporaryError):
    """The desktop is not there yet, or was set up in vain."""


class DesktopUnreachable(TemporaryError):
    """The desktop gives no usable answer."""

    exit_code = Exit.UNAVAILABLE


class DesktopRefused(PermanentError):
    """Guacamole accepts neither the document nor a session."""

    exit_code = Exit.NOPERM


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a desktop's Guacamole is.

    Attributes:
        base: address of the web application, such as ``https://198.51.100.7/guacamole/``.
        fingerprint: SHA-256 of the only certificate that is accepted, hex; "" to verify it as browsers do.
    """

    base: str
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A session of Guacamole.

    Attributes:
        place: where it is.
        token: of the session. Kept out of ``repr``.
        until_s: seconds since the epoch until which it can be reloaded.
    """

    place: Place
    token: str = field(repr=False)
    until_s: float

    @property
    def url(self) -> str:
        """The address that opens the desktop; with the token, in its fragment."""
        return stream_url(self.place.base, self.token)


def place_of(entry: InventoryEntry, target: Target | None = None) -> Place:
    """Where a desktop is reached.

    Args:
        entry: of the inventory, believed.
        target: None for the gateway, if the desktop is behind one.

    Raises:
        NotBelieved: the entry is not.
        NotActive: the desktop is not active.
        Misconfigured: it is not behind a gateway, or its id cannot be a host name there.
        InvalidValue: the entry lacks an address or a fingerprint.
    """
    if entry.problem:
        raise NotBelieved(
            f"the inventory entry of {entry.id} is not believed: {entry.problem}",
            remedy="Nothing was sent to its address. 'disinto inventory desktop' shows it; whoever "
            "changed the file has to restore it.",
        )
    plain = entry.entry
    state = str(plain.get("state", ""))
    if state != "ACTIVE":
        raise NotActive(
            f"desktop {entry.id} is not active: {state[:40] or 'its state is unknown'}",
            remedy=f"'disinto status {entry.result}' shows why; destroy it, and create another.",
        )
    host, pin = str(plain.get("gateway_host") or ""), str(plain.get("fingerprint") or "")
    if target is None:
        target = Target.GATEWAY if host else Target.IP
    if target is Target.GATEWAY:
        return _behind_gateway(entry.id, host)
    address = _network_location(str(plain.get("address") or ""))
    if not address or not _FINGERPRINT.fullmatch(pin):
        raise InvalidValue(
            f"the inventory entry of {entry.id} has no address with the fingerprint of its certificate",
            remedy="It was not written by the formula 'desktop'; open it as its own formula says.",
        )
    return Place(base=f"https://{address}/guacamole/", fingerprint=pin)


def _network_location(address: str) -> str:
    """An IP address, perhaps with a port, as a URL has it; "" if it is none."""
    try:
        return f"[{ip_address(address)}]" if ":" in address else str(ip_address(address))
    except ValueError:
        pass
    try:
        parts = urlsplit(f"//{address}")
        host, port = ip_address(parts.hostname or ""), parts.port
    except ValueError:
        return ""
    plain = f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
    return plain if plain == address else ""


def _behind_gateway(desktop_id: str, host: str) -> Place:
    """A host name for each desktop: browsers keep one session of Guacamole per origin."""
    if not host:
        raise Misconfigured(
            f"desktop {desktop_id} is not behind a gateway",
            remedy="Pass --target ip, or set gateway_host in desktop-settings.json before it is created.",
        )
    name = host_at(host, desktop_id)
    if not name:
        raise Misconfigured(
            f"{desktop_id} cannot be a host name at the gateway {host[:100]}",
            remedy=f"Pass --target ip. {ID_RULE}",
        )
    return Place(base=f"https://{name}/guacamole/")


def credentials_of(entry: InventoryEntry, vault: Vault, settings: Settings) -> Credentials:
    """Derive the credentials of a desktop with a person's own token.

    Args:
        entry: of the inventory, believed.

    Raises:
        InvalidValue: the entry does not name its run.
        Misconfigured, Unavailable, Denied, Rejected: see ``dispatcher.vault.derived.derive``.
    """
    action_id, _, blob = str(entry.entry.get("run_key", "")).partition(".")
    version = entry.entry.get("key_version")
    known = isinstance(version, int) and not isinstance(version, bool) and version > 0
    if action_id != entry.id or not blob or not known:
        raise InvalidValue(
            f"the inventory entry of {entry.id} does not name its run and the version of its key",
            remedy="It was not written by the formula 'desktop'.",
        )
    key = RunKey(action_id=action_id, blob=blob)
    try:
        answer = derive(vault, settings, VARIABLE, key, key_version=int(version or 0))
    except RightMissing as denied:
        policy = derive_policy(settings.vault, VARIABLE)
        raise Denied(
            Dependency.VAULT,
            denied.what,
            remedy=f"Log in with a token that has the policy {policy}, in VAULT_TOKEN or "
            "~/.vault-token.",
        ) from None
    return Credentials.from_hmac(answer)


def begin_session(
    place: Place,
    credentials: Credentials,
    *,
    username: str,
    now: float,
    until_s: float | None,
    vnc_port: int = VNC_PORT,
) -> Session:
    """Log a person in at a desktop.

    Args:
        username: what Guacamole's log has.
        now: seconds since the epoch.
        until_s: when the desktop expires; None for never.
        vnc_port: of the VNC server, on the desktop's own machine.

    Raises:
        DesktopUnreachable: no usable answer, or another certificate.
        DesktopRefused: Guacamole refuses the document.
    """
    until = min(now + SESSION_S, until_s or now + SESSION_S)
    connections = {CONNECTION: vnc(credentials.vnc_password, port=vnc_port)}
    sealed = seal(document(username, connections, expires_s=until), credentials.guacamole_key)
    answer = _request(
        place, "POST", "api/tokens", body=urlencode({"data": sealed}).encode(), ok=(200, 403)
    )
    if answer.status == 403:
        raise DesktopRefused(
            f"Guacamole at {place.base} refuses the login",
            remedy="The machine has another key, or its clock is wrong: see its log. If the transit key "
            "was replaced, the desktop has to be created anew.",
        )
    token = _token(answer.data)
    if not token:
        raise DesktopUnreachable(
            f"{place.base} answered a login with something else than a session"
        )
    return Session(place=place, token=token, until_s=until)


def end_session(session: Session) -> None:
    """End a session, and with it what it shows. One that has ended is fine.

    Raises:
        DesktopUnreachable: no usable answer.
    """
    _request(session.place, "DELETE", "api/session", token=session.token, ok=(200, 204, 403, 404))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    status: int
    data: bytes = field(repr=False)


def _request(
    place: Place,
    method: str,
    path: str,
    *,
    ok: tuple[int, ...],
    body: bytes | None = None,
    token: str = "",
) -> _Answer:
    """One request, to this address alone: no redirect is followed and no proxy is used."""
    parts = urlsplit(place.base)
    headers = {"Host": parts.netloc, "Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if token:
        headers["Guacamole-Token"] = token
    try:
        status, data = _exchanged(place, method, f"{parts.path}{path}", headers, body or b"")
    except (OSError, WrongCertificate) as error:
        raise DesktopUnreachable(
            f"{place.base} cannot be reached: {_reason(error)}",
            remedy="'disinto inventory desktop --probe' shows which of its addresses answer.",
        ) from None
    if status == 404 and not place.fingerprint and method == "POST":
        raise DesktopUnreachable(
            f"{parts.hostname} is not at its gateway yet",
            remedy="'disinto desktop gateway' has to run there; --target ip goes past it.",
        )
    if status not in ok:
        raise DesktopUnreachable(
            f"{place.base} failed {method} {path} (HTTP {status})",
            remedy="Guacamole may be starting; try again in a minute.",
        )
    return _Answer(status=status, data=data)


def _exchanged(
    place: Place, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, bytes]:
    """Status and body of an answer, within ``TIMEOUT_S`` in all.

    Raises:
        OSError, WrongCertificate: see ``provision.probe``.
    """
    parts = urlsplit(place.base)
    host, until = parts.hostname or "", time.monotonic() + TIMEOUT_S
    with socket.create_connection((host, parts.port or 443), timeout=TIMEOUT_S) as plain:
        if place.fingerprint:
            connection = pinned(plain, place.fingerprint)
        else:
            connection = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        with connection:
            return exchange(
                connection,
                method,
                target,
                headers=headers,
                body=body,
                until=until,
                limit=_ANSWER_LIMIT,
            )


def _token(data: bytes) -> str:
    """The token of a login's answer, or "". Whatever the machine sends ends up in an address."""
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    token = plain.get("authToken") if isinstance(plain, dict) else None
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else ""


def _reason(error: OSError | WrongCertificate) -> str:
    """Why there is no answer; nothing that the machine wrote is part of it."""
    if isinstance(error, WrongCertificate):
        return "its certificate is not the one with the fingerprint in the inventory"
    if isinstance(error, TimeoutError):
        return f"no whole answer within {TIMEOUT_S:g} seconds"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "it speaks no TLS that is accepted"
    return error.strerror or type(error).__name__
