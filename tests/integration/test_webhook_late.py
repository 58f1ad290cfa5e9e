"""A webhook's call that names a head which the last fetch found."""

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


def test_a_branch_that_is_pushed_back_over_our_result_is_fetched(stage: Stage) -> None:
    """The call names the head that the last fetch found. The result came after that, and is gone."""
    stage.scene.environ["DISINTO_OPS_REPO__POLL_INTERVAL_S"] = "3600"
    head = stage.scene.merge({path("one"): action("one")}, "Add one")
    service = stage.start()
    stage.runs(1)
    (run,) = stage.scheduler.running()
    stage.scheduler.end(run)

    @eventually
    def views(*, result: bool) -> None:
        assert stage.watch.last is not None
        assert (stage.watch.last.head != head) == result

    views(result=True)
    stage.scene.git("push", "-q", "--force", "origin", f"{head}:main")
    service.branch_moved(head)
    views(result=False)
