"""The directories that are kept in memory: up to a size, and those used last."""

from __future__ import annotations

from dispatcher.ops_repo.recent_trees import _EACH, RecentTrees

NAMES = {b"a": b"100644 a\0" + b"1" * 20}


def test_what_was_used_last_stays() -> None:
    trees = RecentTrees(3 * (100 + _EACH))
    for oid in ("a", "b", "c"):
        trees.keep(oid, NAMES, 100)
    assert trees.get("a") == (NAMES, 100)
    trees.keep("d", NAMES, 100)
    assert trees.get("b") is None
    assert [oid for oid in "acd" if trees.get(oid)] == ["a", "c", "d"]


def test_one_that_is_kept_again_counts_once() -> None:
    trees = RecentTrees(2 * (100 + _EACH))
    trees.keep("a", NAMES, 100)
    for _ in range(5):
        trees.keep("b", NAMES, 100)
    assert trees.get("a")
    assert trees.get("b")


def test_one_that_is_too_large_drives_no_other_out() -> None:
    trees = RecentTrees(100 + _EACH)
    trees.keep("a", NAMES, 100)
    trees.keep("b", NAMES, 101)
    assert trees.get("a")
    assert trees.get("b") is None


def test_small_ones_are_not_kept_without_limit() -> None:
    trees = RecentTrees(10 * _EACH)
    for number in range(100):
        trees.keep(str(number), {}, 0)
    assert sum(trees.get(str(number)) is not None for number in range(100)) == 10
