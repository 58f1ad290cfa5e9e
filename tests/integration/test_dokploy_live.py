"""A real Dokploy does what the provisioner relies on, and what the fake does."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.marks import Mark
from tests.contract.dokploy import DokployContract
from tests.servers import dokploy_live

pytestmark = [pytest.mark.needs("dokploy"), pytest.mark.thorough]

SLOW_S = 12.0


class LiveGround:
    """Implements ``tests.contract.dokploy.Ground``; what it made is removed at its end."""

    def __init__(self, stack: ExitStack) -> None:
        self.platform = self.with_key(os.environ["DOKPLOY_API_TOKEN"])
        self._stack, self._slow = stack, ""
        self._prefix = f"c-{secrets.token_hex(3)}"
        self._names = 0
        stack.callback(self._clean_up)

    def name(self) -> str:
        self._names += 1
        return f"{self._prefix}-{self._names}"

    def image(self, version: str) -> str:
        if version == "checked":
            return dokploy_live.checked()
        if version != "slow":
            return dokploy_live.image(version)
        if not self._slow:
            registry = self._stack.enter_context(dokploy_live.slow_registry(SLOW_S))
            _, _, path = dokploy_live.image("one").partition("/")
            self._slow = f"{registry}/{path}"
        return self._slow

    def with_key(self, key: str) -> Dokploy:
        return Dokploy(Connection(key, url=os.environ["DOKPLOY_URL"], timeout_s=120))

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def environment(self, app_name: str) -> dict[str, str]:
        return dokploy_live.environment(app_name)

    def services(self) -> set[str]:
        return dokploy_live.services()

    def volumes(self) -> set[str]:
        return dokploy_live.volumes()

    def route(self, host: str) -> bool:
        return bool(dokploy_live.routed(host))

    def restart(self) -> None:
        if not os.environ.get("DOKPLOY_RESTART"):
            pytest.skip("DOKPLOY_RESTART is not set: NOT RESTARTED")
        dokploy_live.restart()

    def _clean_up(self) -> None:
        for project in self.platform.projects():
            mark = Mark.read(project.description)
            if mark and mark.stack_id.startswith(self._prefix):
                for each in project.application_ids:
                    self.platform.delete_application(each)
                self.platform.remove_project(project.id)
        for name in dokploy_live.services():
            if name.startswith(self._prefix):
                dokploy_live.remove_service(name)
        for name in dokploy_live.volumes():
            if name.startswith(f"v-{self._prefix}"):
                dokploy_live.remove_volume(name)
        dokploy_live.remove_routes(self._prefix)


@pytest.fixture
def ground() -> Iterator[LiveGround]:
    with ExitStack() as stack:
        yield LiveGround(stack)


class TestLiveDokploy(DokployContract):
    """The original."""
