"""What signed results say about the inventory, and that it is verified once and never believed for long."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.attestation import SignatureVerifier, git_blob, key_id, seal_with
from dispatcher.loop.foreign import InGit
from dispatcher.loop.inventory import CHANGES_LIMIT, InventoryEntry, InventoryReader
from dispatcher.loop.inventory_cache import CACHE, FactCache
from dispatcher.loop.inventory_facts import fact_of
from dispatcher.loop.inventory_standing import standing_of
from dispatcher.model.inventory import Change, says_inventory
from dispatcher.model.inventory_entry import entry_path, named_by, rendered
from dispatcher.model.result import Result, ResultInventory
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Entry

KEYS = [Ed25519PrivateKey.generate() for _ in range(2)]
Named = tuple[str, str]
WEB = ("machine", "web")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def result(
    action_id: str, change: Change = Change.CREATES, *, at: int = 0, **entry: object
) -> Result:
    done = ResultInventory(change=change, kind="machine", id="web", entry=dict(entry))
    return Result(
        id=action_id,
        exit_code=0,
        timestamp=f"2026-01-01T00:00:{at:02}.000Z",
        verdict=Verdict.SUCCEEDED,
        inventory=done,
    )


class Git:
    """A repository in memory: one commit.

    Attributes:
        reads: how many blobs were read.
        walks: the commits since which messages were read, "" for all.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.files: dict[Named, Entry] = {}
        self.results: dict[str, str] = {}
        self.claims: dict[Named, dict[str, None]] = {}
        self.reads, self.walks, self.commit, self.rewritten = 0, list[str](), "1", False

    def add(self, made: Result, *, key: Ed25519PrivateKey = KEYS[0], claim: bool = True) -> None:
        """A result, and the entry that it writes."""
        self.results[made.id] = self.blob(sealed(made, key).encode())
        if claim and made.inventory:
            self.claims.setdefault(WEB, {})[made.id] = None
        if made.inventory and made.inventory.change is not Change.DESTROYS:
            self.put(rendered(made))
        elif made.inventory:
            self.remove()

    def put(self, data: bytes) -> None:
        """Somebody writes the entry's file."""
        self.files[WEB] = Entry(mode=0o100644, oid=self.blob(data))
        self.commit = str(int(self.commit) + 1)

    def remove(self) -> None:
        """Somebody removes it."""
        del self.files[WEB]
        self.commit = str(int(self.commit) + 1)

    def blob(self, data: bytes) -> str:
        oid = git_blob(data)
        self.blobs[oid] = data
        return oid

    def inventory(self, commit: str) -> dict[Named, Entry]:
        return dict(self.files)

    def inventory_changes(self, commit: str, *, since: str = "") -> dict[Named, dict[str, None]]:
        self.walks.append(since)
        return {named: dict(ids) for named, ids in self.claims.items()}

    def entries_at(self, commit: str, paths: Iterable[str]) -> Mapping[str, Entry]:
        return {path: self.files[WEB] for path in paths if path == entry_path(*WEB)}

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        return not self.rewritten and int(ancestor) <= int(commit)

    def has_commit(self, oid: str) -> bool:
        return True

    def read(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]:
        wanted = list(blobs)
        self.reads += len(wanted)
        return {oid: self.blobs[oid] for oid in wanted}

    def locate(self, action_id: str) -> InGit | None:
        blob = self.results.get(action_id)
        return None if blob is None else InGit(action_id=action_id, commit="1", path="", blob=blob)


def sealed(made: Result, key: Ed25519PrivateKey) -> str:
    class Signer:
        def sign(self, data: bytes) -> tuple[str, bytes]:
            return key_id(key.public_key()), key.sign(data)

    return seal_with(Signer(), made.to_json())


def reader(git: Git, state: Path | None = None, keys: tuple[int, ...] = (0,)) -> InventoryReader:
    verifier = SignatureVerifier(lambda: [KEYS[n].public_key() for n in keys])
    return InventoryReader(git, verifier, FactCache(state))


def read(inventory: InventoryReader, git: Git, **more: Any) -> list[InventoryEntry]:
    return inventory.read(git.commit, git.locate, **more)


@given(entry=st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_an_entrys_file_is_json_with_an_indent_of_two(entry: dict[str, object]) -> None:
    data = rendered(result("web", x=entry)).decode()
    assert data == json.dumps(json.loads(data), indent=2, ensure_ascii=False) + "\n"


def test_only_a_result_that_names_an_entry_says_so() -> None:
    made = result("web", deep={"inventory": {"a": '\n  "inventory": {'}})
    assert says_inventory(made.to_json())
    silent = made.model_copy(update={"inventory": None, "outputs": {"inventory": {"a": 1}}})
    assert not says_inventory(silent.to_json())


def test_the_path_names_the_entry() -> None:
    assert named_by(entry_path(*WEB)) == WEB
    for odd in ("", "vault/inventory/machine/UPPER.json", "vault/inventory/web.json", "x/y.json"):
        assert named_by(odd) is None


def test_it_is_verified_once_also_after_a_restart(tmp_path: Path) -> None:
    git = Git()
    git.add(result("web", n=1))
    (first,) = read(reader(git, tmp_path), git)
    assert (first.problem, first.entry, git.reads) == ("", {"n": 1}, 1)
    again = reader(git, tmp_path)
    assert read(again, git) == [first]
    assert read(again, git) == [first]
    assert git.reads == 1, "by the cache"
    assert git.walks == [""], "and so is the history"
    git.commit = "7"
    assert read(again, git) == [first]
    assert git.walks == ["", "2"], "of which only what is new is read"
    git.commit, git.rewritten = "8", True
    read(again, git)
    assert git.walks == ["", "2", ""], "unless it was rewritten"
    git.claims = {}
    git.remove()
    assert [each.missing for each in read(again, git)] == [True], "what it said still counts"
    assert [each.missing for each in read(reader(git, tmp_path), git)] == [True]


def test_what_was_verified_counts_for_the_same_keys_and_bytes_alone(tmp_path: Path) -> None:
    git = Git()
    git.add(result("web", n=1))
    read(reader(git, tmp_path), git)
    (other,) = read(reader(git, tmp_path, keys=(1,)), git)
    assert other.problem == "there is no result web of this dispatcher"
    (both,) = read(reader(git, tmp_path, keys=(1, 0)), git)
    assert both.problem == ""
    made = git.blobs[git.results["web"]]
    git.results["web"] = git.blob(made.replace(b'"n": 1', b'"n": 2'))
    (forged,) = read(reader(git, tmp_path, keys=(1, 0)), git)
    assert forged.problem == "there is no result web of this dispatcher"
    git.results = {"other": git.blob(made)}
    git.claims = {WEB: {"other": None}}
    (copied,) = read(reader(git, tmp_path, keys=(1, 0)), git)
    assert copied.problem, "another action's result"


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\0 but not quite", b"x" * 9_000])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, damage: bytes) -> None:
    git = Git()
    git.add(result("web", n=1))
    (tmp_path / CACHE).write_bytes(damage)
    (entry,) = read(reader(git, tmp_path), git)
    assert entry.problem == ""
    read(reader(git, tmp_path), git)
    with sqlite3.connect(tmp_path / CACHE) as db:
        db.execute("UPDATE facts SET fact = '[1]'")
    (entry,) = read(reader(git, tmp_path), git)
    assert entry.problem == ""


def test_without_the_directory_there_is_no_cache(tmp_path: Path) -> None:
    git = Git()
    git.add(result("web"))
    assert len(read(reader(git, tmp_path / "missing"), git)) == 1
    assert not (tmp_path / "missing").exists()


def test_what_a_result_says_stands_whatever_its_file_shows() -> None:
    git = Git()
    git.add(result("web", n=1))
    git.add(result("up", Change.UPDATES, at=1, n=2))
    inventory = reader(git)
    genuine = git.files[WEB]
    old = rendered(result("web", n=1))
    forgeries = {
        old: "it is older than what up wrote",
        old.replace(b'"n": 1', b'"n": 9'): "it differs from what the result of web wrote",
        b"{}": "it is not an entry of disinto",
        b"[" * 9_000: "it is not an entry of disinto",
        old.replace(
            b'"result": "web"', rb'"result": "web\n\nInventory: end destroys machine/web"'
        ): "it is not an entry of disinto",
        old.replace(
            b'"result": "web"', b'"result": "no"'
        ): "there is no result no of this dispatcher",
    }
    for data, reason in forgeries.items():
        git.put(data)
        (entry,) = read(inventory, git)
        assert (entry.entry, entry.forged, entry.problem) == ({"n": 2}, reason, "")
        assert entry.blob == genuine.oid
        (altered,) = inventory.altered(git.commit, git.locate)
        assert altered.genuine == git.blobs[genuine.oid]
    git.remove()
    (entry,) = read(inventory, git)
    assert (entry.entry, entry.missing) == ({"n": 2}, True)
    git.put(git.blobs[genuine.oid])
    assert inventory.altered(git.commit, git.locate) == []


def test_what_was_destroyed_stays_so(tmp_path: Path) -> None:
    git = Git()
    git.add(result("web", n=1))
    file = git.files[WEB]
    git.add(result("end", Change.DESTROYS, at=2))
    inventory = reader(git, tmp_path)
    assert read(inventory, git) == []
    git.put(git.blobs[file.oid])
    (entry,) = read(inventory, git)
    assert entry.problem == "end destroyed it; its file was brought back"
    (altered,) = inventory.altered(git.commit, git.locate)
    assert altered.genuine == b""
    standing = inventory.standing(git.commit, git.locate, WEB)
    assert standing.ended_by == "end"


def test_without_the_messages_of_the_history_a_file_names_its_result_itself() -> None:
    git = Git()
    git.add(result("web", n=1), claim=False)
    (entry,) = read(reader(git), git)
    assert (entry.entry, entry.problem) == ({"n": 1}, "")


def test_a_result_that_somebody_edited_is_taken_from_the_ledger() -> None:
    git = Git()
    made = result("web", n=1)
    git.add(made)
    git.results["web"] = git.blob(b"{}")
    (lost,) = read(reader(git), git)
    assert lost.problem == "there is no result web of this dispatcher"
    (kept,) = read(reader(git), git, kept=lambda: {"web": sealed(made, KEYS[0])})
    assert (kept.entry, kept.problem) == ({"n": 1}, "")
    (forged,) = read(reader(git), git, kept=lambda: {"web": sealed(made, KEYS[1])})
    assert forged.problem


def test_who_fills_the_history_has_one_entry_not_believed() -> None:
    git = Git()
    git.add(result("web", n=1))
    for number in range(CHANGES_LIMIT + 1):
        git.claims[WEB][f"no-{number}"] = None
    (entry,) = read(reader(git), git)
    assert entry.problem == "", "names without a result cost nothing"
    git.results |= {f"no-{number}": git.results["web"] for number in range(CHANGES_LIMIT + 1)}
    (entry,) = read(reader(git), git)
    assert "results claim to have changed it" in entry.problem
    git.files.clear()
    (entry,) = read(reader(git), git)
    assert "results claim to have changed it" in entry.problem, "and it is not hidden"


def test_what_was_destroyed_before_it_was_made_exists() -> None:
    """A destruction of an id that has nothing yet succeeds."""
    made = fact_of(result("web", at=2, ip="x"), like="a" * 40)
    for at, ended_by in ((1, ""), (2, "end"), (3, "end")):
        gone = fact_of(result("end", Change.DESTROYS, at=at), like="a" * 40)
        standing = standing_of(None, [gone, made])
        assert (standing.ended_by, standing.written) == (ended_by, made)
    assert standing_of(None, [gone]).ended_by == "end"
