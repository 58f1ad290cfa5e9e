"""Looks at a machine from outside: its page, its desktop, its report.

The machine is not trusted: whatever it sends is bounded in size and time. HTTPS is believed only with
the certificate that the run made; no certificate authority is asked.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from dispatcher.desktop.report import REPORT_LIMIT, REPORT_PATH, Report, parse_report
from dispatcher.provision.probe import WrongCertificate, get, pinned

DESKTOP_PATH = "/guacamole/"
TIMEOUT_S = 5.0
_HEAD_LIMIT = 16 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What a machine answered.

    Attributes:
        report: its own; None if there is none.
        http: whether ``http://IP/`` answers at all, a redirect included.
        https: whether ``https://IP/guacamole/`` answers 200 with the run's certificate.
        stranger: whether somebody answers there with another certificate.
    """

    report: Report | None = None
    http: bool = False
    https: bool = False
    stranger: bool = False


class Prober(Protocol):
    """Looks at one machine."""

    def look(self, ip: str, fingerprint: str) -> Probed: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkProber:
    """Looks over the network.

    Attributes:
        http_port, https_port: of the machine.
        timeout_s: seconds for one whole answer.
    """

    http_port: int = 80
    https_port: int = 443
    timeout_s: float = TIMEOUT_S

    def look(self, ip: str, fingerprint: str) -> Probed:
        http = False
        with suppress(OSError):
            status, _ = self._get(ip, self.http_port, "/", "")
            http = 100 <= status < 500
        report, https = None, False
        try:
            with suppress(OSError):
                status, body = self._get(ip, self.https_port, REPORT_PATH, fingerprint)
                report = parse_report(body) if status == 200 else None
            with suppress(OSError):
                status, _ = self._get(ip, self.https_port, DESKTOP_PATH, fingerprint)
                https = status == 200
        except WrongCertificate:
            return Probed(http=http, stranger=True)
        return Probed(report=report, http=http, https=https)

    def _get(self, ip: str, port: int, path: str, fingerprint: str) -> tuple[int, bytes]:
        """Status and body of a GET; status 0 if the answer is none.

        Args:
            fingerprint: of the certificate; "" for HTTP.

        Raises:
            OSError, WrongCertificate: see there. Nothing is sent before the certificate is known.
        """
        until = time.monotonic() + self.timeout_s
        with socket.create_connection((ip, port), timeout=self.timeout_s) as plain:
            connection = pinned(plain, fingerprint) if fingerprint else plain
            return get(connection, ip, path, until=until, limit=_HEAD_LIMIT + REPORT_LIMIT)
