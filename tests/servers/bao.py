"""A real OpenBao server for tests."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import hvac
import hvac.exceptions
import tenacity

from dispatcher.devservers import openbao
from dispatcher.devservers.openbao import DevServer
from tests.servers import containers

_mounts = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Bao(DevServer):
    """A running dev server. ``process`` may be stopped and continued by fault tests."""

    kv_mount: str = "kv"

    def client(self, token: str | None = None) -> Any:
        """An hvac client, with the root token unless another is given."""
        return hvac.Client(url=self.addr, token=token or self.root_token, timeout=10)

    def with_own_mount(self) -> Bao:
        """The same server with a fresh KV v2 mount."""
        mount = f"kv{next(_mounts)}"
        _mount_kv(self.client(), mount)
        return replace(self, kv_mount=mount)

    def put(self, name: str, value: str, *, prefix: str = "disinto/runner") -> None:
        self.client().secrets.kv.v2.create_or_update_secret(
            path=f"{prefix}/{name}", secret={"value": value}, mount_point=self.kv_mount
        )


@contextmanager
def serve() -> Iterator[Bao]:
    """Start ``bao server -dev`` on a free loopback port, with a KV v2 mount ``kv``."""
    with openbao.serve(launch=containers.launch("bao")) as server:
        bao = Bao(addr=server.addr, root_token=server.root_token, process=server.process)
        _mount_kv(bao.client(), bao.kv_mount)
        yield bao


@tenacity.retry(
    # The server rejects requests to a new mount until it has made it a versioned one.
    retry=tenacity.retry_if_exception_message(match=".*Upgrading from non-versioned"),
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.02),
)
def _await_kv(client: hvac.Client, mount: str) -> None:
    with contextlib.suppress(hvac.exceptions.InvalidPath):  # nothing is stored yet
        client.secrets.kv.v2.list_secrets(path="", mount_point=mount)


def _mount_kv(client: hvac.Client, mount: str) -> None:
    client.sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    _await_kv(client, mount)
