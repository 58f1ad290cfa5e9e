"""Whether a desktop's machine answers, as seen from the page; looked at when somebody looks at its page."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from dispatcher.desktop.probes import NetworkProber
from dispatcher.loop.inventory import InventoryEntry

TIMEOUT_S = 2.0
"""Of each answer."""

KEPT_S = 10.0
"""Seconds for which what was seen is shown again."""

AT_ONCE = 8
MOST_KEPT = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Probes:
    """What a machine answered.

    Attributes:
        vnc, guacamole: whether they answer on the machine, by its own report; None if it gave none.
        http: whether ``http://ADDRESS/`` answers.
        https: whether ``https://ADDRESS/guacamole/`` answers with the desktop's certificate.
        stranger: whether something answers there with another certificate.
        at: when it was looked at, seconds since the epoch.
    """

    vnc: bool | None
    guacamole: bool | None
    http: bool
    https: bool
    stranger: bool
    at: float


class Prober:
    """Looks at machines, and remembers for a moment what it saw. Thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Probes] = {}
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def look(self, entry: InventoryEntry) -> Probes | None:
        """What the machine of an entry answers; None if the entry is not believed, names no machine
        that may be asked, or too many are being asked.
        """
        if entry.problem:
            return None
        host, port = _place(str(entry.entry.get("address") or ""))
        pin = str(entry.entry.get("fingerprint") or "")
        key, now = (entry.id, entry.blob), time.time()
        seen = self._seen.get(key)
        if seen is not None and 0 <= now - seen.at < KEPT_S:
            return seen
        if not host or not pin or not self._turns.acquire(blocking=False):
            return seen
        try:
            found = NetworkProber(https_port=port, timeout_s=TIMEOUT_S).look(host, pin)
        finally:
            self._turns.release()
        report = found.report
        seen = Probes(
            vnc=report.vnc if report is not None else None,
            guacamole=report.guacamole if report is not None else None,
            http=found.http,
            https=found.https,
            stranger=found.stranger,
            at=now,
        )
        if len(self._seen) >= MOST_KEPT:
            self._seen.clear()
        self._seen[key] = seen
        return seen


def _place(address: str) -> tuple[str, int]:
    """IP address and port of HTTPS; "" for a host that is not asked, such as a cloud's metadata service."""
    try:
        parts = urlsplit(
            f"//[{address}]" if address.count(":") > 1 and "]" not in address else f"//{address}"
        )
        host, port = ip_address(parts.hostname or ""), parts.port or 443
    except ValueError:
        return "", 0
    if host.is_link_local or host.is_multicast or host.is_unspecified:
        return "", 0
    return str(host), port
