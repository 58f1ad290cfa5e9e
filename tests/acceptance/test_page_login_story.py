"""The page with accounts of a real forge, in a real browser: a person logs in there, sends an action, which
waits until somebody else approves it on the forge; then it runs, and its result is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tenacity

from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.servers.forgejo import PASSWORD, Account, Forgejo
from tests.support.approval_story import Story, told
from tests.support.page_on_forge import PageOnForge, page_on_forge

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.needs("bao", "forgejo", "git", "chromium")

LOGIN = {
    "en": ("ltr", "Log in with your account on the forge"),
    "nl": ("ltr", "Aanmelden met uw account op de forge"),
    "ar": ("rtl", "تسجيل الدخول بحسابك على المنصة"),
}

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Iterator[Story]:
    with told(forge, bao_server, tmp_path) as story:
        story.forge.protect_main()
        yield story


@pytest.fixture
def page(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageOnForge]:
    monkeypatch.setenv("OPS_TOKEN", story.forge.owner.token)
    settings = story.stage.scene.open_settings()
    with page_on_forge(settings, tmp_path, story.forge.owner) as page:
        yield page


class Person:
    """Somebody at a browser."""

    def __init__(self, chrome: Chrome, page: PageOnForge) -> None:
        self.chrome, self.page = chrome, page

    def opens(self, path: str) -> None:
        self.chrome.get(f"{self.page.origin}{path}")

    @patiently
    def press(self, selector: str) -> None:
        self.chrome.find_element("css selector", selector).click()

    @patiently
    def fill(self, selector: str, text: str) -> None:
        box = self.chrome.find_element("css selector", selector)
        box.clear()
        box.send_keys(text)

    @patiently
    def reads(self, text: str) -> None:
        shown = self.chrome.find_element("css selector", "main").text
        assert text in shown, shown

    @patiently
    def is_at(self, path: str) -> None:
        assert self.chrome.current_url == f"{self.page.origin}{path}"

    def logs_in_at_the_forge(self, account: Account) -> None:
        self.press("a[href^='/login/forge']")
        self.fill("#user_name", account.login)
        self.fill("#password", PASSWORD)
        self.press("form[action='/user/login'] button")
        self.press("#authorize-app")


def test_a_person_sends_another_approves_and_the_result_is_seen(
    story: Story, page: PageOnForge, tmp_path: Path
) -> None:
    people = story.forge
    with browser(tmp_path / "profile") as chrome:
        alice = Person(chrome, page)
        for code, (direction, words) in LOGIN.items():
            alice.opens(f"/new?lang={code}")
            alice.reads(words)
            assert chrome.find_element("css selector", "html").get_attribute("dir") == direction
        alice.opens("/new?lang=en")
        alice.logs_in_at_the_forge(people.alice)
        alice.is_at("/new")

        alice.press("a[href='/new/danger']")
        alice.fill("#id", "from-the-page")
        alice.fill("#context", "because")
        alice.press("button[value=check]")
        alice.reads("Who may approve")
        alice.press("button[value=send]")
        alice.is_at("/")
        (request,) = people.repo(people.owner, "GET", "/pulls", state="open")
        assert request["user"]["login"] == people.alice.login
        number = int(request["number"])

        # She merges it herself, which is no approval.
        people.merge(people.alice, number)
        assert "| `from-the-page` | waiting |" in story.comment(number)
        shows(alice, people.alice.login, "high")
        assert story.submitted() == []

        people.review(people.boss, number)
        assert story.result("from-the-page")["approved_by"] == [people.boss.login]
        shows(alice, "succeeded", people.boss.login)

        # With her access her session ends, in words that she can act upon.
        people.repo(people.owner, "DELETE", f"/collaborators/{people.alice.login}")
        session = page.site.sessions.find(cookie_of(chrome))
        assert session is not None
        assert session.login is not None
        session.login.checked -= 1_000
        for code in LOGIN:
            alice.opens(f"/?lang={code}")
            if code == "en":
                alice.reads("does not let you read the ops repo")
            else:
                alice.reads(LOGIN[code][1])
        errors = [e for e in chrome.get_log("browser") if "Content Security" in e["message"]]  # type: ignore[no-untyped-call]
        assert errors == []


@patiently
def shows(person: Person, *texts: str) -> None:
    """What the page of the action shows, once it has followed git."""
    person.opens("/actions/from-the-page")
    shown = person.chrome.find_element("css selector", "main").text
    assert [text for text in texts if text.lower() not in shown.lower()] == [], shown


def cookie_of(chrome: Chrome) -> str:
    found = chrome.get_cookie("disinto_session")
    assert found is not None
    assert found["httpOnly"]
    assert found["sameSite"] == "Lax"
    return str(found["value"])
