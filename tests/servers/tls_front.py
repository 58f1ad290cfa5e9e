"""TLS in front of a server that speaks none, on an address of its own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.servers.git_https import certificate_in

_PART = 64 * 1024


@contextmanager
def tls_front(root: Path, address: str, port: int) -> Iterator[tuple[str, str]]:
    """Pass on what comes over TLS to a port of the loopback; yields the URL, and the certificate to trust, as text.

    Args:
        address: of this machine, to listen on.
    """
    file = certificate_in(root, address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    certificate = file.read_text().partition("-----BEGIN PRIVATE")[0]
    with closing(socket.create_server((address, 0))) as listening:
        thread = threading.Thread(target=_accept, args=(listening, context, port), daemon=True)
        thread.start()
        yield f"https://{address}:{listening.getsockname()[1]}", certificate
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _accept(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):  # it was closed
        while True:
            plain, _ = listening.accept()
            threading.Thread(target=_serve, args=(plain, context, port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        client = context.wrap_socket(plain, server_side=True)
        behind = socket.create_connection(("127.0.0.1", port), timeout=60)
        with closing(client), closing(behind):
            back = threading.Thread(target=_pump, args=(behind, client), daemon=True)
            back.start()
            _pump(client, behind)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(_PART):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
