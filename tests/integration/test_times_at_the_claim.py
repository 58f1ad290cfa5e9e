"""Times count at the claim: what passes while gate and vault are asked starts nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from dispatcher.loop.components import Components
from dispatcher.model.health import WaitingFor
from dispatcher.model.times import rfc3339
from tests.integration.test_controls import end, merge, order, started, waits
from tests.servers.bao import Bao
from tests.support.faulty import Wrapped
from tests.support.stage import Stage, set_stage

LATER = 1_000_000_000.0
"""Seconds by which the clock is set forward."""

FROZEN = '[freeze.windows.later]\nzone = "UTC"\ndates = ["{day}/.."]\n'


class Slow:
    """A vault that mints only when it is told to."""

    def __init__(self) -> None:
        self.asked, self.answers = Event(), Event()

    def __call__(self, components: Components) -> Components:
        grants: Any = components.grants

        def mint(*args: Any, **kwargs: Any) -> Any:
            self.asked.set()
            assert self.answers.wait(20)
            return grants.mint(*args, **kwargs)

        return replace(components, grants=cast(Any, Wrapped(grants, {"mint": mint})))


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path, slow: Slow) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})
    policy = stage.scene.open_settings().policy.file
    assert policy is not None
    day = rfc3339(time.time() + LATER)[:10]
    policy.write_text(policy.read_text() + FROZEN.format(day=day))
    stage.change = slow
    yield stage
    slow.answers.set()
    stage.stop()


def forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock forward, past all that the tests name."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + LATER + 2 * 86_400)


def test_what_expires_while_vault_is_slow_does_not_start(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(stage, "a", more=f'expires = "{rfc3339(time.time() + 3_600)}"')
    stage.start()
    assert slow.asked.wait(20)
    forward(monkeypatch)
    slow.answers.set()
    assert stage.result("a")["verdict"] == "expired"
    assert order(stage) == []
    stage.at_rest()


def test_nothing_starts_in_a_freeze_that_began_while_vault_was_slow(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(stage, "a")
    stage.start()
    assert slow.asked.wait(20)
    forward(monkeypatch)
    slow.answers.set()
    waits(stage, "a", WaitingFor.FREEZE, "freeze later")
    assert order(stage) == []


def test_an_emergency_is_marked_by_the_freeze_at_its_claim(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(stage, "a", more='emergency = "shop is down"', sign=True)
    stage.start()
    assert slow.asked.wait(20)
    forward(monkeypatch)
    slow.answers.set()
    started(stage, "a")
    end(stage, "a")
    marked = "shop is down (overrides freeze later, with no end within a year)"
    assert stage.result("a")["emergency"] == marked
    audit = (stage.components.settings.state_dir / "audit.jsonl").read_text().splitlines()
    (claimed,) = (r for line in audit if (r := json.loads(line))["event"] == "claimed")
    assert claimed["emergency"] == marked
