"""Whose a desktop is does not depend on what became of its result in git, nor on when the page looked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dispatcher.attestation import SignatureVerifier
from dispatcher.loop.inventory_cache import CACHE
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import entry_path, rendered
from dispatcher.model.result import Result, ResultInventory
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import OpsRepo
from dispatcher.page.desktop_reading import DesktopsView
from dispatcher.page.index import Index
from dispatcher.page.live import Live
from dispatcher.page.sessions import Person
from dispatcher.settings import OpsRepoSettings, Settings
from tests.support.checkout import Checkout
from tests.support.inventory_git import KEYS, sealed

pytestmark = pytest.mark.needs("git")

DESK = "vault/actions/desk-1.toml"
RESULT = "vault/actions/desk-1.result.json"
ADA = Person(login="ada", name="Ada", email="ada@example.org", token="t")
EVE = Person(login="eve", name="Eve", email="eve@example.org", token="t")
KEY = KEYS[0]


class Story:
    """A desktop of Ada's in an ops repo, and pages that show it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkout = Checkout.create(root / "remote")
        self.checkout.author, self.checkout.email = "Ada", "ada@example.org"
        decided = self.checkout.commit({DESK: "one\n"})
        done = ResultInventory(
            change=Change.CREATES, kind="desktop", id="desk-1", entry={"state": "ACTIVE"}
        )
        self.result = Result(
            id="desk-1",
            exit_code=0,
            timestamp="2026-01-01T00:00:00.000Z",
            verdict=Verdict.SUCCEEDED,
            inventory=done,
            commit=decided,
            blob=self.checkout.blob(DESK),
        )
        self.genuine = sealed(self.result, KEY)
        self.checkout.author, self.checkout.email = "Eve", "eve@example.org"
        self.checkout.commit(
            {
                RESULT: self.genuine,
                entry_path("desktop", "desk-1"): rendered(self.result).decode(),
            },
            message="Result\n\nInventory: desk-1 creates desktop/desk-1",
        )
        self.clones: list[OpsRepo] = []

    def page(self, *, state: str = "state") -> DesktopsView:
        """A page that has just started, with a clone of its own."""
        directory = self.root / f"page-{len(self.clones)}"
        directory.mkdir()
        (self.root / state).mkdir(exist_ok=True)
        ops_repo = OpsRepoSettings(remote=str(self.checkout.path))
        settings = Settings(ops_repo=ops_repo, state_dir=self.root / state)
        repo = OpsRepo(git_dir=directory / "ops.git", settings=ops_repo)
        self.clones.append(repo)
        live = Live(directory, repo, Index(directory, now=lambda: 0.0), poll_s=1.0)
        return DesktopsView(settings, live, SignatureVerifier(lambda: [KEY.public_key()]))


def yours(view: DesktopsView, person: Person) -> bool:
    view.live.repo.fetch()
    with view.reading() as reading:
        return view.is_of(reading, reading.desktops.get("desk-1"), person)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path)
    yield made
    for clone in made.clones:
        clone.close()


def both(view: DesktopsView) -> tuple[bool, bool]:
    return yours(view, ADA), yours(view, EVE)


def test_an_edited_result_locks_nobody_out(story: Story) -> None:
    forged = story.result.model_copy(update={"commit": story.checkout.head()}).to_json()
    for text in ("{}", forged):
        story.checkout.commit({RESULT: text})
        assert both(story.page(state=f"state-{len(text)}")) == (True, False)


def test_nor_does_one_that_was_removed(story: Story) -> None:
    story.checkout.git("rm", "-q", RESULT)
    story.checkout.commit()
    assert both(story.page()) == (True, False)


def test_nor_one_that_is_edited_while_the_page_shows_it(story: Story) -> None:
    view = story.page()
    assert both(view) == (True, False)
    story.checkout.commit({RESULT: "{}"})
    assert both(view) == (True, False)


def test_what_could_not_be_found_is_looked_for_again(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = story.page()
    with monkeypatch.context() as early:
        early.setattr(view.live.repo, "has_commit", lambda _oid: False)
        assert both(view) == (False, False)
    assert both(view) == (True, False)


def test_what_an_earlier_version_verified_does_not_hide_the_commit(story: Story) -> None:
    """In its cache results are without their commits."""
    assert both(story.page()) == (True, False)
    with closing(sqlite3.connect(story.root / "state" / CACHE)) as db, db:
        changed = db.execute("UPDATE facts SET fact = json_remove(fact, '$[#-1]')").rowcount
    assert changed == 1
    assert both(story.page()) == (True, False)
