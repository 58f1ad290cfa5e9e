"""An OpenBao that keeps its data, so that it can be killed and started again."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import tenacity

from dispatcher.devservers.openbao import binary
from dispatcher.devservers.ports import free_port
from tests.servers.bao import Bao

_patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60),
    wait=tenacity.wait_fixed(0.1),
    retry=tenacity.retry_if_exception_type(httpx.HTTPError),
    reraise=True,
)


class LastingBao:
    """A server with raft storage and one unseal key.

    Attributes:
        server: where it is, with its root token.
        process: of now.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "data").mkdir(parents=True)
        port, cluster = free_port(), free_port()
        self._addr = f"http://127.0.0.1:{port}"
        config = {
            "storage": {"raft": {"path": str(folder / "data"), "node_id": "one"}},
            "listener": {"tcp": {"address": f"127.0.0.1:{port}", "tls_disable": True}},
            "api_addr": self._addr,
            "cluster_addr": f"http://127.0.0.1:{cluster}",
        }
        (folder / "config.json").write_text(json.dumps(config))
        self.process = self._launch()
        answer = self._put("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._key = str(answer["keys"][0])
        self._unseal()
        self.server = Bao(
            addr=self._addr, root_token=str(answer["root_token"]), process=self.process
        )
        options = {"version": "2"}
        self.server.client().sys.enable_secrets_engine("kv", path="kv", options=options)

    def kill(self) -> None:
        """End it as a machine does that loses power."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start it on its data, and unseal it."""
        if self.process.poll() is not None:
            self.process = self._launch()
        self._unseal()

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self._folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [binary(), "server", f"-config={self._folder / 'config.json'}"],
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @_patiently
    def _put(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        answer = httpx.put(f"{self._addr}/v1/{path}", json=body, timeout=10, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json())

    @_patiently
    def _unseal(self) -> None:
        self._put("sys/unseal", {"key": self._key})
        health = httpx.get(f"{self._addr}/v1/sys/health", timeout=5, trust_env=False)
        health.raise_for_status()  # 200 only once it is active


@contextmanager
def serve() -> Iterator[LastingBao]:
    """A new server that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="disinto-soak-bao-") as folder:
        vault = LastingBao(Path(folder))
        try:
            yield vault
        finally:
            vault.kill()
