"""A force-push brings back an approved action that was withdrawn: it must wait, and not run."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.errors import Conflict
from dispatcher.loop.components import Components
from tests.servers.bao import Bao
from tests.support.stage import Stage, action, eventually, path, set_stage

pytestmark = pytest.mark.needs("bao", "git", "ssh-keygen")

LIMIT = "DISINTO_LIMITS__MAX_IN_FLIGHT"


@pytest.fixture
def stage(tmp_path: Path, vault: Bao) -> Iterator[Stage]:
    stage = set_stage(tmp_path, vault)
    stage.scene.environ[LIMIT] = "0"  # approved, and without a place
    yield stage
    stage.stop()


def ran(stage: Stage) -> list[str]:
    return [spec.key.action_id for spec in stage.scheduler.submitted]


def approve(stage: Stage) -> str:
    return stage.scene.merge({path("x"): action("x", formula="danger")}, "Approve x", sign=True)


def withdraw(stage: Stage) -> str:
    scene = stage.scene
    scene.git("rm", "-q", path("x"))
    scene.git("commit", "-q", "-S", "-m", "Withdraw x")
    scene.git("push", "-q", "origin", "HEAD:main")
    return scene.git("rev-parse", "HEAD")


def waits_for_a_new_approval(stage: Stage) -> None:
    """There is a place now, and x does not take it; approved once more, it does."""
    scene = stage.scene
    scene.environ[LIMIT] = "3"
    stage.once()
    stage.once()
    assert ran(stage) == []
    assert scene.results() == {}
    scene.git("fetch", "-q", "origin")
    scene.git("reset", "-q", "--hard", "origin/main")
    scene.operator["GIT_COMMITTER_DATE"] = f"@{int(time.time()) + 2} +0000"  # whole seconds
    again = action("x", formula="danger", more="# approved again")
    scene.merge({path("x"): again}, "Approve x again", sign=True)
    stage.once()
    assert ran(stage) == ["x"]


def force(stage: Stage, commit: str) -> None:
    stage.scene.git("push", "-q", "--force", "origin", f"{commit}:main")


@eventually
def views(stage: Stage, head: str) -> None:
    """The dispatcher at work has decided on this head."""
    service = stage.service
    service.look_now()
    last = stage.watch.last
    assert last is not None
    assert last.head == head


class Held:
    """An adapter of which one method waits while it is told to."""

    def __init__(self, inner: Any, method: str, go: threading.Event) -> None:
        self._inner, self._method, self._go = inner, method, go
        self.reached = threading.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def held(*args: Any, **kwargs: Any) -> Any:
            if not self._go.is_set():
                self.reached.set()
                assert self._go.wait(60)
            return found(*args, **kwargs)

        return held


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "restarts"])
def test_a_withdrawal_is_known_while_earlier_heads_are_being_recorded(
    stage: Stage, dies: bool
) -> None:
    """Of several heads only the last is noted; each of them was looked at, and counts."""
    go = threading.Event()
    go.set()

    def change(components: Components) -> Components:
        return replace(components, ledger=Held(components.ledger, "write_note", go))

    stage.change = change
    approve(stage)
    stage.once()
    service = stage.start()
    go.clear()
    noted = None
    try:
        back = stage.scene.merge({"README.md": "other\n"}, "Anything")
        views(stage, back)
        views(stage, withdraw(stage))
        if dies:
            noted = stage.components.ledger.note("seen")
            assert noted is not None
        force(stage, back)
        if not dies:
            views(stage, back)
        else:
            service.stop()
    finally:
        go.set()
    stage.stop()
    if dies:
        assert noted is not None
        before = noted.text

        @eventually
        def put_back() -> None:  # the write that was held may still come
            now = stage.components.ledger.note("seen")
            assert now is not None
            try:
                stage.components.ledger.write_note("seen", before, version=now.version)
            except Conflict as again:
                raise AssertionError from again

        put_back()
        clone = str(stage.scene.config.parent / "state" / "ops.git")
        stage.scene.git("--git-dir", clone, "update-ref", "refs/disinto/seen", noted.text)
    waits_for_a_new_approval(stage)


def test_a_clone_that_was_lost_at_work_takes_all_earlier_approvals_with_it(stage: Stage) -> None:
    """Nobody can tell any more what the commits did that only the old clone had."""
    approval = approve(stage)
    stage.start()
    views(stage, approval)
    views(stage, withdraw(stage))
    force(stage, approval)
    shutil.rmtree(stage.scene.config.parent / "state" / "ops.git" / "objects")
    views(stage, approval)
    stage.at_rest()
    stage.stop()
    waits_for_a_new_approval(stage)


def test_a_withdrawal_is_known_by_the_ledger_when_the_clone_was_deleted(stage: Stage) -> None:
    approval = approve(stage)
    stage.once()
    withdrawn = withdraw(stage)
    stage.once()
    shutil.rmtree(stage.scene.config.parent / "state" / "ops.git")
    scene = stage.scene
    scene.git("push", "-q", "origin", f"{withdrawn}:refs/disinto/seen")
    scene.git("reset", "-q", "--hard", approval)
    scene.git("commit", "-q", "--allow-empty", "-m", "Anything")
    force(stage, "HEAD")
    waits_for_a_new_approval(stage)


def test_a_withdrawn_action_that_a_force_push_brings_back_waits(stage: Stage) -> None:
    scene = stage.scene
    approval = scene.merge({path("x"): action("x", formula="danger")}, "Approve x", sign=True)
    stage.once()
    withdraw(stage)
    stage.once()
    scene.git("reset", "-q", "--hard", approval)
    scene.git("push", "-q", "--force", "origin", "HEAD:main")
    scene.environ[LIMIT] = "3"
    stage.once()
    stage.once()  # also when the rewrite is old news
    assert ran(stage) == []
    assert scene.results() == {}
    again = action("x", formula="danger", more="# approved again")
    scene.merge({path("x"): again}, "Approve x again", sign=True)
    stage.once()
    assert ran(stage) == ["x"]
    assert scene.results()["x"]["approved_by"] == ["ada@example.org"]
