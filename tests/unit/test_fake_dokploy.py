"""The fake of Dokploy does what the real one does: both pass the same suite."""

from __future__ import annotations

from itertools import count

import pytest

from dispatcher.stack.dokploy import Dokploy
from tests.contract.dokploy import DokployContract
from tests.servers.dokploy import KEY, FakeDokploy
from tests.support.desktops import FakeClock
from tests.support.stacks import BAD, BROKEN_BY_B, CHECKED, GONE, IMAGES, SLOW, TWO, Direct

VERSIONS = {
    "one": BROKEN_BY_B,
    "two": TWO,
    "bad": BAD,
    "gone": GONE,
    "slow": SLOW,
    "checked": CHECKED,
}


class FakeGround:
    """Implements ``tests.contract.dokploy.Ground``."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.server = FakeDokploy(now=self.clock.now, images=IMAGES, pulls={SLOW: 30.0})
        self.platform = self.with_key(KEY)
        self._names = (f"contract-{number}" for number in count())

    def name(self) -> str:
        return next(self._names)

    def image(self, version: str) -> str:
        return VERSIONS[version]

    def with_key(self, key: str) -> Dokploy:
        return Dokploy(Direct(self.server, key, step=lambda: None))

    def pause(self, seconds: float) -> None:
        self.clock.at += seconds
        self.server.tick()

    def environment(self, app_name: str) -> dict[str, str]:
        return self.server.services[app_name].environment

    def services(self) -> set[str]:
        return set(self.server.services)

    def volumes(self) -> set[str]:
        return self.server.volumes

    def route(self, host: str) -> bool:
        applications = self.server.applications.values()
        return any(d["host"] == host for each in applications for d in each["domains"])

    def restart(self) -> None:
        self.server.restart()


@pytest.fixture
def ground() -> FakeGround:
    return FakeGround()


class TestFakeDokploy(DokployContract):
    """The fake."""
