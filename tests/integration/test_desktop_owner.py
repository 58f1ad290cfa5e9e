"""Whose a desktop is, on real histories: nobody makes another's theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.operate.desktop_owner import Origin, Owner, owner_of
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import OpsRepoSettings
from tests.support.checkout import Checkout

pytestmark = pytest.mark.needs("git")

DESK = "vault/actions/desk-1.toml"
ADA = Owner(name="Ada", address="ada@example.org")


class History:
    """An ops repo, and the page's clone of it."""

    def __init__(self, root: Path) -> None:
        self.checkout = Checkout.create(root / "remote")
        self.by("Root").commit({"README": "ops\n"})
        settings = OpsRepoSettings(remote=str(self.checkout.path))
        self.clone = OpsRepo(git_dir=root / "ops.git", settings=settings)

    def by(self, name: str) -> Checkout:
        self.checkout.author, self.checkout.email = name, f"{name}@Example.org"
        return self.checkout

    def owner(self, commit: str, text: str = "one\n") -> Owner | None:
        blob = self.checkout.git("hash-object", "--stdin", stdin=text)
        self.clone.fetch()
        return owner_of(Origin(action_id="desk-1", blob=blob, commit=commit), self.clone)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.clone.close()


def test_it_is_of_who_wrote_the_action_also_if_somebody_else_merged_it(history: History) -> None:
    history.by("Ada").branch("topic")
    history.by("Ada").commit({DESK: "one\n"})
    history.by("Bob").switch("main")
    history.by("Bob").commit({"other": "1\n"})
    assert history.owner(history.by("Bob").merge("topic")) == ADA
    assert history.owner(history.by("Bob").commit({"later": "1\n"})) == ADA


def test_what_is_pushed_later_changes_nothing(history: History) -> None:
    decided = history.by("Ada").commit({DESK: "one\n"})
    history.by("Eve").commit({DESK: "two\n"})
    history.by("Eve").commit({DESK: "one\n"})
    assert history.owner(decided) == ADA


def test_a_line_of_history_that_brings_the_same_file_makes_it_nobodys(history: History) -> None:
    history.by("Eve").branch("side")
    history.by("Eve").commit({DESK: "one\n"})
    history.by("Ada").switch("main")
    history.by("Ada").commit({DESK: "one\n"})
    history.by("Eve").switch("side")
    merged = history.by("Eve").merge("main")  # her own line is the first parent
    history.checkout.git("branch", "-f", "main", merged)
    assert history.owner(merged) is None


def test_another_content_is_nobodys(history: History) -> None:
    assert history.owner(history.by("Ada").commit({DESK: "two\n"})) is None
    assert history.owner(history.by("Ada").commit({"other": "1\n"}), "two\n") == ADA


def test_whoever_changes_it_and_back_before_it_is_decided_makes_it_nobodys(
    history: History,
) -> None:
    history.by("Ada").commit({DESK: "one\n"})
    history.by("Eve").commit({DESK: "two\n"})
    assert history.owner(history.by("Eve").commit({DESK: "one\n"})) is None


def test_whoever_removes_it_and_adds_it_again_makes_it_nobodys(history: History) -> None:
    history.by("Ada").commit({DESK: "one\n"})
    history.by("Eve").git("rm", "-q", DESK)
    history.by("Eve").commit({"other": "1\n"})
    assert history.owner(history.by("Eve").commit({DESK: "one\n"})) is None


def test_whoever_makes_it_executable_makes_it_nobodys(history: History) -> None:
    history.by("Ada").commit({DESK: "one\n"})
    history.by("Eve").git("update-index", "--chmod=+x", DESK)
    history.checkout.git("commit", "-q", "-m", "Make it executable")
    assert history.owner(history.checkout.git("rev-parse", "HEAD")) is None


def test_a_change_in_a_merge_makes_it_nobodys(history: History) -> None:
    history.by("Ada").commit({DESK: "one\n"})
    history.by("Ada").branch("topic")
    history.by("Ada").commit({DESK: "two\n"})
    history.by("Ada").switch("main")
    history.by("Ada").commit({DESK: "three\n"})
    history.checkout.git("merge", "-q", "--no-commit", "-s", "ours", "topic")
    history.by("Eve").git("rm", "-q", "-f", DESK)
    history.by("Eve").commit({"other": "1\n"})
    assert history.owner(history.by("Ada").commit({DESK: "one\n"})) is None


def test_whoever_changes_only_their_own_keeps_it(history: History) -> None:
    history.by("Ada").commit({DESK: "two\n"})
    assert history.owner(history.by("Ada").commit({DESK: "one\n"})) == ADA
