"""A service that is to end waits for no remote: neither for one that never answers a fetch, nor for
one that never ends a push.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.model.run import Phase
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import OpsRepoSettings
from tests.servers import silent
from tests.servers.bao import Bao
from tests.support.stage import action, eventually, path, set_stage

SOON_S = 15
"""Far less than the minute after which a fetch or a push is given up."""


@pytest.fixture
def never() -> Iterator[silent.Silent]:
    with silent.serve() as server:
        yield server


def pollers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("poller")}


def test_a_fetch_that_hangs(bao_server: Bao, never: silent.Silent, tmp_path: Path) -> None:
    before = pollers()
    stage = set_stage(tmp_path, bao_server, ops_repo={"remote": f"{never.addr}/ops.git"})
    stage.start()
    assert never.asked.acquire(timeout=20)
    began = time.monotonic()
    stage.stop()
    for thread in pollers() - before:  # the process ends no sooner
        thread.join(SOON_S)
        assert not thread.is_alive()
    assert never.left.acquire(timeout=SOON_S), "git is gone"
    assert time.monotonic() - began < SOON_S


def test_a_push_that_hangs(bao_server: Bao, tmp_path: Path) -> None:
    """What was to be pushed stands in the ledger, and the next service pushes it."""
    stage = set_stage(tmp_path, bao_server)
    begun = tmp_path / "begun"
    hook = stage.scene.remote / "hooks" / "pre-receive"
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    hook.write_text(f"#!/bin/sh\ntouch {begun}\nsleep 600\n")
    hook.chmod(0o755)
    stage.scheduler.end(stage.scheduler.running()[0])
    is_there(begun)
    stage.stop()
    (claim,) = stage.components.ledger.open_runs()
    assert claim.phase is Phase.ENDED
    hook.unlink()
    stage.start()
    assert stage.result("one")["verdict"] == "succeeded"
    stage.stop()


@eventually
def is_there(file: Path) -> None:
    assert file.exists()


def test_a_push_that_is_under_way_is_ended_by_itself(bao_server: Bao, tmp_path: Path) -> None:
    stage = set_stage(tmp_path, bao_server)
    begun = tmp_path / "begun"
    hook = stage.scene.remote / "hooks" / "pre-receive"
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    hook.write_text(f"#!/bin/sh\ntouch {begun}\nsleep 1\n")
    hook.chmod(0o755)
    stage.scheduler.end(stage.scheduler.running()[0])
    is_there(begun)
    stage.stop()
    assert stage.scene.results()["one"]["verdict"] == "succeeded"


def test_a_stopped_repository_asks_nobody_and_can_still_be_read(
    never: silent.Silent, tmp_path: Path
) -> None:
    settings = OpsRepoSettings(remote=f"{never.addr}/ops.git")
    repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    errors: list[Exception] = []

    def fetch() -> None:
        try:
            repo.fetch()
        except Unavailable as error:
            errors.append(error)

    asker = threading.Thread(target=fetch)
    asker.start()
    assert never.asked.acquire(timeout=20)
    repo.stop()
    asker.join(SOON_S)
    assert not asker.is_alive()
    with pytest.raises(Unavailable, match="no longer contacted") as refused:
        repo.fetch()
    assert refused.value.dependency is Dependency.REMOTE
    assert [str(error) for error in errors] == [str(refused.value)]
    assert not never.asked.acquire(blocking=False)
    assert repo.local_head() is None


def test_a_clone_that_another_process_holds_is_not_waited_for(tmp_path: Path) -> None:
    settings = OpsRepoSettings(remote=str(tmp_path / "nosuch.git"))
    repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    with (tmp_path / "clone.git.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        repo.stop()
        with pytest.raises(Unavailable, match="no longer contacted"):
            repo.fetch()
