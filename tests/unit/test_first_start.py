"""A first start on an ops repo that others led: what it asks of git does not grow with what was archived."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from dispatcher.loop.tombstones import recall
from dispatcher.ops_repo import Seen, Tree
from dispatcher.ops_repo.records import Entry

COUNT = 50


class Repo:
    """Has archived results at the one commit that the remote says was seen; counts look-ups of paths."""

    def __init__(self) -> None:
        self.looked_up = 0
        self.files = {
            f"vault/done/2026-01/old-{n:03}.{ending}": Entry(mode=0o100644, oid=f"{n:040x}")
            for n in range(COUNT)
            for ending in ("toml", "result.json")
        }

    def seen(self) -> Seen:
        return Seen()

    def has_commit(self, oid: str) -> bool:
        return bool(oid)

    def remote_seen(self) -> str:
        return "5" * 40

    def dropped_results(self, commits: Iterable[str]) -> dict[str, tuple[str, ...]]:
        return {}

    def advance(self, tree: Tree, commit: str) -> None:
        tree.become(commit, self.files)

    def entries_at(self, commit: str, paths: Iterable[str]) -> dict[str, Entry]:
        self.looked_up += 1
        return {path: self.files[path] for path in paths if path in self.files}

    def blob_at(self, commit: str, path: str) -> str | None:
        return next((each.oid for each in self.entries_at(commit, [path]).values()), None)


def test_results_of_the_remotes_seen_are_looked_up_together() -> None:
    repo = Repo()
    components: Any = SimpleNamespace(repo=repo, ledger=SimpleNamespace(note=lambda _name: None))
    recalled = recall(components, "c" * 40)
    assert len(recalled.dropped) == COUNT
    assert recalled.dropped["old-007"] == (f"{7:040x}",)
    assert repo.looked_up == 1
