"""What the dispatcher wrote, and somebody touched before the dispatcher itself looked at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.loop.components import Components
from dispatcher.model.run import Phase
from dispatcher.ops_repo import Head, Published
from tests.fakes.source import Wishes, wish
from tests.servers.bao import Bao
from tests.support.stage import Stage, path, set_stage

pytestmark = pytest.mark.needs("bao", "git", "ssh-keygen")


class Raced:
    """The ops repo, where somebody pushes between our push of an action and our next look."""

    def __init__(self, repo: Any, push: Callable[[], None]) -> None:
        self._repo, self._push = repo, push
        self._before: Head | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repo, name)

    def local_head(self) -> Head | None:
        return self._before or self._repo.local_head()

    def publish(self, *args: Any, **kwargs: Any) -> Published:
        self._before = self._repo.local_head()
        published: Published = self._repo.publish(*args, **kwargs)
        if any("/one-1.toml" in each for each in published.written):
            self._push()
            self._repo.fetch()
        self._before = None
        return published


@pytest.fixture
def wishes() -> Wishes:
    return Wishes(wishes=[wish("one-1", formula="danger")])  # waits for approval


@pytest.fixture
def stage(tmp_path: Path, vault: Bao) -> Iterator[Stage]:
    stage = set_stage(tmp_path, vault)
    yield stage
    stage.stop()


def edited(stage: Stage) -> None:
    text = 'id = "one-1"\nformula = "hello"\ncontext = ""\nsecrets = []\n'
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.merge({path("one-1"): text}, "Make it another")


def deleted(stage: Stage) -> None:
    stage.scene.remove(path("one-1"))


def dropped(stage: Stage) -> None:
    stage.scene.git("push", "--quiet", "--force", "origin", "HEAD:main")


@pytest.mark.parametrize("touched", [edited, deleted, dropped])
def test_an_action_of_ours_that_was_touched_before_we_saw_it_is_gone_for_good(
    stage: Stage, wishes: Wishes, touched: Callable[[Stage], None]
) -> None:
    genuine = ""

    def push() -> None:
        nonlocal genuine
        genuine = stage.scene.git("show", f"main:{path('one-1')}", cwd=stage.scene.remote) + "\n"
        touched(stage)

    def change(components: Components) -> Components:
        repo: Any = Raced(components.repo, push)
        return replace(components, sources=(wishes,), repo=repo)

    stage.change = change
    stage.once()
    assert stage.scheduler.submitted == [], "whatever stands there now"
    stage.change = lambda components: replace(components, sources=(wishes,))
    (claim,) = stage.components.ledger.open_runs() or (None,)
    if touched is edited:
        assert stage.scene.results()["one-1"]["verdict"] == "invalid"
    else:
        assert claim is not None
        assert claim.phase is Phase.TOMBSTONE
        stage.scene.git("fetch", "--quiet", "origin")
        stage.scene.git("reset", "--quiet", "--hard", "origin/main")
        stage.scene.merge({path("one-1"): genuine}, "Bring it back", sign=True)
        stage.once()
        assert stage.scene.results()["one-1"]["verdict"] == "invalid"
    assert stage.scheduler.submitted == []
