"""Free ports of the loopback."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_port() -> int:
    """A TCP port of the loopback that is currently free."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Loopback ports that are currently free."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
