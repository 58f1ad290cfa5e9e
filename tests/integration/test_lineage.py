"""Where a file's content comes from, on real histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.gate.history import Broken, origin
from dispatcher.ops_repo.lineage import NEWEST, Lineage, lineage
from tests.support.checkout import Checkout

pytestmark = pytest.mark.needs("git")

X = "vault/actions/x.toml"


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    repo = Checkout.create(tmp_path / "repo")
    repo.commit({"README": "ops\n"})
    return repo


def origin_of(repo: Checkout, path: str = X) -> Lineage | Broken:
    return origin(repo, commit=repo.head(), path=path, blob=repo.blob(path))


def test_a_straight_line(repo: Checkout) -> None:
    first = repo.commit({X: "one\n"})
    repo.commit({"other": "1\n"})
    found = origin_of(repo)
    assert isinstance(found, Lineage)
    assert (found.last.sha, found.mainline.sha, found.rivals) == (first, first, ())
    assert found.last.committed_at == 1_700_000_300


def test_a_merge_brings_the_commit_of_its_branch(repo: Checkout) -> None:
    repo.branch("topic")
    change = repo.commit({X: "one\n"})
    repo.commit({"other": "1\n"})
    repo.switch("main")
    merge = repo.merge("topic")
    repo.commit({"later": "1\n"})
    found = origin_of(repo)
    assert isinstance(found, Lineage)
    assert (found.last.sha, found.mainline.sha) == (change, merge)
    assert found.mainline.parents[1] == repo.git("rev-parse", "topic")


def test_git_runs_twice_for_a_file_that_one_commit_brought(repo: Checkout) -> None:
    repo.branch("topic")
    repo.commit({X: "one\n"})
    repo.switch("main")
    repo.merge("topic")
    commands: list[tuple[str, ...]] = []

    def git(*args: str) -> str:
        commands.append(args)
        return repo.git(*args)

    once = lineage(git, repo.head(), X)
    assert len(commands) == 2
    repo.commit({X: "two\n"})
    twice = lineage(git, repo.head(), X)
    assert len(commands) == 5, "whether all changes are in one line is asked for"
    assert once is not None
    assert twice is not None
    assert once.last != twice.last


def test_a_change_beyond_the_newest_commits_is_found(repo: Checkout) -> None:
    """The newest commits that git considers are merges, and one alone changed the file."""
    sides = [f"side{number}" for number in range(NEWEST)]
    for side in sides:
        repo.branch(side)
        repo.commit({side: "1\n"})
        repo.switch("main")
    repo.branch("topic")
    repo.at -= 10**8
    repo.commit({X: "two\n"})
    repo.at += 10**8
    repo.switch("main")
    repo.commit({X: "one\n"})
    for side in sides:
        repo.merge(side)
    repo.commit({X: "two\n"})
    repo.merge("topic")
    found = origin_of(repo)
    assert isinstance(found, Broken)
    assert "side by side" in found.reason


def test_a_merge_that_changes_the_file_itself_is_its_last_change(repo: Checkout) -> None:
    repo.commit({X: "one\n"})
    repo.branch("topic")
    repo.commit({"other": "1\n"})
    repo.switch("main")
    repo.git("merge", "-q", "--no-ff", "--no-commit", "topic")
    merge = repo.commit({X: "two\n"})
    found = origin_of(repo)
    assert isinstance(found, Lineage)
    assert found.last.sha == merge


def test_a_merge_that_drops_a_change_is_noticed(repo: Checkout) -> None:
    """The older content has a good commit of its own; only the merge made it win again."""
    repo.commit({X: "old\n"})
    repo.branch("topic")
    repo.commit({"other": "1\n"})
    repo.switch("main")
    repo.commit({X: "new\n"})
    repo.merge("topic")
    repo.git("checkout", "-q", "topic", "--", X)
    repo.git("commit", "-q", "--amend", "-m", "merge")
    assert repo.blob(X) == repo.blob(X, "topic")
    found = origin_of(repo)
    assert isinstance(found, Broken)
    assert "restored older content" in found.reason


def test_a_merge_inside_a_branch_that_drops_a_change_is_noticed(repo: Checkout) -> None:
    repo.commit({X: "old\n"})
    repo.branch("topic")
    repo.commit({"other": "1\n"})
    repo.switch("main")
    repo.commit({X: "new\n"})
    repo.switch("topic")
    repo.merge("main", "-s", "ours")  # keeps the old content
    repo.switch("main")
    repo.merge("topic")
    assert repo.git("show", f"HEAD:{X}") == "old"
    assert isinstance(origin_of(repo), Broken)


def test_swapped_parents_do_not_hide_a_dropped_change(repo: Checkout) -> None:
    repo.commit({X: "old\n"})
    repo.branch("topic")
    repo.commit({"other": "1\n"})
    repo.switch("main")
    repo.commit({X: "new\n"})
    repo.switch("topic")
    repo.merge("main", "-s", "ours")  # first parent: the attacker's branch
    assert repo.git("show", f"HEAD:{X}") == "old"
    assert isinstance(origin_of(repo), Broken)


def test_the_same_change_on_two_sides_has_no_single_origin(repo: Checkout) -> None:
    repo.branch("topic")
    repo.commit({X: "one\n"})
    repo.switch("main")
    repo.commit({X: "one\n", "also": "this\n"})
    repo.merge("topic")
    found = origin_of(repo)
    assert isinstance(found, Broken)
    assert "side by side" in found.reason


def test_a_file_that_was_removed_and_came_back_has_the_new_commit(repo: Checkout) -> None:
    repo.commit({X: "one\n"})
    repo.git("rm", "-q", X)
    repo.commit()
    again = repo.commit({X: "one\n"})
    found = origin_of(repo)
    assert isinstance(found, Lineage)
    assert found.last.sha == again


def test_a_rename_is_a_change_of_the_new_name(repo: Checkout) -> None:
    repo.commit({X: "one\n"})
    repo.git("mv", X, "vault/actions/y.toml")
    renamed = repo.commit()
    found = origin_of(repo, "vault/actions/y.toml")
    assert isinstance(found, Lineage)
    assert found.last.sha == renamed


def test_dates_of_commits_do_not_matter(repo: Checkout) -> None:
    repo.commit({X: "one\n"})
    repo.branch("topic")
    repo.commit({"other": "1\n"})
    repo.switch("main")
    repo.at -= 10**8  # this committer's clock is years behind
    late = repo.commit({X: "two\n"})
    repo.at += 10**8
    repo.merge("topic")
    found = origin_of(repo)
    assert isinstance(found, Lineage)
    assert found.last.sha == late


def test_a_path_is_no_pattern(repo: Checkout) -> None:
    repo.commit({X: "one\n"})
    assert repo.lineage(repo.head(), "vault/actions/*.toml") is None
    assert repo.lineage(repo.head(), ":(top)README") is None


def test_a_link_has_no_blob(repo: Checkout) -> None:
    repo.commit({X: "one\n"})
    (repo.path / "vault/actions/y.toml").symlink_to("x.toml")
    repo.git("add", "vault/actions/y.toml")
    repo.commit()
    found = origin(
        repo,
        commit=repo.head(),
        path="vault/actions/y.toml",
        blob=repo.blob("vault/actions/y.toml"),
    )
    assert isinstance(found, Broken)


def test_the_chain_of_first_parents(repo: Checkout) -> None:
    one = repo.commit({X: "one\n"})
    repo.branch("topic")
    side = repo.commit({"other": "1\n"})
    repo.switch("main")
    merge = repo.merge("topic")
    last = repo.commit({"later": "1\n"})
    assert repo.mainline(last, since=one, limit=9) == (one, merge, last)
    assert repo.mainline(last, since=one, limit=2) == (one, merge)
    assert repo.mainline(last, since=last, limit=9) == (last,)
    assert repo.mainline(last, since=side, limit=9) == ()
    assert repo.is_ancestor(side, last)
    assert not repo.is_ancestor(last, side)
