"""The inventory on the page: what is verified and what is not, however it is named."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.page import inventory_list
from dispatcher.page.index import Index
from dispatcher.page.live import Live
from dispatcher.page.openapi import document
from dispatcher.page.routing import all_pages
from dispatcher.page.site import Site
from tests.support.page_client import JSON, a_site, live_markup, logged_in
from tests.unit.test_page_overview import MARKUP, NoRepo

LONG = "x" * 100


def entry(entry_id: str, **facts: Any) -> InventoryEntry:
    plain = {"result": f"{entry_id}-by", "at": "2026-11-20T08:00:00Z", "tier": "low"}
    return InventoryEntry(**{"kind": "desktop", "id": entry_id, "blob": "b" * 40, **plain, **facts})


class View:
    """Has these entries; or Vault is down."""

    def __init__(self, *entries: InventoryEntry) -> None:
        self.entries = list(entries)
        self.error: Exception | None = None
        self.opened = 0

    def read(self) -> tuple[str, list[InventoryEntry]]:
        if self.error is not None:
            raise self.error
        return "c" * 40, self.entries


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = a_site(tmp_path)
    made.live = Live(tmp_path, NoRepo(), Index(tmp_path / "web", now=time.time), poll_s=60)  # type: ignore[arg-type]
    return made


def _showing(monkeypatch: pytest.MonkeyPatch, view: View) -> View:
    def opened(_site: Site) -> View:
        view.opened += 1
        return view

    monkeypatch.setattr(inventory_list, "open_view", opened)
    return view


def test_what_is_verified_and_what_is_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    view = _showing(
        monkeypatch,
        View(
            entry("good", expires_at="2099-01-01T00:00:00Z"),
            entry("over", expires_at="2020-01-01T00:00:00Z"),
            entry("forged", forged=MARKUP),
            entry("odd", problem="no result of this dispatcher wrote it", result=MARKUP),
            entry("vol", kind="volume"),
        ),
    )
    client = logged_in(site)
    shown = client.get("/inventory.json").json()
    assert shown["kinds"] == {"desktop": 4, "volume": 1}
    rows = {row["id"]: row for row in shown["entries"]}
    assert rows["good"]["verified"] is True
    assert (rows["good"]["expired"], rows["over"]["expired"]) == (False, True)
    assert (rows["forged"]["verified"], rows["forged"]["problem"]) == (True, MARKUP)
    assert (rows["odd"]["verified"], rows["odd"]["action"]) == (False, "")
    html = client.get("/inventory").text
    assert live_markup(html) == []
    assert html.count(">verified<") == 4
    assert html.count(">not verified<") == 1
    listed = client.get("/inventory.json?kind=volume").json()
    assert [row["id"] for row in listed["entries"]] == ["vol"]
    listed = client.get("/inventory.json?text=FORG").json()
    assert [row["id"] for row in listed["entries"]] == ["forged"]
    assert view.opened == 1


def test_one_entry_with_all_that_its_formula_handed_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = {"address": MARKUP, MARKUP: [LONG] * 20}
    _showing(monkeypatch, View(entry("one", entry=handed, approved_by=(MARKUP,))))
    client = logged_in(site)
    shown = client.get("/inventory/desktop/one.json").json()
    assert shown["entry"] == handed
    html = client.get("/inventory/desktop/one").text
    assert live_markup(html) == []
    assert "&lt;script&gt;" in html
    for path in ("/inventory/desktop/two", "/inventory/%3Cb%3E/%3Cscript%3E", "/inventory/x/NO"):
        missing = client.get(path, headers=JSON)
        assert missing.status_code == 404
        assert "<" not in missing.text


def test_a_page_of_a_long_list_leads_to_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [entry(f"d-{number:04}") for number in range(250)]
    _showing(monkeypatch, View(*many))
    client = logged_in(site)
    found, after = [], ""
    for _ in range(3):
        page = client.get("/inventory.json", params={"after": after}).json()
        assert page["total"] == 250
        found += [row["id"] for row in page["entries"]]
        after = page["more"]
    assert found == [each.id for each in many]
    assert after == ""
    assert 'rel="next"' in client.get("/inventory").text
    for odd in ("x", "/", "desktop", "%00", "é/é"):
        assert client.get(f"/inventory?after={odd}").status_code == 200


@pytest.mark.parametrize("code", ["en", "nl", "ar"])
def test_an_empty_one_says_what_would_be_there(
    site: Site, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    _showing(monkeypatch, View())
    client = logged_in(site)
    assert 'class="empty"' in client.get(f"/inventory?lang={code}").text
    assert 'class="empty"' in client.get("/inventory?kind=desktop").text


def test_vault_is_down_and_then_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    view = _showing(monkeypatch, View())
    view.error = Unavailable(Dependency.VAULT, "Vault does not answer", remedy="Start it.")
    client = logged_in(site)
    answer = client.get("/inventory", headers=JSON)
    assert (answer.status_code, answer.json()["remedy"]) == (503, "Start it.")
    assert "Vault does not answer" in client.get("/inventory").text
    view.error = None
    assert client.get("/inventory").status_code == 200


def test_it_is_as_described(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _showing(monkeypatch, View(entry("one", entry={"a": 1})))
    client, described = logged_in(site), document(all_pages())
    for path, name in (
        ("/inventory.json", "InventoryList"),
        ("/inventory/desktop/one.json", "InventoryDetails"),
    ):
        schema = {**described, "$ref": f"#/components/schemas/{name}"}
        Draft202012Validator(schema).validate(client.get(path).json())
