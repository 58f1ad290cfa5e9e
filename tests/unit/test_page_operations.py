"""Doctor and sidecars on the page: begun in the background, shown as they come, dead text, honest errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
from jsonschema import Draft202012Validator

from dispatcher.errors import Denied, Dependency
from dispatcher.model.checks import Check
from dispatcher.operate.sidecars import Planned, Row
from dispatcher.page.index import Index
from dispatcher.page.live import Live
from dispatcher.page.openapi import document
from dispatcher.page.pages import doctor, sidecars
from dispatcher.page.routing import all_pages
from dispatcher.page.site import Site
from dispatcher.settings import Role, Settings, settings_model
from tests.support.page_client import ORIGIN, a_client, a_site, live_markup, logged_in
from tests.unit.test_page_overview import MARKUP, NoRepo

RULES = """
[projects.app]
repository = "acme/app"
bot = "reader"

[rules.triage]
formula = "triage"
labels = ["<b>bug"]
without_labels = ["blocked"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = a_site(tmp_path)
    (tmp_path / "sidecars.toml").write_text(RULES)
    made.settings = settings_model().model_validate(
        {
            "state_dir": tmp_path,
            "forge": {"url": "https://forge.example"},
            "sidecars": {"file": tmp_path / "sidecars.toml"},
        }
    )
    made.live = Live(tmp_path, NoRepo(), Index(tmp_path / "web", now=time.time), poll_s=60)  # type: ignore[arg-type]
    return made


@tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.01), reraise=True)
def _when(client: httpx.Client, path: str, done: Callable[[dict[str, Any]], object]) -> Any:
    shown = client.get(path).json()
    assert done(shown)
    return shown


def _row(issue: int, rule: str, why: str, reason: str, action: str = "") -> Row:
    return Row(
        project="app",
        issue=issue,
        rule=rule,
        why=why,
        reason=reason,
        action=action,
        again_at=None,
    )


def test_checks_come_one_by_one_and_their_words_are_dead_text(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks(_site: Site) -> Generator[Check, None, None]:
        yield Check(name="git", ok=True, detail="git version 2.99")
        yield Check(name="gate", ok=True, detail=MARKUP, remedy=MARKUP)
        yield Check(name=MARKUP, ok=False, detail="x" * 500, remedy="Mend it.")

    monkeypatch.setattr(doctor, "checks_of", checks)
    client = logged_in(site)
    client.get("/doctor")
    shown = _when(client, "/doctor.json", lambda data: data["ended_at"])
    assert (shown["ok"], shown["warnings"], shown["failed"]) == (1, 1, 1)
    assert [check["state"] for check in shown["checks"]] == ["ok", "warning", "failed"]
    for code in ("en", "nl", "ar"):
        html = client.get(f"/doctor?lang={code}").text
        assert live_markup(html) == []
        assert "Mend it." in html
        assert "data-soon" not in html


def test_the_checks_of_the_page_change_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remote's refs are written to find out whether they can be, by the command alone."""
    asked: list[bool] = []

    def diagnose(*_: object, read_only: bool = False) -> Generator[Check, None, None]:
        asked.append(read_only)
        yield Check(name="git", ok=True, detail="")

    monkeypatch.setattr("dispatcher.operate.doctor.diagnose", diagnose)
    assert [check.name for check in doctor.checks_of(site)] == ["git"]
    assert asked == [True]


def test_checks_that_end_early_say_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def checks(_site: Site) -> Generator[Check, None, None]:
        yield Check(name="git", ok=True, detail="fine")
        raise Denied(Dependency.VAULT, "Vault refuses", remedy="Log in.")

    monkeypatch.setattr(doctor, "checks_of", checks)
    client = logged_in(site)
    shown = _when(client, "/doctor.json", lambda data: data["problem"])
    assert (shown["problem"], shown["remedy"], shown["ok"]) == ("Vault refuses", "Log in.", 1)
    html = client.get("/doctor").text
    assert "Vault refuses" in html
    assert "Nothing is wrong." not in html


def test_rules_and_issues(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        _row(7, "triage", "start", MARKUP, "triage-app-7-1"),
        _row(8, "triage", "labels", "it lacks the label <b>bug"),
        _row(9, "triage", "cool_down", "a pause"),
    )

    def planned(_site: Site) -> Generator[Planned, None, None]:
        yield Planned(rows=rows, problems={"other": MARKUP})

    monkeypatch.setattr(sidecars, "planned_by", planned)
    client = logged_in(site)
    shown = _when(client, "/sidecars.json", lambda data: data["read_at"])
    assert [(row["issue"], row["rule"], row["action"]) for row in shown["issues"]] == [
        (7, "triage", "triage-app-7-1"),
        (8, "", ""),
        (9, "triage", ""),
    ]
    assert shown["issues"][0]["url"] == "https://forge.example/acme/app/issues/7"
    assert shown["rules"]["triage"]["labels"] == ["<b>bug"]
    for code in ("en", "nl", "ar"):
        html = client.get(f"/sidecars?lang={code}").text
        assert live_markup(html) == []
        assert "&lt;b&gt;bug" in html
    assert client.get("/sidecars.json?project=nothing").json()["total"] == 0


def test_many_issues_a_page_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(_row(number, "triage", "cool_down", "a pause") for number in range(1, 251))

    def planned(_site: Site) -> Generator[Planned, None, None]:
        yield Planned(rows=rows, problems={})

    monkeypatch.setattr(sidecars, "planned_by", planned)
    client = logged_in(site)
    first = _when(client, "/sidecars.json", lambda data: data["read_at"])
    second = client.get(f"/sidecars.json?from={first['more']}").json()
    third = client.get(f"/sidecars.json?from={second['more']}").json()
    pages = (first, second, third)
    assert [row["issue"] for page in pages for row in page["issues"]] == list(range(1, 251))
    assert third["more"] == 0
    for odd in ("-1", "x", "9" * 20):
        assert client.get(f"/sidecars?from={odd}").status_code == 200


def test_the_forge_is_down(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(_site: Site) -> Generator[Planned, None, None]:
        yield from ()
        raise Denied(Dependency.FORGE, "the forge refuses the token", remedy="Make another.")

    monkeypatch.setattr(sidecars, "planned_by", planned)
    client = logged_in(site)
    shown = _when(client, "/sidecars.json", lambda data: data["problem"])
    assert (shown["problem"], shown["issues"]) == ("the forge refuses the token", [])
    html = client.get("/sidecars").text
    assert "the forge refuses the token" in html
    assert "triage" in html  # the rules are known nevertheless
    assert "No open issues." not in html


@pytest.mark.parametrize("role", list(Role))
def test_without_sidecars_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    def planned(_site: Site) -> Generator[Planned, None, None]:
        raise AssertionError("read")

    monkeypatch.setattr(sidecars, "planned_by", planned)
    site = a_site(tmp_path)
    site.settings = Settings(state_dir=tmp_path, role=role)
    client = logged_in(site)
    assert 'class="empty"' in client.get("/sidecars").text
    assert client.get("/sidecars.json").json()["configured"] is False


@pytest.mark.parametrize("path", ["/doctor/check", "/sidecars/read"])
def test_only_this_session_begins_anything(site: Site, path: str) -> None:
    assert a_client(site).post(path, headers={"Origin": ORIGIN}).status_code == 401
    assert logged_in(site).post(path, headers={"Origin": ORIGIN}).status_code == 403
    assert logged_in(site).get(path).status_code == 405


def test_they_are_as_described(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def checks(_site: Site) -> Generator[Check, None, None]:
        yield Check(name="git", ok=True, detail="")

    def planned(_site: Site) -> Generator[Planned, None, None]:
        yield Planned(rows=(_row(1, "triage", "start", "", "triage-app-1-1"),), problems={})

    monkeypatch.setattr(doctor, "checks_of", checks)
    monkeypatch.setattr(sidecars, "planned_by", planned)
    client, described = logged_in(site), document(all_pages())
    for path, name, key in (
        ("/doctor.json", "Diagnosis", "ended_at"),
        ("/sidecars.json", "SidecarsShown", "read_at"),
    ):
        shown = _when(client, path, lambda data, key=key: data[key])
        schema = {**described, "$ref": f"#/components/schemas/{name}"}
        Draft202012Validator(schema).validate(shown)
