"""Looks at a stack from outside: which endpoint answers, how, and with which certificate.

A certificate that is self-signed or not issued yet does not make a stack unhealthy: it is reported apart.
Whatever answers is bounded in size and time. Connecting proves little, because the server's proxy accepts
connections for every name; so TCP alone counts only if the stack is said to speak no HTTP.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from dispatcher.provision.probe import get

TIMEOUT_S = 5.0
PATHS = ("/health", "/")
_LIMIT = 256 * 1024
_LOGIN = (401, 403)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What answered.

    Attributes:
        healthy: endpoint and answer, such as ``GET /health: 200``; "" for none.
        certificate: ``valid``, or why it is not; "" without TLS.
        version: whether the wanted text is in the page; None if there is none to look for.
        trouble: what was found instead.
    """

    healthy: str = ""
    certificate: str = ""
    version: bool | None = None
    trouble: str = ""


class Prober(Protocol):
    """Looks at one stack."""

    def look(self, host: str, *, https: bool) -> Probed: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkProber:
    """Looks over the network.

    Attributes:
        address: to which to connect in place of the host; "" for the host.
        tcp: whether a connection suffices.
        expected: text that a page of the wanted version has; "" for none.
        expected_path: where.
        authorities: file of certificate authorities in place of the system's; "" for those.
    """

    address: str = ""
    http_port: int = 80
    https_port: int = 443
    tcp: bool = False
    expected: str = ""
    expected_path: str = "/"
    authorities: str = ""

    def look(self, host: str, *, https: bool) -> Probed:
        port = self.https_port if https else self.http_port
        try:
            with closing(self._connected(host, port)):
                pass
        except OSError as error:
            return Probed(trouble=f"no connection to {host}:{port}: {_words(error)}")
        certificate = self._certificate(host, port) if https else ""
        if self.tcp:
            return Probed(healthy=f"TCP {port}: connected", certificate=certificate)
        healthy = trouble = ""
        for path in PATHS:
            status, _ = self._get(host, port, path, https=https)
            if 200 <= status < 400 or status in _LOGIN:
                healthy = f"GET {path}: {status}"
                break
            trouble = f"GET {path}: {status or 'no answer'}"
        return Probed(
            healthy=healthy,
            certificate=certificate,
            version=self._version(host, port, https=https),
            trouble=trouble,
        )

    def _version(self, host: str, port: int, *, https: bool) -> bool | None:
        if not self.expected:
            return None
        _, body = self._get(host, port, self.expected_path, https=https)
        return self.expected.encode() in body

    def _connected(self, host: str, port: int) -> socket.socket:
        return socket.create_connection((self.address or host, port), timeout=TIMEOUT_S)

    def _certificate(self, host: str, port: int) -> str:
        context = ssl.create_default_context(cafile=self.authorities or None)
        try:
            with (
                self._connected(host, port) as plain,
                context.wrap_socket(plain, server_hostname=host),
            ):
                return "valid"
        except ssl.SSLCertVerificationError as error:
            return error.verify_message[:100] or "invalid"
        except OSError as error:
            return f"none: {_words(error)}"

    def _get(self, host: str, port: int, path: str, *, https: bool) -> tuple[int, bytes]:
        """Status and body; 0 if the answer is none."""
        until = time.monotonic() + TIMEOUT_S
        try:
            with self._connected(host, port) as plain:
                connection = _unverified(plain, host) if https else plain
                return get(connection, host, path, until=until, limit=_LIMIT)
        except OSError:
            return 0, b""


def _unverified(plain: socket.socket, host: str) -> ssl.SSLSocket:
    """Nothing secret is sent, and nothing that is received is believed further than that it answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__)[:100]
