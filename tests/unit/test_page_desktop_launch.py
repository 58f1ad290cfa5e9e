"""What a browser must say before a session of a desktop is begun for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dispatcher.page.pages import desktops
from dispatcher.page.sessions import Person
from dispatcher.page.site import Site
from tests.support.page_client import JSON, a_site, logged_in

PATH = "/desktops/desk-1/launch"
DESKTOP = "https://desk.example.org/#/client/x?token=t"
CLICK = {
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


class Launched:
    """Stands for desktops: counts sessions."""

    def __init__(self, root: Path) -> None:
        self.browser, self.sessions = logged_in(a_site(root)), 0

    def launch(self, site: Site, person: Person, desktop_id: str, target: str) -> str:
        self.sessions += 1
        return DESKTOP

    def status(self, headers: Mapping[str, str]) -> int:
        answer = self.browser.get(PATH, headers={**headers, **JSON})
        return int(answer.status_code)


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launched:
    launched = Launched(tmp_path)
    monkeypatch.setattr(desktops, "launch", launched.launch)
    return launched


@pytest.mark.parametrize(
    "headers",
    [CLICK, {**CLICK, "Sec-Fetch-Site": "none"}, {}],
    ids=["click", "address bar", "program"],
)
def test_a_click_the_address_bar_and_a_program_open_it(
    launched: Launched, headers: Mapping[str, str]
) -> None:
    assert (launched.status(headers), launched.sessions) == (302, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "of the future"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Dest": "empty"},
    ],
    ids=lambda changed: " ".join(changed.values()) or "empty",
)
def test_nothing_else_does(launched: Launched, changed: Mapping[str, str]) -> None:
    assert (launched.status({**CLICK, **changed}), launched.sessions) == (403, 0)


def test_a_guess_of_the_browser_does_not(launched: Launched) -> None:
    assert (launched.status({**CLICK, "Sec-Purpose": "prefetch"}), launched.sessions) == (503, 0)
    assert launched.browser.head(PATH, headers=CLICK).status_code == 503
    assert launched.sessions == 0
