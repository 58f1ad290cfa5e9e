"""The page with accounts of a real forge, in a real browser and in each language: a person logs in there, and
sends actions; one waits until somebody else approves it on the forge, runs, and its result is seen; another is
refused there, and does not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatcher.page.language import NAMES
from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.servers.forgejo import PASSWORD, Account, Forgejo
from tests.support.approval_story import Story, told
from tests.support.page_on_forge import PageOnForge, page_on_forge
from tests.support.page_visitor import Visitor, patiently

pytestmark = [
    pytest.mark.needs("bao", "forgejo", "git", "chromium"),
    pytest.mark.timeout(900),
]

OTHERS = [pytest.param(code, marks=pytest.mark.thorough) for code in NAMES if code != "en"]


@dataclass(kw_only=True)
class Stage:
    """A forge with its people, a dispatcher that follows it, and the page."""

    story: Story
    page: PageOnForge


@pytest.fixture(scope="module")
def stage(
    forge: Forgejo, bao_server: Bao, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("story")
    with pytest.MonkeyPatch.context() as patch, told(forge, bao_server, root) as story:
        story.forge.protect_main()
        patch.setenv("OPS_TOKEN", story.forge.owner.token)
        settings = story.stage.scene.open_settings()
        with page_on_forge(settings, root, story.forge.owner) as page:
            yield Stage(story=story, page=page)


@pytest.mark.parametrize("code", ["en", *OTHERS])
def test_a_person_sends_another_approves_and_the_result_is_seen(
    stage: Stage, tmp_path: Path, code: str
) -> None:
    story, people = stage.story, stage.story.forge
    person = people.server.account(f"writer-{code}")
    people.allow(person, "write")
    with browser(tmp_path / "profile") as chrome:
        writer = Visitor(chrome, stage.page.origin, code)
        writer.opens("/new")
        writer.reads("Log in with your account on the forge")
        logs_in(writer, person)
        writer.is_at("/new")

        number = sends(stage, writer, f"approved-{code}", person)
        # They merge it themselves, which is no approval.
        people.merge(person, number)
        assert f"| `approved-{code}` | waiting |" in story.comment(number)
        shows(writer, f"approved-{code}", "Needs approval from", "high", exactly=(person.login,))
        assert f"approved-{code}" not in story.submitted()
        people.review(people.boss, number)
        assert story.result(f"approved-{code}")["approved_by"] == [people.boss.login]
        shows(writer, f"approved-{code}", "succeeded", exactly=(people.boss.login,))

        number = sends(stage, writer, f"refused-{code}", person)
        people.review(people.boss, number, "REQUEST_CHANGES")
        people.merge(person, number)
        comment = story.comment(number)
        assert f"| `refused-{code}` | waiting |" in comment
        assert f"{people.boss.login} rejected it" in comment
        shows(
            writer, f"refused-{code}", "The result is shown here as soon as it is in git.", "nobody"
        )
        assert f"refused-{code}" not in story.submitted()

        loses_access(stage, writer, person)
        assert writer.complaints() == []


def logs_in(visitor: Visitor, account: Account) -> None:
    """At the forge, which asks once whether the page may act for them."""
    visitor.press("Log in with your account on the forge")
    visitor.fill("#user_name", account.login)
    visitor.fill("#password", PASSWORD)
    visitor.press_on("form[action='/user/login'] button")
    visitor.press_on("#authorize-app")


def sends(stage: Stage, visitor: Visitor, action_id: str, person: Account) -> int:
    """By the form, as a pull request, which is theirs; its number."""
    visitor.opens("/new/danger")
    visitor.fill("#id", action_id)
    visitor.fill("#context", "because")
    visitor.press("Show the file")
    visitor.reads("Who may approve", exactly=(f'id = "{action_id}"',))
    visitor.press("Send it")
    visitor.is_at("/")
    people = stage.story.forge
    (request,) = [
        each
        for each in people.repo(people.owner, "GET", "/pulls", state="open")
        if each["head"]["ref"] == f"disinto/{action_id}"
    ]
    assert request["user"]["login"] == person.login
    return int(request["number"])


def loses_access(stage: Stage, visitor: Visitor, person: Account) -> None:
    """With it their session ends, in words that they can act upon."""
    people, chrome = stage.story.forge, visitor.chrome
    people.repo(people.owner, "DELETE", f"/collaborators/{person.login}")
    found = chrome.get_cookie("disinto_session")
    assert found is not None
    assert (found["httpOnly"], found["sameSite"]) == (True, "Lax")
    session = stage.page.site.sessions.find(str(found["value"]))
    assert session is not None
    assert session.login is not None
    session.login.checked -= 1_000
    visitor.opens("/")
    visitor.reads("the forge does not let you read the ops repo")
    visitor.opens("/")
    visitor.reads("Log in with your account on the forge")


@patiently
def shows(visitor: Visitor, action_id: str, *messages: str, exactly: tuple[str, ...] = ()) -> None:
    """What the page of an action shows, once it has followed git."""
    visitor.opens(f"/actions/{action_id}")
    shown = visitor.shown.casefold()
    wanted = [*map(visitor.word, messages), *exactly]
    assert [text for text in wanted if text.casefold() not in shown] == [], shown
