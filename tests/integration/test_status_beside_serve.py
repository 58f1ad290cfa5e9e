"""``status`` beside a living ``serve`` reads what it shows, and not the whole ops repo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from dispatcher.cli.session import Session
from dispatcher.cli.status import Gathered, Wanted, gather
from dispatcher.operate.lookup import look_up
from dispatcher.ops_repo import OpsRepo
from dispatcher.status.snapshot import Snapshots, Trackers
from dispatcher.status.status_file import StatusFile
from tests.servers.bao import Bao
from tests.support.stage import Stage, action, eventually, path, set_stage


@pytest.fixture(params=[True, False], ids=["archives", "does not archive"])
def stage(
    bao_server: Bao,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Stage]:
    """Three finished actions from before, and a dispatcher that writes its status file."""
    stage = set_stage(tmp_path, bao_server, archive={"automatic": request.param})
    stage.scene.merge({path(name): action(name) for name in ("a", "b", "c")}, "Add three")
    stage.once()
    for name, value in stage.scene.environ.items():
        monkeypatch.setenv(name, value)
    pulse = Snapshots(())
    with StatusFile(stage.scene.open_settings().state_dir, pulse.overview) as file:
        watch, stage.watch = stage.watch, Trackers(stage.watch, pulse, file)  # type: ignore[assignment]
        stage.start()
        yield stage
        stage.stop()
        stage.watch = watch


def gathered(stage: Stage) -> Gathered:
    return gather(Session(config=stage.scene.config))


@eventually
def until_listed(stage: Stage, count: int) -> Gathered:
    found = gathered(stage)
    assert found.overview.leader
    assert found.overview.newest is not None
    assert len(found.overview.newest) == count
    return found


def refuse(*_: object) -> NoReturn:
    raise AssertionError("the whole tree was asked for")


def test_the_last_results_are_shown_without_a_look_at_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = until_listed(stage, 3)
    stage.scheduler.ends_at_once = True
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.merge({path("d"): action("d")}, "Add one more")
    found = until_listed(stage, 4)
    monkeypatch.setattr(OpsRepo, "advance", refuse)
    results = found.last_results(2, Wanted())
    assert results[0].id == "d"
    assert results[1].id in ("a", "b", "c")
    assert len(found.last_results(100, Wanted())) == 4


def test_more_results_than_are_known_are_read_all_the_same(stage: Stage) -> None:
    assert len(until_listed(stage, 3).last_results(101, Wanted())) == 3


def test_one_action_is_looked_up_without_a_look_at_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = until_listed(stage, 3)
    monkeypatch.setattr(OpsRepo, "advance", refuse)
    account = look_up("a", repo=found.repo, tree=found.tree_of("a"))
    assert account.state == "finished"
    assert account.record().verdict == "succeeded"
    assert account.path == path("a")
    assert found.tree_of("nobody").action_path("nobody") is None
    assert found.tree_of("../actions/a").action_path("a") is None
