"""The page with a fake forge that says who people are, and browsers of its people."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.forge.accounts import Accounts
from dispatcher.forge.oauth import OAuth
from dispatcher.page.pages.forge_login import ENTRANCE
from dispatcher.page.people import People
from dispatcher.page.site import Site
from dispatcher.settings import ForgeSettings
from dispatcher.settings.web import LOGIN_BACK
from tests.fakes.oauth_forge import REPOSITORY, URL, App, FakeOAuthForge, FakePerson
from tests.support.page_client import a_client, a_site

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    if TYPE_CHECKING:
        from starlette.testclient import TestClient

ORIGIN = "https://runs.example"
SECRET = "client-secret-0123456789abcdef"


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(kw_only=True)
class ForgeStage:
    """A page whose people are those of a fake forge."""

    site: Site
    forge: FakeOAuthForge
    app: App
    clock: Clock
    events: list[str] = field(default_factory=list)

    def browser(self) -> TestClient:
        """A browser that nobody is logged in with."""
        return a_client(self.site)

    def at_forge(self, browser: TestClient, path: str = "/") -> str:
        """Begin to log in; where the browser is sent to."""
        answer = browser.get("/login/forge", params={"next": path})
        assert answer.status_code == 302
        return str(answer.headers["location"])

    def log_in(self, person: FakePerson, path: str = "/") -> TestClient:
        """A browser in which a person is logged in."""
        browser = self.browser()
        back = self.forge.authorize(self.at_forge(browser, path), person)
        answer = browser.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, path)
        return browser


def forge_stage(state_dir: Path, *, origin: str = ORIGIN) -> ForgeStage:
    """A page that is registered at a fake forge."""
    site, forge, clock = a_site(state_dir, origin=origin), FakeOAuthForge(), Clock()
    app = forge.register(App(client_id="page", secret=SECRET, redirect_uri=f"{origin}{LOGIN_BACK}"))
    settings = ForgeSettings(url=URL, repository=REPOSITORY)
    stage = ForgeStage(site=site, forge=forge, app=app, clock=clock)

    def event(name: str, /, **facts: object) -> None:
        stage.events.append(f"{name} {facts}")

    site.event, site.link = event, None
    oauth = OAuth(
        settings,
        client_id=app.client_id,
        client_secret=SECRET,
        redirect_uri=app.redirect_uri,
        transport=forge.transport,
    )
    accounts = Accounts(settings, transport=forge.transport)
    site.people = People(oauth, accounts.of, site.sessions, event=event, clock=clock)
    site.bearer, site.entrances = site.people.of_token, (ENTRANCE,)
    return stage
