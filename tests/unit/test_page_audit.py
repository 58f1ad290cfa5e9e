"""The audit log on the page: what was recorded, whoever wrote it, and whether its chain is intact."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import tenacity
from jsonschema import Draft202012Validator

from dispatcher.audit import AuditLog
from dispatcher.page.openapi import document
from dispatcher.page.routing import all_pages
from dispatcher.page.site import Site
from tests.support.page_client import HTML, ORIGIN, a_client, a_site, live_markup, logged_in
from tests.unit.test_page_overview import MARKUP


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return a_site(tmp_path)


def _write(site: Site, count: int) -> None:
    log = AuditLog(site.settings.state_dir / "audit.jsonl")
    for number in range(count):
        log.append("claimed", action=f"a{number}", reason=MARKUP, policies=[MARKUP])


def _verify(client: httpx.Client) -> None:
    token = client.get("/audit").text.partition('name="form_token" value="')[2].partition('"')[0]
    answer = client.post("/audit/verify", data={"form_token": token}, headers={"Origin": ORIGIN})
    assert answer.status_code == 303


@tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.01), reraise=True)
def _verified(client: httpx.Client) -> dict[str, object]:
    work = client.get("/audit.json").json()["verification"]
    assert work["ended_at"]
    return dict(work)


def test_records_are_shown_a_page_at_a_time_as_dead_text(site: Site) -> None:
    _write(site, 120)
    client = logged_in(site)
    shown, found, before = client.get("/audit.json").json(), [], 0
    for _ in range(3):
        shown = client.get(f"/audit.json?before={before or ''}").json()
        found += [entry["seq"] for entry in shown["entries"]]
        before = shown["older"]
    assert found == list(range(120, 0, -1))
    assert before == 0
    assert [e["seq"] for e in client.get("/audit.json?text=%22a7%22").json()["entries"]] == [8]
    for path in ("/audit", "/audit?before=50", "/audit?text=%3Cscript%3E&event=claimed"):
        html = client.get(path).text
        assert live_markup(html) == []
        assert 'href="/actions/a' in html
    for odd in ("-1", "x", "9" * 30, "٣", "%00"):
        assert client.get(f"/audit?before={odd}").status_code == 200


def test_the_chain_is_verified_when_somebody_asks(site: Site) -> None:
    _write(site, 3)
    client = logged_in(site)
    assert client.get("/audit.json").json()["verification"]["began_at"] is None
    _verify(client)
    work = _verified(client)
    assert work["found"][0]["records"] == 3  # type: ignore[index]
    assert work["found"][0]["problems"] == []  # type: ignore[index]
    assert "The chain is intact." in client.get("/audit", headers=HTML).text


def test_a_broken_chain_says_where(site: Site) -> None:
    _write(site, 3)
    path = site.settings.state_dir / "audit.jsonl"
    path.write_text(path.read_text().replace('"a1"', '"b1"'))
    client = logged_in(site)
    _verify(client)
    _verified(client)
    html = client.get("/audit").text
    assert "The chain is broken." in html
    assert "record 2 was modified" in html
    assert ">modified<" in html


@pytest.mark.parametrize("code", ["en", "nl", "ar"])
def test_without_a_log_it_says_where_one_is(site: Site, code: str) -> None:
    client = logged_in(site)
    answer = client.get(f"/audit?lang={code}")
    assert answer.status_code == 200
    assert 'class="empty"' in answer.text
    assert client.get("/audit.json").json()["here"] is False


def test_only_for_those_who_are_logged_in(site: Site) -> None:
    client = a_client(site)
    assert client.get("/audit").status_code == 401
    assert client.post("/audit/verify", headers={"Origin": ORIGIN}).status_code == 401
    assert logged_in(site).post("/audit/verify", headers={"Origin": ORIGIN}).status_code == 403


def test_it_is_as_described(site: Site) -> None:
    _write(site, 2)
    client = logged_in(site)
    _verify(client)
    _verified(client)
    schema = {**document(all_pages()), "$ref": "#/components/schemas/AuditShown"}
    Draft202012Validator(schema).validate(client.get("/audit.json").json())
