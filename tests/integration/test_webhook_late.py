"""A webhook's call that comes when the branch has been fetched already."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from tests.support.stage import Stage, action, eventually, path

pytestmark = pytest.mark.needs("bao", "git")

WAIT_S = 30.0


def test_nothing_is_asked_ahead_about_a_merge_that_was_fetched(stage: Stage) -> None:
    """The gate has asked about it, or does so now: all calls would be made twice."""
    asked: list[tuple[int, str]] = []
    heard = threading.Event()

    def ask(number: int, commit: str) -> None:
        asked.append((number, commit))
        heard.set()

    stage.change = lambda components: replace(components, ask_ahead=ask)
    head = stage.scene.merge({path("waits"): action("waits", formula="danger")}, "Add one")
    service = stage.start()

    @eventually
    def followed() -> None:
        assert stage.watch.last is not None
        assert stage.watch.last.head == head

    followed()
    service.request_merged(7, head)
    service.request_merged(8, "a" * 40)
    assert heard.wait(WAIT_S)
    assert asked == [(8, "a" * 40)]
