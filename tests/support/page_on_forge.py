"""The page as an application of a real forge, beside a service that follows the same ops repo; and the
browsers of people who log in.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from dispatcher.cli.web import open_live, open_site
from dispatcher.page.app import build_app
from dispatcher.page.serving import listening, server
from dispatcher.page.site import Site
from dispatcher.settings import Settings, WebSettings
from dispatcher.settings.web import LOGIN_BACK
from tests.servers.forgejo import PASSWORD, Account

HTML = {"Accept": "text/html"}


@dataclass(kw_only=True)
class PageOnForge:
    """A page that people of a real forge log in to.

    Attributes:
        secret: the application's client secret.
        state_dir: of the page.
        events: what it logged.
    """

    origin: str
    forge_url: str
    site: Site
    client_id: str
    secret: str = field(repr=False)
    state_dir: Path
    events: list[str]

    def log_in(self, account: Account, path: str = "/") -> httpx.Client:
        """A browser in which a person logged in at the forge, let the page in, and is back."""
        browser = httpx.Client(headers=HTML, follow_redirects=True, timeout=30)
        form = hidden_fields(browser.get(f"{self.forge_url}/user/login").text)
        form |= {"user_name": account.login, "password": PASSWORD}
        browser.post(f"{self.forge_url}/user/login", data=form).raise_for_status()
        shown = browser.get(f"{self.origin}/login/forge", params={"next": path})
        if urlsplit(str(shown.url)).path == "/login/oauth/authorize":
            grant = f"{self.forge_url}/login/oauth/grant"
            shown = browser.post(grant, data=hidden_fields(shown.text))
        browser.base_url = httpx.URL(self.origin)
        assert str(shown.url) == f"{self.origin}{path}", shown.text
        return browser

    def token_of(self, browser: httpx.Client) -> str:
        """The token with which the page acts for the person of a browser."""
        session = self.site.sessions.find(browser.cookies["disinto_session"])
        assert session is not None
        assert session.person is not None
        return session.person.token


@contextmanager
def page_on_forge(settings: Settings, folder: Path, owner: Account) -> Iterator[PageOnForge]:
    """The page, until the block ends.

    Args:
        settings: of the service; the page has a state directory of its own.
        owner: who registers it at the forge.
    """
    opened = listening(0)
    origin = f"http://127.0.0.1:{opened.getsockname()[1]}"
    wanted = {
        "name": "runs",
        "redirect_uris": [f"{origin}{LOGIN_BACK}"],
        "confidential_client": True,
    }
    made = owner.call("POST", "/user/applications/oauth2", wanted)
    secret = folder / "client-secret"
    secret.write_text(f"{made['client_secret']}\n")
    web = WebSettings(client_id=made["client_id"], client_secret_file=secret)
    ops_repo = settings.ops_repo.model_copy(update={"poll_interval_s": 1.0})
    own = {"web": web, "ops_repo": ops_repo, "state_dir": folder / "page"}
    settings = settings.model_copy(update=own)
    events: list[str] = []

    def event(name: str, /, **facts: object) -> None:
        events.append(f"{name} {facts}")

    with opened, open_live(settings, event) as live:
        site = open_site(settings, origin, live=live, event=event)
        running = server(build_app(site))
        thread = threading.Thread(target=running.run, args=([opened],))
        thread.start()
        try:
            yield PageOnForge(
                origin=origin,
                forge_url=settings.forge.url,
                site=site,
                client_id=made["client_id"],
                secret=made["client_secret"],
                state_dir=settings.state_dir,
                events=events,
            )
        finally:
            running.should_exit = True
            thread.join(20)


def sent(browser: httpx.Client, formula: str, action_id: str, **fields: str) -> httpx.Response:
    """What the page answers when a person fills in the form of a new action and sends it."""
    form = {"id": action_id, "context": "why", "secrets": "", "params": "", **fields}
    token = hidden_fields(browser.get(f"/new/{formula}").text)["form_token"]
    return browser.post(
        f"/new/{formula}",
        data={**form, "step": "send", "form_token": token},
        follow_redirects=False,
    )


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    tags = re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", page)
    named = {re.search(r'name="([^"]*)"', t): re.search(r'value="([^"]*)"', t) for t in tags}
    return {n[1]: html.unescape(v[1]) for n, v in named.items() if n and v}
