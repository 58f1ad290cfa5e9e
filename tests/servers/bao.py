"""A real OpenBao server for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import hvac

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
        self.client().sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
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
        bao.client().sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
        yield bao
