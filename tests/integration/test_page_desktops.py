"""Desktops on the page, with a dispatcher over a fake engine: created, listed, opened, destroyed; and whose
they are."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from dispatcher import assembly
from dispatcher.cli.web import open_live
from dispatcher.desktop.credentials import Credentials
from dispatcher.devservers.ports import free_port
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.protection import FORM_TOKEN
from dispatcher.page.sessions import Person as Visitor
from dispatcher.page.site import Site
from dispatcher.settings.models import VaultAuth
from dispatcher.vault.names import page_policy
from tests.fakes.guacamole import FakeGuacamole, serving
from tests.servers.bao import Bao
from tests.support.desktop_stage import Person, credentials, desktop_stage, finish, submitted
from tests.support.page_client import JSON, a_client, a_site, live_markup, logged_in
from tests.support.stage import Stage, eventually

pytestmark = pytest.mark.needs("bao", "git")

DESK = "desktop-alice"
ENTRY = f"vault/inventory/desktop/{DESK}.json"
MARKUP = "<script>alert(1)</script>"
ADA = Visitor(login="ada", name="Ada", email="Ada@Example.org", token="forge-token")
EVE = Visitor(login="eve", name="Ada", email="eve@example.org", token="forge-token")


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    with desktop_stage(tmp_path, bao_server) as stage:
        yield stage


@pytest.fixture
def operator(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Person:
    return Person(stage, monkeypatch, capsys)


@pytest.fixture
def site(stage: Stage, operator: Person) -> Iterator[Site]:
    settings = operator.settings

    def client_of(person: Visitor) -> SubmissionClient:
        author = person.author or ("Ada", "ada@example.org")
        return assembly.open_client(settings, stage.scene.environ, author=author)

    site = a_site(settings.state_dir)
    site.settings, site.submissions = settings, client_of
    with open_live(settings, lambda *_words, **_facts: None) as site.live:
        yield site


def visited_by(site: Site, person: Visitor) -> TestClient:
    client = a_client(site)
    session = site.sessions.begin(person)
    client.cookies.set("disinto_session", site.sessions.cookie(session), domain="127.0.0.1")
    return client


def pressed(browser: TestClient, page: str, to: str = "", **fields: str) -> tuple[int, str]:
    """What a form answers: the hidden fields that its page has, and those that a person filled in."""
    html = browser.get(page).text if page.startswith("/") else page
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', html))
    form |= dict(
        re.findall(r'<textarea class="hidden" name="([^"]+)" hidden>\n(.*?)</textarea>', html)
    )
    answer = browser.post(
        to or page, data={**form, **fields}, headers={"Origin": "http://127.0.0.1:8490"}
    )
    return answer.status_code, answer.headers.get("location", "") or answer.text


def of_program(browser: TestClient) -> dict[str, str]:
    html = browser.get("/desktops").text
    token = re.search(rf'name="{FORM_TOKEN}" value="([^"]+)"', html)
    assert token is not None
    return {**JSON, "Origin": "http://127.0.0.1:8490", "X-Form-Token": token[1]}


def wizard(browser: TestClient) -> str:
    """Through the three steps; where it leads."""
    to = "/new-desktop"
    _, html = pressed(browser, to, go="machine", **{"params.vigilance": "true"})
    assert "s-4vcpu-8gb" in html
    assert 'id="params.size"' not in html, "fixed"
    status, html = pressed(browser, html, to, go="apps", **{"params.name": "No Name", "id": ""})
    assert status == 422
    assert 'id="params.name-error"' in html
    assert 'value="No Name"' in html
    _, html = pressed(
        browser, html, to, go="apps", **{"params.name": "alice", "params.region": "nyc3"}
    )
    assert "Firefox" in html
    _, html = pressed(browser, html, to, go="summary", **{"app.firefox": "true"})
    for words in (f"id = &#34;{DESK}&#34;", "size = &#34;s-4vcpu-8gb&#34;", "None is needed"):
        assert words in html, html
    _, back = pressed(browser, html, to, go="apps")
    assert 'name="app.firefox" value="true" checked' in back
    return pressed(browser, html, to, go="send")[1]


def shown(browser: TestClient, desktop_id: str = DESK) -> dict[str, Any]:
    answer = browser.get(f"/desktops/{desktop_id}.json")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@eventually
def until(browser: TestClient, **facts: object) -> None:
    found = shown(browser)
    assert {name: found[name] for name in facts} == facts, found


def test_from_the_wizard_to_destruction(
    stage: Stage, operator: Person, site: Site, tmp_path: Path
) -> None:
    browser = logged_in(site)
    first = browser.get("/desktops").text
    assert "There are no desktops." in first, first
    assert wizard(browser) == f"/desktops/{DESK}"
    assert f"{DESK} is pushed as" in browser.get(f"/desktops/{DESK}").text
    spec = submitted(stage, DESK)
    assert spec.params["vigilance"] is True
    found = shown(browser)
    assert (found["name"], found["region"], found["ready"]) == ("alice", "nyc3", False)
    early = browser.get(f"/desktops/{DESK}/launch", headers=JSON)
    assert (early.status_code, "not ready" in early.json()["detail"]) == (409, True)

    own = credentials(operator, spec.key)
    with serving(own.guacamole_key, tmp_path, desktop_id=DESK) as guacamole:
        entry = {
            "name": f"alice {MARKUP}",
            "state": "ACTIVE",
            "region": MARKUP,
            "address": f"127.0.0.1:{guacamole.port}",
            "fingerprint": guacamole.fingerprint,
            "run_key": spec.key.token,
            "key_version": own.key_version,
            "droplet_id": 77,
            "apps_failed": [MARKUP],
        }
        finish(stage, spec.key, entry)
        until(browser, state="ACTIVE", ready=True, yours=True)
        for path in ("/desktops", f"/desktops/{DESK}", f"/desktops/{DESK}/destroy"):
            html = browser.get(path).text
            assert live_markup(html) == []
            assert MARKUP not in html
        opened(browser, guacamole, own)
        someone_else(site, guacamole)
        with_permissions_of_its_own(browser, site, operator, tmp_path)
        vault_down(browser, site)
    destroyed(stage, browser)


def opened(browser: TestClient, guacamole: FakeGuacamole, own: Credentials) -> None:
    """The answer leads to the desktop; no secret but the session's token is in it, in the fragment."""
    answer = browser.get(f"/desktops/{DESK}/launch?target=ip")
    assert answer.status_code == 302, answer.text
    target = answer.headers["Location"]
    (token,) = guacamole.sessions
    assert target.startswith(f"{guacamole.base}#/client/")
    assert urlsplit(target).fragment.endswith(f"?token={token}")
    assert {query for _, _, query in guacamole.requests} == {""}
    for secret in (own.vnc_password, own.guacamole_key.hex(), "forge-token"):
        assert secret not in str(answer.headers)
    assert answer.headers["Cache-Control"] == "no-store"
    assert guacamole.documents[0]["username"] == "ada"

    before = len(guacamole.requests)
    elsewhere = {"Sec-Fetch-Site": "same-site"}
    assert browser.get(f"/desktops/{DESK}/launch", headers=elsewhere).status_code == 403
    guess = {"Sec-Purpose": "prefetch"}
    assert browser.get(f"/desktops/{DESK}/launch", headers=guess).status_code == 503
    assert browser.get(f"/desktops/{DESK}/launch?target=gateway").status_code == 409
    assert browser.get(f"/desktops/{DESK}/launch?target=https://x", headers=JSON).status_code == 422
    assert browser.get("/desktops/absent/launch", headers=JSON).status_code == 404
    assert browser.get("/desktops/NO/launch", headers=JSON).status_code == 404
    assert len(guacamole.requests) == before
    probes = shown(browser)["probes"]
    assert (probes["https"], probes["vnc"], probes["stranger"]) == (False, None, False)


def someone_else(site: Site, guacamole: FakeGuacamole) -> None:
    """Whoever created it may open it; somebody who only calls themselves so may not."""
    mine, theirs = visited_by(site, ADA), visited_by(site, EVE)
    before = len(guacamole.requests)
    refused = theirs.get(f"/desktops/{DESK}/launch?target=ip", headers=JSON)
    assert (refused.status_code, refused.headers["content-type"]) == (
        404,
        "application/problem+json",
    )
    assert len(guacamole.requests) == before
    assert (shown(theirs)["yours"], shown(theirs)["owner"]) == (False, "Ada")
    assert "/launch" not in theirs.get("/desktops").text
    nameless = visited_by(site, Visitor(login="x", token="t"))
    assert nameless.get(f"/desktops/{DESK}/launch?target=ip").status_code == 404
    assert shown(mine)["yours"]
    assert mine.get(f"/desktops/{DESK}/launch?target=ip").status_code == 302
    assert a_client(site).get(f"/desktops/{DESK}/launch", headers=JSON).status_code == 401


def with_permissions_of_its_own(
    browser: TestClient, site: Site, operator: Person, directory: Path
) -> None:
    """The page's own policy is enough, and is used before the token of whoever started it."""
    before, vault = site.settings, site.settings.vault
    client = operator.stage.scene.server.client()
    made = client.auth.token.create(policies=[page_policy(vault)], ttl="1h", no_parent=True)
    file = directory / "page.token"
    file.write_text(made["auth"]["client_token"])
    own = vault.model_copy(update={"auth": VaultAuth.TOKEN, "token_file": file})
    site.settings = before.model_copy(update={"vault": own})
    with pytest.MonkeyPatch.context() as without:
        without.delenv("VAULT_TOKEN")
        answer = browser.get(f"/desktops/{DESK}/launch?target=ip")
    site.settings = before
    assert answer.status_code == 302, answer.text


def vault_down(browser: TestClient, site: Site) -> None:
    before, vault = site.settings, site.settings.vault
    gone = vault.model_copy(update={"addr": f"http://127.0.0.1:{free_port()}"})
    site.settings = before.model_copy(update={"vault": gone})
    answer = browser.get(f"/desktops/{DESK}/launch?target=ip", headers=JSON)
    site.settings = before
    assert answer.status_code == 500
    problem = answer.json()
    assert "credentials are unavailable" in problem["detail"]
    assert problem["remedy"]


def destroyed(stage: Stage, browser: TestClient) -> None:
    headers = of_program(browser)
    bare = {"Origin": headers["Origin"], **JSON}
    assert browser.delete(f"/desktops/{DESK}", headers=bare).status_code == 403
    page = f"/desktops/{DESK}/destroy"
    assert "Everything on it is lost" in browser.get(page).text
    assert pressed(browser, page) == (303, f"/desktops/{DESK}")
    spec = submitted(stage, f"destroy-{DESK}")
    assert spec.params == {"id": DESK, "droplet_id": 77}
    until(browser, destroying=f"destroy-{DESK}")
    again = browser.delete(f"/desktops/{DESK}", headers=headers)
    assert again.status_code == 409
    assert "destroys" in again.json()["detail"]
    finish(stage, spec.key, {"id": DESK})
    until(browser, state="DESTROYED", destroyed_by=f"destroy-{DESK}", ready=False)
    assert browser.get(f"/desktops/{DESK}/launch", headers=JSON).status_code == 404
    assert browser.get("/desktops.json").json()["desktops"] == []
    (gone,) = browser.get("/desktops.json?all=1").json()["desktops"]
    assert gone["id"] == DESK


def test_programs_and_what_they_are_refused(stage: Stage, operator: Person, site: Site) -> None:
    browser = logged_in(site)
    headers = of_program(browser)

    def post(**body: object) -> tuple[int, dict[str, Any]]:
        answer = browser.post("/desktops", json=body, headers=headers)
        return answer.status_code, answer.json()

    status, preview = post(name="bob", apps=["git"], step="check")
    assert (status, preview["id"], preview["tier"]) == (200, "desktop-bob", "low")
    assert tomllib.loads(preview["toml"])["params"] == {"name": "bob", "apps": ["git"]}
    for body, field in (
        ({"name": "No Name"}, "params.name"),
        ({}, "params.name"),
        ({"name": "bob", "apps": ["gti"]}, "params.apps"),
        ({"name": "bob", "id": "../x"}, "id"),
        ({"name": "bob", "region": "mars"}, "params.region"),
    ):
        status, problem = post(**body)
        assert (status, [e["field"] for e in problem["errors"]]) == (422, [field]), problem
    assert post(name="bob", keep_on_error=True)[0] == 422
    assert post(name="bob", surprise="x")[0] == 422

    status, sent = post(name="bob")
    assert (status, sent["id"], sent["state"]) == (200, "desktop-bob", "waiting")
    assert post(name="bob", step="check")[1]["id"] == "desktop-bob-2"
    assert post(name="bob", id="desktop-bob")[1]["commit"] is None, "it is there already"
    assert post(name="bob", id="desktop-bob", region="nyc1")[0] == 409
    spec = submitted(stage, "desktop-bob")
    why = f"droplet limit of 3 is reached {MARKUP}"
    failure = Outcome(verdict=Verdict.FAILED, exit_code=1, formula_started=True, logs=why)
    stage.scheduler.end(spec.key, failure)
    stage.result("desktop-bob")
    until_failed(browser)
    for path in ("/desktops", "/desktops/desktop-bob", "/new-desktop?from=desktop-bob"):
        html = browser.get(path).text
        assert "droplet limit of 3 is reached" in html
        assert live_markup(html) == []
        assert MARKUP not in html
    _, html = pressed(browser, "/new-desktop?from=desktop-bob", "/new-desktop", go="machine")
    assert 'value="bob"' in html
    assert browser.delete("/desktops/desktop-bob", headers=headers).status_code == 404


@eventually
def until_failed(browser: TestClient) -> None:
    assert shown(browser, "desktop-bob")["state"] == "FAILED"
    (failed,) = browser.get("/desktops.json").json()["failed"]
    assert failed["id"] == "desktop-bob"


def test_a_forged_entry_is_not_believed_and_never_opened(
    stage: Stage, operator: Person, site: Site
) -> None:
    browser = logged_in(site)
    forged = {"name": MARKUP, "state": "ACTIVE", "address": "127.0.0.1:1", "fingerprint": "a" * 64}
    record = {"kind": "desktop", "id": "made-up", "entry": forged}
    stage.scene.merge({"vault/inventory/desktop/made-up.json": json.dumps(record)}, "Make one up")
    assert site.live is not None
    site.live.refresh()

    @eventually
    def listed() -> None:
        (found,) = browser.get("/desktops.json").json()["desktops"]
        assert (found["id"], found["state"], found["ready"]) == ("made-up", "UNKNOWN", False)

    listed()
    html = browser.get("/desktops").text
    assert MARKUP not in html
    assert browser.get("/desktops/made-up/launch", headers=JSON).status_code == 409
    assert shown(browser, "made-up")["probes"] is None
