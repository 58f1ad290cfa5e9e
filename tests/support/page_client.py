"""A browser of a kind for the page's application, without a socket."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from dispatcher.page.app import build_app
from dispatcher.page.operator_link import OperatorLink
from dispatcher.page.routing import Page
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from dispatcher.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have another HTTP client
    from starlette.testclient import TestClient

ORIGIN = "http://127.0.0.1:8490"
HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}


def a_site(state_dir: Path, *, origin: str = ORIGIN) -> Site:
    """A site of a state directory, for the operator."""
    site = Site(origin=origin, settings=Settings(state_dir=state_dir))
    site.link = OperatorLink(origin, lambda _url: None)
    return site


def a_client(site: Site, pages: Sequence[Page] | None = None) -> TestClient:
    """A browser that nobody is logged in with."""
    return TestClient(
        build_app(site, pages), base_url=site.origin, follow_redirects=False, headers=HTML
    )


def logged_in(site: Site, pages: Sequence[Page] | None = None) -> TestClient:
    """A browser in which the operator is logged in."""
    client = a_client(site, pages)
    session = site.sessions.begin(Person(login="ada", name="Ada", operator=True))
    name = "__Host-disinto_session" if site.secure else "disinto_session"
    client.cookies.set(name, site.sessions.cookie(session), domain="127.0.0.1")
    return client


def live_markup(html: str) -> list[str]:
    """What a page must not have, whatever its data: code inside, and images that it does not ship."""
    parser = _Parser()
    parser.feed(html)
    return parser.found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        source = given.get("src") or ""
        loads = tag in ("script", "img", "iframe", "object", "embed", "link")
        address = source or given.get("href") or ""
        if loads and not address.startswith("/static/"):
            self.found.append(f"{tag} {address}")
        self.found += [name for name in given if name.startswith("on") or name == "style"]
        if (given.get("href") or "").lower().startswith(("javascript:", "data:")):
            self.found.append(f"{tag} {given['href']}")
