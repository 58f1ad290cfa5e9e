"""What signed results say about the inventory, and that it is verified once and never believed for long."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.loop.inventory_cache import CACHE
from dispatcher.loop.inventory_facts import Fact, fact_of
from dispatcher.loop.inventory_standing import standing_of
from dispatcher.model.inventory import Change, says_inventory
from dispatcher.model.inventory_entry import entry_path, named_by, rendered
from dispatcher.model.result import Result
from tests.support.inventory_git import WEB, Git, read, reader, result

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


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
    git.versions = {}
    git.results["web"] = git.blob(made.replace(b'"n": 1', b'"n": 2'))
    (forged,) = read(reader(git, keys=(1, 0)), git)
    assert forged.problem == "there is no result web of this dispatcher"
    (edited,) = read(reader(git, tmp_path, keys=(1, 0)), git)
    assert (edited.entry, edited.problem) == ({"n": 1}, ""), "it was verified once"
    git.results = {"other": git.blob(made)}
    git.claims = {WEB: {"other": None}}
    (copied,) = read(reader(git, keys=(1, 0)), git)
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


def test_what_was_destroyed_before_it_was_made_exists() -> None:
    """A destruction of an id that has nothing yet succeeds."""
    made = fact_of(result("web", at=2, ip="x"), like="a" * 40)
    for at, ended_by in ((1, ""), (2, "end"), (3, "end")):
        gone = fact_of(result("end", Change.DESTROYS, at=at), like="a" * 40)
        standing = standing_of(None, [gone, made])
        assert (standing.ended_by, standing.written) == (ended_by, made)
    alone = fact_of(result("end", Change.DESTROYS), like="a" * 40)
    assert standing_of(None, [alone]).ended_by == "end"


@pytest.mark.parametrize(("claimed", "ended_by"), [(9, ""), (11, "end"), (0, "end")])
def test_a_destruction_signed_late_ends_nothing_that_was_made_after_its_claim(
    claimed: int, ended_by: str
) -> None:
    """Its run was over before the machine was asked for. An older result, without the claim, ends it."""
    facts = [
        numbered(result("end", Change.DESTROYS), 30, claim_sequence=claimed),
        numbered(result("web", n=1), 10),
        numbered(result("up", Change.UPDATES, n=2), 20),
    ]
    assert standing_of(None, facts).ended_by == ended_by


def numbered(made: Result, sequence: int, *, claim_sequence: int = 0) -> Fact:
    assert made.inventory is not None
    sequences = {"sequence": sequence, "claim_sequence": claim_sequence}
    done = made.inventory.model_copy(update=sequences)
    return fact_of(made.model_copy(update={"inventory": done}), like="a" * 40)
