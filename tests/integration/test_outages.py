"""One dependency away at a time: nothing is lost, and all recovers without hands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Dependency
from dispatcher.loop import outages as dependencies
from dispatcher.model.run import Claim
from tests.servers import bao
from tests.servers.bao import Bao
from tests.servers.freeze import freeze
from tests.support.evidence import live_grants
from tests.support.stage import Stage, action, eventually, path, set_stage


@pytest.fixture
def own_bao() -> Iterator[Bao]:
    """A server that this test may stop, seal and kill."""
    with bao.serve() as server:
        yield server


@pytest.fixture
def stage(own_bao: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, own_bao, vault={"timeout_s": 1.0}, ops_repo={"timeout_s": 5.0})
    yield stage
    own_bao.process.send_signal(signal.SIGCONT)
    stage.stop()


@eventually
def down(stage: Stage, dependency: Dependency) -> None:
    assert stage.watch.last is not None
    assert dependency in stage.watch.last.outages


@eventually
def up(stage: Stage) -> None:
    assert stage.watch.last is not None
    assert not stage.watch.last.outages


def test_a_vault_that_hangs_stops_only_what_needs_it(stage: Stage, own_bao: Bao) -> None:
    stage.scene.merge({path("before"): action("before", secrets='"TOKEN_A"')}, "Add one")
    stage.start()
    stage.runs(1)
    freeze(own_bao.process.pid)
    stage.scene.merge({path("during"): action("during", secrets='"TOKEN_A"')}, "Add another")
    down(stage, Dependency.VAULT)
    stage.scheduler.end(stage.scheduler.running()[0])
    assert stage.result("before")["verdict"] == "succeeded", "a verdict needs no vault"
    assert len(stage.components.ledger.open_runs()) == 1, "its claim stays until the grant is dead"
    own_bao.process.send_signal(signal.SIGCONT)
    stage.runs(1)
    stage.scheduler.end(stage.scheduler.running()[0])
    assert stage.result("during")["verdict"] == "succeeded"
    stage.at_rest()
    up(stage)
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["before", "during"]


def test_a_result_of_ours_stops_the_run_while_the_vault_is_away(
    stage: Stage, own_bao: Bao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grant is revoked when the vault is back, also by another dispatcher."""
    stage.scheduler.cancels_slowly = True
    stage.scene.merge({path("one"): action("one", secrets='"TOKEN_A"')}, "Add one")
    stage.start()
    stage.runs(1)
    with monkeypatch.context() as patch:
        patch.setattr(dependencies, "FIRST_PAUSE_S", 600.0)
        patch.setattr(dependencies, "LONGEST_PAUSE_S", 600.0)
        own_bao.process.send_signal(signal.SIGSTOP)
        stage.scene.merge({path("two"): action("two")}, "Add another")
        down(stage, Dependency.VAULT)
    stage.scene.merge({"vault/actions/one.result.json": stage.signed_result("one")}, "It ended")
    told_to_stop(stage)
    assert not of_one(stage).revoked
    stage.stop()
    assert stage.scheduler.cancelled == [of_one(stage).key], "once, and then it waits"
    stage.scene.remove(path("two"))
    own_bao.process.send_signal(signal.SIGCONT)
    stage.start()
    revoked(stage)
    assert not live_grants(own_bao, ["one"])
    audited = (stage.scene.open_settings().state_dir / "audit.jsonl").read_text()
    assert audited.count('"abandoned"') == 1
    stage.scheduler.end(stage.scheduler.running()[0])
    stage.at_rest()


def of_one(stage: Stage) -> Claim:
    return next(c for c in stage.components.ledger.open_runs() if c.key.action_id == "one")


@eventually
def told_to_stop(stage: Stage) -> None:
    assert of_one(stage).stopped


@eventually
def revoked(stage: Stage) -> None:
    assert of_one(stage).revoked


def test_a_sealed_vault_is_waited_for(stage: Stage, own_bao: Bao) -> None:
    client = own_bao.client()
    stage.start()
    up(stage)
    client.sys.seal()
    stage.scene.merge({path("sealed"): action("sealed", secrets='"TOKEN_A"')}, "Add one")
    down(stage, Dependency.VAULT)
    assert stage.watch.last is not None
    assert "sealed" in stage.watch.last.outages[Dependency.VAULT].error
    assert stage.scene.results() == {}
    assert stage.scheduler.submitted == []


def test_a_remote_that_is_away_is_waited_for(stage: Stage) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    away = stage.scene.remote.with_name("away.git")
    stage.scene.remote.rename(away)
    stage.scheduler.end(stage.scheduler.running()[0])
    down(stage, Dependency.REMOTE)
    away.rename(stage.scene.remote)
    assert stage.result("one")["verdict"] == "succeeded"
    stage.at_rest()
    up(stage)


def test_a_push_that_is_refused_is_tried_again_for_ever(stage: Stage) -> None:
    hook = stage.scene.remote / "hooks" / "pre-receive"
    stage.scene.merge({path("one"): action("one")}, "Add one")
    hook.write_text("#!/bin/sh\necho 'closed for maintenance' >&2\nexit 1\n")
    hook.chmod(0o755)
    stage.start()
    stage.runs(1)
    stage.scheduler.end(stage.scheduler.running()[0])
    down(stage, Dependency.REMOTE)
    assert stage.watch.last is not None
    assert "closed for maintenance" in stage.watch.last.outages[Dependency.REMOTE].error
    hook.unlink()
    assert stage.result("one")["verdict"] == "succeeded"
    stage.at_rest()


def test_results_and_people_push_at_the_same_time(stage: Stage) -> None:
    """A person pushes as fast as they can while results are written: nothing is lost."""
    names = [f"r{n}" for n in range(12)]
    notes = [f"notes/{n}" for n in range(25)]
    stage.scheduler.ends_at_once = True
    stage.scene.merge({path(n): action(n) for n in names}, "Add twelve")

    def push_all() -> None:
        for note in notes:
            stage.scene.merge({note: note}, f"Add {note}")

    person = threading.Thread(target=push_all)
    person.start()
    stage.start()
    person.join()
    for name in names:
        assert stage.result(name)["verdict"] == "succeeded"
    assert len(stage.scheduler.submitted) == len(names)
    tree = stage.scene.git("ls-tree", "-r", "--name-only", "main", cwd=stage.scene.remote)
    assert set(notes) <= set(tree.splitlines())


def test_a_stale_lock_in_the_clone_is_no_obstacle(stage: Stage) -> None:
    stage.once()
    clone = stage.scene.open_settings().state_dir / "ops.git"
    for name in ("refs/disinto/head.lock", "packed-refs.lock", "HEAD.lock"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.once()
    assert stage.result("one")["verdict"] == "succeeded"


def test_a_clone_that_went_bad_is_made_anew(stage: Stage) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.once()
    clone = stage.scene.open_settings().state_dir / "ops.git"
    for broken in [*clone.glob("objects/??/*"), *clone.glob("objects/pack/*.pack")]:
        broken.chmod(0o600)
        broken.write_bytes(b"not an object")
    stage.scene.merge({path("two"): action("two")}, "Add two")
    stage.once()
    assert stage.result("two")["verdict"] == "succeeded"
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["one", "two"]
