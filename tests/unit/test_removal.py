"""Removal of what formulas leave: trees of any depth and any modes, and nothing outside of them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.engines.local.spool import Spool
from dispatcher.host.removal import remove_tree
from dispatcher.model.payload import encode_outcome
from dispatcher.model.run import Outcome, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.runner import formula
from tests.support.deep import make_deep

DEPTHS = [1, 990, 3000]
"""The last one has paths longer than PATH_MAX, and both are more than Python recurses."""


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    """pytest itself cannot remove a deep tree that a failed test leaves."""
    yield
    subprocess.run(["rm", "-rf", *tmp_path.glob("*")], check=False)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_runner_removes_its_directory_however_deep(depth: int, tmp_path: Path) -> None:
    room = formula.make_workspace(str(tmp_path / "room"))
    make_deep(Path(room.work), depth)
    formula.remove_workspace(room)
    assert not (tmp_path / "room").exists()


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_dispatcher_removes_what_a_runner_left_however_deep(depth: int, tmp_path: Path) -> None:
    spool = Spool(tmp_path, RunKey(action_id="a", blob="b"))
    spool.home.mkdir(parents=True)
    make_deep(spool.home, depth)
    spool.remove_private()
    assert not spool.private.exists()
    make_deep(spool.path, depth)
    spool.remove(keep_logs=tmp_path / "logs")
    assert not spool.exists()


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_deep_tree_in_the_place_of_an_outcome_gives_way(depth: int, tmp_path: Path) -> None:
    spool = Spool(tmp_path, RunKey(action_id="a", blob="b"))
    make_deep(spool.path / "outcome.json", depth)
    lost = Outcome(verdict=Verdict.LOST, exit_code=1)
    spool.conclude(lost)
    assert (spool.path / "outcome.json").read_bytes() == encode_outcome(lost)


def test_the_descriptors_in_use_do_not_grow_with_the_depth(tmp_path: Path) -> None:
    make_deep(tmp_path / "tree", sys.getrecursionlimit())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    try:
        assert remove_tree(tmp_path / "tree") == ""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    assert remove_tree(tree) == ""
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_a_link_in_the_place_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "tree").symlink_to(outside)
    assert remove_tree(tmp_path / "tree") != ""
    assert (outside / "kept").exists()


def test_names_and_modes_do_not_matter(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").touch()
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff\n")).mkdir()
    for part in ("a/b", "a", "."):
        (tree / part).chmod(0)
    assert remove_tree(tree) == ""
    assert not tree.exists()


def test_what_is_not_there_is_removed(tmp_path: Path) -> None:
    assert remove_tree(tmp_path / "none") == ""
    assert remove_tree(tmp_path / "none" / "below") == ""


def test_what_cannot_be_removed_is_said_and_the_rest_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "b").mkdir()
    for place in ("a/stays", "a/goes", "b/goes"):
        (tree / place).touch()
    real = os.unlink

    def unlink(name: str, *, dir_fd: int | None = None) -> None:
        if name == "stays":
            raise PermissionError(1, "Operation not permitted")
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr("dispatcher.host.removal.os.unlink", unlink)
    assert remove_tree(tree) == "Operation not permitted"
    assert [str(p.relative_to(tree)) for p in sorted(tree.rglob("*"))] == ["a", "a/stays"]
    monkeypatch.undo()
    assert remove_tree(tree) == ""
