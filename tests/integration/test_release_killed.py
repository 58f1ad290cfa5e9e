"""A deploy is killed at every step: the next run repairs the machine."""

from __future__ import annotations

import itertools
import json
import os
import threading
from pathlib import Path

import pytest

from dispatcher.release import lock
from dispatcher.release.outcome import Outcome
from tests.support.processes import alive
from tests.support.release_stage import BAD, GOOD, WORKER, ReleaseStage, git
from tests.support.thorough import some

pytestmark = pytest.mark.needs("git")

FORWARD = (
    "prepare",
    "checkout",
    "dependencies",
    "migrations",
    "smoke",
    "stamp",
    "restart",
    "health",
)
BACKWARD = ("checkout", "dependencies", "env", "stamp", "restart", "health")
MOMENTS = ("begin", "end")


@pytest.fixture
def stage(tmp_path: Path) -> ReleaseStage:
    made = ReleaseStage(tmp_path)
    assert made.deploy().outcome == Outcome.DEPLOYED
    return made


@pytest.mark.parametrize(
    "power", some((False, True), always=(True,)), ids=lambda cut: "power cut" if cut else "killed"
)
@pytest.mark.parametrize(
    "at",
    some(
        list(itertools.product(FORWARD, MOMENTS)),
        always=[("restart", "end")],
    ),
)
def test_the_next_run_returns_to_the_safe_commit(
    at: tuple[str, str], power: bool, stage: ReleaseStage
) -> None:
    step, when = at
    target = stage.push({"lib": "2"})
    stage.killed(step, when)
    if power:
        lose_files(stage)
        stage.cut_power()
    assert stage.application.layout.lock.exists()
    last = stage.tick()
    assert last.outcome == Outcome.ROLLED_BACK, last.message
    assert f"interrupted at {step}" in last.message
    stage.assert_on(stage.first, lib="1")
    # The timer does not try a commit that may have killed the machine; a person may.
    assert stage.tick().outcome == Outcome.NOT_RETRIED
    assert stage.deploy().outcome == Outcome.DEPLOYED
    stage.assert_on(target, lib="2")


@pytest.mark.parametrize(
    "at", some(itertools.product(BACKWARD, MOMENTS), always=(("stamp", "end"),))
)
def test_killed_on_the_way_back(at: tuple[str, str], stage: ReleaseStage) -> None:
    step, when = at
    stage.push({**BAD["health"], "lib": "2"})
    stage.killed("health", "begin")
    stage.killed(step, when, act=stage.tick)
    stage.tick()
    stage.assert_on(stage.first, lib="1")
    assert stage.tick().outcome == Outcome.NOT_RETRIED


def test_killed_at_the_very_end(stage: ReleaseStage) -> None:
    target = stage.push({"lib": "2"})
    stage.killed("record", "end")
    stage.assert_safe_but_unfinished(target)
    assert stage.tick().outcome == Outcome.UP_TO_DATE
    stage.assert_on(target, lib="2")
    stage.push({"healthy": "no"})
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    stage.assert_on(target, lib="2")


@pytest.mark.thorough
@pytest.mark.parametrize("step", [*FORWARD, "record"])
def test_a_first_deploy_is_killed(step: str, tmp_path: Path) -> None:
    stage = ReleaseStage(tmp_path)
    stage.killed(step, "begin")
    assert stage.tick().outcome == Outcome.STOPPED
    assert stage.fake.running() == {}
    assert stage.deploy().outcome == Outcome.DEPLOYED
    stage.assert_on(stage.first, lib="1")


def test_commands_of_a_killed_deploy_end_before_the_repair(stage: ReleaseStage) -> None:
    """The migration outlives the deploy that started it, and holds the lock."""
    fifo = stage.root / "fifo"
    os.mkfifo(fifo)
    stage.push({"migrate.sh": f"echo > {fifo}; sleep 600; touch {stage.root}/late"})
    child = os.fork()
    if not child:
        try:
            stage.deploy()
        finally:
            os._exit(77)
    fifo.read_text()  # the migration runs
    os.kill(child, 9)
    os.waitpid(child, 0)
    orphan = json.loads(stage.application.layout.lock.read_text())["group"]
    assert alive(orphan)
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    stage.assert_on(stage.first, lib="1")
    assert not alive(orphan)


def test_a_signal_begins_the_rollback(stage: ReleaseStage) -> None:
    stage.push({"smoke.sh": f"kill -TERM {os.getpid()}; sleep 600"})
    last = stage.deploy()
    assert last.outcome == Outcome.ROLLED_BACK
    assert last.message == "smoke: interrupted by SIGTERM"
    stage.assert_on(stage.first, lib="1")


def test_triggers_during_a_deploy_cause_exactly_one_more(stage: ReleaseStage) -> None:
    """Three triggers while the smoke test runs, and a commit: one more deploy, of the newest head."""
    fifo = stage.root / "fifo"
    os.mkfifo(fifo)
    stage.push({"smoke.sh": f"cat {fifo}", "lib": "2"})
    ended: list[object] = []
    deploying = threading.Thread(target=lambda: ended.append(stage.deploy()))
    deploying.start()
    with fifo.open("w"):  # the smoke test runs
        stage.push({"smoke.sh": "false", "lib": "3"})
        newest = stage.push({"smoke.sh": "true", "lib": "4"})
        for _ in range(3):
            with pytest.raises(lock.Held):
                stage.tick()
    deploying.join(60)
    stage.assert_on(newest, lib="4")
    deployed = [line for line in stage.log.splitlines() if "deploys " in line]
    assert len(deployed) == 3, "the first deploy, the one that was disturbed, and one more"
    assert not stage.application.layout.requested.exists()


@pytest.mark.thorough
def test_nothing_is_started_after_a_failed_migration(stage: ReleaseStage) -> None:
    """Not even a service that somebody had stopped; but one that has started on the new code since."""
    stage.fake.stop(WORKER)
    stage.push({**GOOD, **BAD["migrations"], "lib": "2"})
    stage.fake.calls.clear()
    assert stage.tick().outcome == Outcome.BROKEN
    assert stage.fake.calls == []
    stage.cut_power()
    assert stage.tick().outcome == Outcome.ROLLED_BACK
    stage.assert_on(stage.first, lib="1")


def lose_files(stage: ReleaseStage) -> None:
    """As a power cut loses what was not on the disk: contents become empty, the index may be damaged."""
    src = stage.root / "src"
    for key, value in (("core.trustctime", "false"), ("core.checkStat", "minimal")):
        git(src, "config", key, value)  # ctime cannot be set, and after a power cut it would fit
    git(src, "update-index", "-q", "--refresh")
    for name in ("lib", "healthy"):
        size = (src / name).stat()
        (src / name).write_bytes(b"\0" * size.st_size)
        os.utime(src / name, ns=(size.st_atime_ns, size.st_mtime_ns))
    (src / ".git" / "index.lock").touch()
    (src / ".git" / "HEAD.lock").touch()
