"""What results once said counts, whatever becomes of their files, and in the order in which they were made."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.loop import inventory as inventory_module
from dispatcher.loop import inventory_cache
from dispatcher.loop.inventory_cache import FactCache
from dispatcher.model.inventory import Change
from dispatcher.model.result import Result
from tests.support.inventory_git import KEYS, WEB, Git, read, reader, result, sealed


def test_a_result_that_somebody_edited_is_taken_from_the_history() -> None:
    """Also on a machine that has neither ledger nor cache."""
    git = Git()
    git.add(result("web", n=1))
    genuine = git.results["web"]
    for forged in (b"{}", sealed(result("web", n=2), KEYS[1]).encode()):
        git.versions["web"] = {git.blob(b"x" * 5): None, genuine: None, git.blob(forged): None}
        git.results["web"] = git.blob(forged)
        inventory = reader(git)
        (entry,) = read(inventory, git)
        assert (entry.entry, entry.problem, inventory.edited) == ({"n": 1}, "", ("web",))
    del git.results["web"]
    git.remove()
    inventory = reader(git)
    (entry,) = read(inventory, git)
    assert (entry.entry, entry.missing, inventory.edited) == ({"n": 1}, True, ("web",))


def test_a_lifetime_that_an_earlier_version_kept_as_it_was_given_is_shown_in_utc() -> None:
    git, made = Git(), result("web")
    assert made.inventory is not None
    odd = made.inventory.model_copy(update={"expires_at": "2026-11-22\x1b10:00+14:00"})
    git.add(made.model_copy(update={"inventory": odd}))
    (entry,) = read(reader(git), git)
    assert (entry.expires_at, entry.problem) == ("2026-11-21T20:00:00.000Z", "")


def test_a_destruction_whose_result_somebody_edited_still_counts() -> None:
    git = Git()
    git.add(result("web", n=1))
    file = git.files[WEB]
    git.add(result("end", Change.DESTROYS, at=2))
    git.results["end"] = git.blob(b"{}")
    git.put(git.blobs[file.oid])
    (entry,) = read(reader(git), git)
    assert entry.problem == "end destroyed it; its file was brought back"


def test_a_result_that_was_verified_once_counts_without_the_history(tmp_path: Path) -> None:
    git = Git()
    git.add(result("web", n=1))
    read(reader(git, tmp_path), git)
    git.results, git.versions = {"web": git.blob(b"{}")}, {}
    (entry,) = read(reader(git, tmp_path), git)
    assert (entry.entry, entry.problem) == ({"n": 1}, "")


def test_a_result_that_somebody_edited_is_taken_from_the_ledger() -> None:
    """The history was rewritten, so that no version of it is there."""
    git = Git()
    made = result("web", n=1)
    git.add(made)
    git.results["web"], git.versions = git.blob(b"{}"), {}
    (lost,) = read(reader(git), git)
    assert lost.problem == "there is no result web of this dispatcher"
    (kept,) = read(reader(git), git, kept=lambda: {"web": sealed(made, KEYS[0])})
    assert (kept.entry, kept.problem) == ({"n": 1}, "")
    (forged,) = read(reader(git), git, kept=lambda: {"web": sealed(made, KEYS[1])})
    assert forged.problem


def test_who_fills_the_history_changes_nothing() -> None:
    git = Git()
    git.add(result("web", n=1))
    names = [f"no-{number}" for number in range(1_200)]
    git.claims[WEB] |= dict.fromkeys(names)
    git.results |= dict.fromkeys(names, git.results["web"])
    git.versions["web"] = {git.blob(b"%d" % n): None for n in range(1_200)} | git.versions["web"]
    inventory = reader(git)
    (entry,) = read(inventory, git)
    assert (entry.entry, entry.problem, inventory.edited) == ({"n": 1}, "", ())
    git.results["web"] = git.blob(b"{}")
    git.remove()
    (entry,) = read(inventory, git)
    assert (entry.entry, entry.missing) == ({"n": 1}, True)
    verified = git.reads
    read(inventory, git)
    assert git.reads == verified, "what is not ours is not verified again for a while"


def test_the_clock_of_the_dispatcher_is_set_back() -> None:
    """By the sequence that results attest, an update is later than what it updates, and so is an end."""
    git = Git()
    inventory = reader(git)

    def made(action_id: str, change: Change, at: int, **entry: object) -> Result:
        bare = result(action_id, change, at=at, **entry)
        assert bare.inventory is not None
        sequence = inventory.next_sequence(1_000.0 + at)
        done = bare.inventory.model_copy(update={"sequence": sequence})
        return bare.model_copy(update={"inventory": done})

    git.add(made("web", Change.CREATES, 50, n=1))
    git.add(made("up", Change.UPDATES, 20, n=2))
    (entry,) = read(reader(git), git)
    assert (entry.entry, entry.result, entry.forged) == ({"n": 2}, "up", "")
    git.add(made("end", Change.DESTROYS, 10))
    assert read(reader(git), git) == []


def test_the_sequence_goes_on_after_a_restart_with_the_clock_set_back(tmp_path: Path) -> None:
    git = Git()
    bare = result("web", n=1)
    assert bare.inventory is not None
    first = reader(git, tmp_path)
    sequence = first.next_sequence(2_000_000.0)
    done = bare.inventory.model_copy(update={"sequence": sequence})
    git.add(bare.model_copy(update={"inventory": done}))
    read(first, git)
    assert first.next_sequence(1.0) == sequence + 1
    assert reader(git, tmp_path).next_sequence(1.0) > sequence, "by the cache"
    fresh = reader(git)
    read(fresh, git)
    assert fresh.next_sequence(1.0) > sequence, "by git"
    assert fresh.next_sequence(9e18) == fresh.next_sequence(9e18), "as much as JSON can represent"


def test_a_file_that_names_an_early_destruction_does_not_end_what_was_made_later() -> None:
    git = Git()
    early = result("end", Change.DESTROYS, at=1)
    git.results["end"] = git.blob(sealed(early, KEYS[0]).encode())
    git.claims[WEB] = {"end": None}
    git.add(result("web", at=2, n=1))
    git.put(git.blobs[git.files[WEB].oid].replace(b'"result": "web"', b'"result": "end"'))
    (entry,) = read(reader(git), git)
    assert (entry.entry, entry.problem) == ({"n": 1}, "")
    assert entry.forged == "the result of end did not write it"


@pytest.mark.parametrize(("created", "ended_by"), [(20, ""), (5, "a-end")])
def test_a_genuine_file_is_never_taken_away_for_an_early_destruction(
    created: int, ended_by: str
) -> None:
    """The history was rewritten: the message about the creation is gone, that about the destruction is not."""
    git = Git()
    git.add(numbered(result("web", n=1), created), claim=False)
    end = numbered(result("a-end", Change.DESTROYS), 10)
    git.results["a-end"] = git.blob(sealed(end, KEYS[0]).encode())
    git.claims[WEB] = {"a-end": None}
    inventory = reader(git)
    assert [bool(each.problem) for each in read(inventory, git)] == [bool(ended_by)]
    assert [each.genuine for each in inventory.altered(git.commit, git.locate)] == (
        [b""] if ended_by else []
    )


@pytest.mark.parametrize("other", [True, False])
def test_what_the_cache_keeps_outlives_the_history(tmp_path: Path, other: bool) -> None:
    """Also after a head without a claim, and if no result is left."""
    git = Git()
    inventory = reader(git, tmp_path)
    read(inventory, git)
    git.commit = "5"
    read(inventory, git)
    git.add(result("web", n=1))
    read(inventory, git)
    git.claims, git.files, git.versions = {}, {}, {}
    git.results = {"web": git.blob(b"{}")} if other else {}
    git.commit, git.rewritten = "9", True
    assert [(each.id, each.missing) for each in read(reader(git, tmp_path), git)] == [("web", True)]


def test_of_heads_without_a_claim_few_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be synced to the disk, twice for each action. The next process reads on from the last."""
    monkeypatch.setattr(inventory_module, "HEADS_UNKEPT", 4)
    git = Git()
    inventory = reader(git, tmp_path)
    kept = []
    for number in range(1, 8):
        git.commit = str(number)
        read(inventory, git)
        kept.append(FactCache(tmp_path).claims()[0])
    assert kept == ["1", "1", "1", "1", "5", "5", "5"]
    git.walks.clear()
    read(reader(git, tmp_path), git)
    assert git.walks == ["5"]
    git.add(result("web", n=1))
    read(inventory, git)
    assert FactCache(tmp_path).claims() == (git.commit, {WEB: {"web": None}})


def test_another_process_that_reads_on_does_not_stop_the_cache(tmp_path: Path) -> None:
    git = Git()
    inventory = reader(git, tmp_path)
    read(inventory, git)
    git.commit = "5"
    read(reader(git, tmp_path), git)
    git.add(result("web", n=1))
    read(inventory, git)
    assert FactCache(tmp_path).claims() == (git.commit, {WEB: {"web": None}})


def test_a_push_of_many_claims_does_not_empty_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_cache, "CACHED_LIMIT", 20)
    git = Git()
    git.add(result("web", n=1))
    inventory = reader(git, tmp_path)
    read(inventory, git)
    kept = FactCache(tmp_path).claims()
    git.claims[WEB] |= {f"n{number}": None for number in range(21)}
    for commit in ("50", "51"):
        git.commit = commit
        read(inventory, git)
        assert FactCache(tmp_path).claims() == kept


def numbered(made: Result, sequence: int) -> Result:
    assert made.inventory is not None
    done = made.inventory.model_copy(update={"sequence": sequence})
    return made.model_copy(update={"inventory": done})
