"""Finished actions move to ``vault/done``; nothing that ran there runs again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dispatcher.loop.archive import Archive
from dispatcher.ops_repo import Finished, Tree
from tests.servers.bao import Bao
from tests.support.stage import Stage, action, eventually, path, set_stage

DAY = 86_400


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, archive={"after_days": 7})
    stage.scene.merge({path(n): action(n) for n in ("a", "b", "c")}, "Add three")
    stage.once()
    stage.scene.merge({path("waits"): action("waits", formula="danger")}, "Add one that waits")
    yield stage
    stage.stop()


def tree_of(stage: Stage) -> Tree:
    tree = Tree()
    stage.components.repo.advance(tree, stage.components.repo.fetch().commit)
    return tree


def files(stage: Stage) -> list[str]:
    listing = stage.scene.git("ls-tree", "-r", "--name-only", "main", cwd=stage.scene.remote)
    return [name for name in listing.splitlines() if name.startswith("vault/")]


def test_only_what_is_old_enough_is_due(stage: Stage) -> None:
    archive = Archive(stage.components.repo, after_days=7)
    tree = tree_of(stage)
    assert archive.due(tree, now=time.time()) == []
    due = archive.due(tree, now=time.time() + 8 * DAY, keep={"b"})
    assert {entry.pair.action.id for entry in due} == {"a", "c"}


def test_pairs_move_together_in_one_commit_and_keep_their_history(stage: Stage) -> None:
    archive = Archive(stage.components.repo, after_days=7)
    commits = int(stage.scene.git("rev-list", "--count", "main", cwd=stage.scene.remote))
    month = time.strftime("%Y-%m", time.gmtime())
    (done,) = archive.move(archive.due(tree_of(stage), now=time.time() + 8 * DAY))
    assert len(done.written) == 6
    assert files(stage) == [
        "vault/actions/waits.toml",
        *(f"vault/done/{month}/{n}.{end}" for n in "abc" for end in ("result.json", "toml")),
    ]
    after = int(stage.scene.git("rev-list", "--count", "main", cwd=stage.scene.remote))
    assert after == commits + 1
    log = stage.scene.git(
        "log", "--format=%s", "--follow", "main", "--", f"vault/done/{month}/a.toml",
        cwd=stage.scene.remote,
    )  # fmt: skip
    assert log.splitlines() == ["Archive 3 actions", "Add three"]


def test_an_archived_id_never_runs_again(stage: Stage) -> None:
    archive = Archive(stage.components.repo, after_days=0)
    list(archive.move(archive.due(tree_of(stage), now=time.time() + DAY)))
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.merge({path("a"): action("a")}, "Use an id again")
    stage.once()
    assert [s.key.action_id for s in stage.scheduler.submitted].count("a") == 1
    assert "vault/actions/a.toml" in files(stage)
    assert "vault/actions/a.result.json" not in files(stage), "a second result would contradict"
    assert stage.watch.last is not None
    waits = {w.action_id: w.reason for w in stage.watch.last.plan.waits}
    assert "an id runs once" in waits["a"]


def test_serve_archives_by_itself(bao_server: Bao, tmp_path: Path) -> None:
    stage = set_stage(tmp_path, bao_server, archive={"after_days": 0})
    stage.scene.merge({path("old"): action("old")}, "Add one")
    stage.once()
    stage.start()
    try:
        _archived(stage)
    finally:
        stage.stop()
    stage.once()
    assert len(stage.scheduler.submitted) == 1


def test_no_result_is_read_for_the_archive_on_the_loops_thread(
    bao_server: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = set_stage(tmp_path, bao_server, archive={"after_days": 0})
    deep = path("deep").removesuffix(".toml") + ".result.json"
    forged = {path("deep"): action("deep"), deep: b'{"timestamp":' + b"[" * 100_000}
    stage.scene.merge({path("old"): action("old"), **forged}, "Add one, and a result that is none")
    stage.once()
    threads: list[str] = []
    read = Archive.read

    def noted(archive: Archive, pairs: Sequence[Finished]) -> None:
        threads.append(threading.current_thread().name)
        read(archive, pairs)

    monkeypatch.setattr(Archive, "read", noted)
    stage.start()
    try:
        _archived(stage, "old")
    finally:
        stage.stop()
    assert threads
    assert all(name.startswith("poller") for name in threads)
    assert deep in files(stage)


@eventually
def _archived(stage: Stage, action_id: str = "") -> None:
    assert not [name for name in files(stage) if name.startswith(f"vault/actions/{action_id}")]
