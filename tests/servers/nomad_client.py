"""One more client for a Nomad agent of ours."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.nomad_process import check_alive, retrying, start_process, write_config
from dispatcher.devservers.ports import free_ports
from dispatcher.devservers.remains import clear, watched


@contextmanager
def second_client(server: DevAgent, *, node_pool: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more client for an agent of ours, in a node pool of its own, whose name is also the
    node's; it may be killed.

    Its tasks are killed at the end at the latest.
    """
    folder = Path(tempfile.mkdtemp(prefix="disinto-nomad-client-"))
    http, rpc, serf = free_ports(3)
    config = write_config(
        folder,
        (http, rpc, serf),
        {},
        servers=[f"127.0.0.1:{server.rpc_port}"],
        node_pool=node_pool,
    )

    @retrying
    def until_ready() -> None:
        check_alive(process, folder)
        found = [node for node in server.api().nodes() if node.get("NodePool") == node_pool]
        if not found or found[-1]["Status"] != "ready":
            raise RuntimeError("the client is not ready")

    with watched(folder):
        process = start_process(["agent", f"-config={config}"], folder)
        try:
            until_ready()
            yield process
        finally:
            process.kill()
            process.wait()
            clear(folder)
