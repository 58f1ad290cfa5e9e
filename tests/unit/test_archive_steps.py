"""Archiving in steps: each is bounded, whatever is due, and stops when it is told to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import cast

import pytest

from dispatcher.loop import archive as archiving
from dispatcher.loop.archive import PAIRS_A_COMMIT, RESULTS_A_STEP, Archive, Pass
from dispatcher.ops_repo import Move, OpsRepo, Published, Tree
from dispatcher.ops_repo.records import Entry

NOW = 1_900_000_000.0
DEEP = b'{"timestamp":' + b"[" * 100_000


class Repo:
    """Stands for an ops repo: notes how much is asked of it at once."""

    def __init__(self, results: dict[str, bytes]) -> None:
        self._results = results
        self.reads: list[int] = []
        self.commits: list[list[str]] = []

    def read(self, blobs: Iterable[str], *, limit: int) -> dict[str, bytes | int]:
        assert limit > 0
        found: dict[str, bytes | int] = {blob: self._results[blob] for blob in blobs}
        self.reads.append(len(found))
        return found

    def publish(
        self,
        files: Sequence[object],
        *,
        moves: Sequence[Move],
        message: str,
        check: Callable[[], None],
    ) -> Published:
        assert not files
        assert message
        check()
        self.commits.append([m.source for m in moves])
        return Published(commit="c", written=tuple(m.target for m in moves), skipped=())


def finished(count: int, *, text: bytes | None = None) -> tuple[Archive, Repo, Tree]:
    """So many finished pairs, the higher their number the older."""
    results, listing = {}, {}
    for number in range(count):
        name = f"vault/actions/act-{number:05}"
        blob = f"{number:040x}"
        stamp = f"2025-03-{28 - number * 20 // max(count, 1):02}T00:00:00+00:00"
        results[blob] = json.dumps({"timestamp": stamp}).encode() if text is None else text
        listing[f"{name}.toml"] = Entry(mode=0o100644, oid="ab" * 20)
        listing[f"{name}.result.json"] = Entry(mode=0o100644, oid=blob)
    tree = Tree()
    tree.become("c", listing)
    repo = Repo(results)
    return Archive(cast(OpsRepo, repo), after_days=7), repo, tree


def run(current: Pass, keep: Collection[str] = ()) -> int:
    total, more = 0, True
    while more:
        moved, more = current.step(keep=keep, check=lambda: None)
        total += moved
    return total


def test_no_step_reads_or_moves_more_than_its_share() -> None:
    count = 2 * PAIRS_A_COMMIT + RESULTS_A_STEP + 1
    archive, repo, tree = finished(count)
    assert run(archive.begin(tree, now=NOW)) == count
    assert max(repo.reads) <= RESULTS_A_STEP
    assert [len(commit) // 2 for commit in repo.commits] == [
        PAIRS_A_COMMIT,
        PAIRS_A_COMMIT,
        RESULTS_A_STEP + 1,
    ]


def test_the_oldest_move_first_and_what_is_kept_stays() -> None:
    archive, repo, tree = finished(40)
    assert run(archive.begin(tree, now=NOW), keep={"act-00039"}) == 39
    (commit,) = repo.commits
    assert commit[0] == "vault/actions/act-00038.toml"
    assert not [source for source in commit if "act-00039" in source]


def test_a_later_pass_reads_only_what_is_new() -> None:
    archive, repo, tree = finished(10)
    archive.due(tree, now=NOW)
    repo.reads.clear()
    assert len(archive.due(tree, now=NOW)) == 10
    assert repo.reads == []


def test_a_step_that_is_told_to_stop_pushes_nothing_and_can_be_taken_again() -> None:
    archive, repo, tree = finished(PAIRS_A_COMMIT + 1)
    current = archive.begin(tree, now=NOW)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        current.step(keep=(), check=stop)
    assert repo.reads == []
    assert run(current) == PAIRS_A_COMMIT + 1
    assert sum(map(len, repo.commits)) == 2 * (PAIRS_A_COMMIT + 1)


@pytest.mark.parametrize("text", [DEEP, b"", b"[]", b'{"timestamp": 7}', b'{"timestamp": "x"}'])
def test_a_result_that_is_none_stays_and_stops_nothing(text: bytes) -> None:
    archive, repo, tree = finished(3, text=text)
    assert run(archive.begin(tree, now=NOW)) == 0
    assert repo.commits == []


def test_what_is_too_young_stays() -> None:
    archive, _, tree = finished(1)
    assert archive.due(tree, now=1_740_787_200.0) == []


def test_a_full_month_goes_on_in_the_directories_of_its_days(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archiving, "MONTH_LIMIT", 12)
    archive, _, tree = finished(20)
    moved = {
        f"vault/done/2025-03/old-{number}.{ending}": Entry(mode=0o100644, oid="cd" * 20)
        for number in range(10)
        for ending in ("toml", "result.json")
    }
    tree.step("d", moved.items())
    assert tree.archived_in == {"2025-03": 10}

    folders = Counter(due.folder for due in archive.due(tree, now=NOW))

    assert folders.pop("vault/done/2025-03") == 2
    assert folders
    assert all(folder.startswith("vault/done/2025-03-") for folder in folders)
    assert sum(folders.values()) == 18
