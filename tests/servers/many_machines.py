"""Many machines that become desktops, each at an address of its own of the loopback, all on one thread.

Like ``desktop_machine``: they serve what nginx serves there, by the certificate of their user data.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dispatcher.desktop.probes import DESKTOP_PATH
from dispatcher.desktop.report import REPORT_PATH
from dispatcher.devservers.ports import free_ports
from tests.servers.cloud_objects import FakeDroplet
from tests.support.machines import written


class ManyMachines:
    """The machines of an account. ``address`` and ``boot`` are for ``FakeCloud``.

    Args:
        ready_after_s: seconds from the request for a machine until its desktop answers.

    Attributes:
        http_port, https_port: of every machine.
        probes: requests that all machines answered.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, ready_after_s: float) -> None:
        self.ready_after_s = ready_after_s
        self.http_port, self.https_port = free_ports(2)
        self.probes = 0
        self._loop = loop
        self._servers: list[asyncio.Server] = []

    @staticmethod
    def address(number: int) -> str:
        return f"127.77.{number // 250 % 250}.{number % 250 + 1}"

    def boot(self, droplet: FakeDroplet) -> None:
        """Listen at its address, from soon on."""
        asyncio.run_coroutine_threadsafe(self._boot(droplet), self._loop)

    async def _boot(self, droplet: FakeDroplet) -> None:
        ready_at = time.monotonic() + self.ready_after_s
        files = written(droplet.user_data)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            for name in ("cert.pem", "key.pem"):
                file = Path(directory) / name
                file.write_bytes(files[f"/etc/disinto-desktop/tls/{name}"].content)
            context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                self.probes += 1
                path = head.split(b" ", 2)[1].decode()
                status, body = self._page(path, ready=time.monotonic() >= ready_at)
                writer.write(f"HTTP/1.0 {status} x\r\n\r\n".encode() + body)
                await writer.drain()
            writer.close()

        for port, tls in ((self.http_port, None), (self.https_port, context)):
            self._servers.append(await asyncio.start_server(serve, droplet.ip, port, ssl=tls))

    def _page(self, path: str, *, ready: bool) -> tuple[int, bytes]:
        if path == REPORT_PATH:
            stage = "final-health-check" if ready else "installing-packages"
            return 200, json.dumps({"stage": stage, "vnc": ready, "guacamole": ready}).encode()
        return (200 if ready or path != DESKTOP_PATH else 503), b""

    async def close(self) -> None:
        for server in self._servers:
            server.close()


@contextmanager
def many_machines(*, ready_after_s: float) -> Iterator[ManyMachines]:
    """Machines until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    machines = ManyMachines(loop, ready_after_s=ready_after_s)
    try:
        yield machines
    finally:
        asyncio.run_coroutine_threadsafe(machines.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
