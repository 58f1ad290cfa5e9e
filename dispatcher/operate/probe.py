"""Probes whether what an entry of the inventory describes can be reached: connections, and nothing sent.

Only believed entries are probed: anybody who pushes can write an address into a file. Of TLS the
handshake is made and the certificate compared with the fingerprint in the entry, or else verified.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from dispatcher.errors import reason_of
from dispatcher.loop.inventory import InventoryEntry

TIMEOUT_S = 5.0
"""Of a connection, and of a handshake."""

ADDRESSES = 5
"""Addresses of one entry that are probed."""

AT_ONCE = 16

_PORTS = {"https": 443, "http": 80, "tcp": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """One address.

    Attributes:
        address: as the entry has it.
        reachable: whether the connection was made, and its certificate is the right one.
        reason: why not, in words.
    """

    address: str
    reachable: bool
    reason: str = ""


def probe(
    entries: Sequence[InventoryEntry], *, timeout_s: float = TIMEOUT_S
) -> dict[tuple[str, str], tuple[Probed, ...]]:
    """Probe the addresses of believed entries, by kind and id."""
    believed = [entry for entry in entries if not entry.problem]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        probed = pool.map(lambda entry: _probe(entry, timeout_s), believed)
        return {(e.kind, e.id): each for e, each in zip(believed, probed, strict=True)}


def _probe(entry: InventoryEntry, timeout_s: float) -> tuple[Probed, ...]:
    addresses = entry.entry.get("probe", ())
    if not isinstance(addresses, list):
        return ()
    pin = entry.entry.get("fingerprint")
    return tuple(
        _one(str(address)[:300], pin if isinstance(pin, str) else "", timeout_s)
        for address in addresses[:ADDRESSES]
    )


def _one(address: str, pin: str, timeout_s: float) -> Probed:
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host = parts.hostname or ""
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    if parts.scheme not in _PORTS or not host or not port:
        why = "it is not https://host, http://host or tcp://host:port"
        return Probed(address=address, reachable=False, reason=why)
    try:
        with _connected(host, port, timeout_s) as connection:
            reason = _handshake(connection, host, pin) if parts.scheme == "https" else ""
    except (OSError, ValueError) as error:
        reason = reason_of(error)
    return Probed(address=address, reachable=not reason, reason=reason)


def _connected(host: str, port: int, timeout_s: float) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=timeout_s)
    peer = ip_address(connection.getpeername()[0].partition("%")[0])
    if peer.is_link_local or peer.is_multicast:  # such as a cloud's metadata service
        connection.close()
        raise ValueError(f"{peer} is not an address that is probed")
    return connection


def _handshake(connection: socket.socket, host: str, pin: str) -> str:
    """Why the certificate is not the right one, or ""."""
    context = ssl.create_default_context()
    if pin:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connection, server_hostname=host) as secured:
        certificate = secured.getpeercert(binary_form=True) or b""
    if pin and hashlib.sha256(certificate).hexdigest() != pin.lower().replace(":", ""):
        return "its certificate is not the one with the fingerprint in the inventory"
    return ""
