"""The page of a new action, on a real git remote: form, messages at their fields, preview, sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dispatcher import assembly
from dispatcher.cli.web import open_live
from dispatcher.devservers.scene import Scene
from dispatcher.loop.formulas import FormulaStore
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.protection import FORM_TOKEN
from dispatcher.page.sessions import Person
from tests.servers.bao import Bao
from tests.support.page_client import JSON, a_site, logged_in

MARKUP = "<script>alert(1)</script>"
SCHEMA = {
    "description": f"Puts a version on a host. {MARKUP}",
    "type": "object",
    "required": ["host"],
    "additionalProperties": False,
    "properties": {
        "host": {"type": "string", "pattern": "^[a-z0-9-]+$", "description": MARKUP},
        "copies": {"type": "integer", "minimum": 1},
    },
}
ENTERED = {"id": "deploy-1", "context": "why", "secrets": "", "params.host": "web-1"}


@pytest.fixture
def scene(vault: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene.set(
        tmp_path,
        vault,
        values={},
        settings={"vault": {"kv_mount": vault.kv_mount}},
        tiers={"deploy": "low", "danger": "high"},
        formulas={
            "deploy.sh": "echo deployed\n",
            "deploy.schema.json": json.dumps(SCHEMA),
            "danger.sh": "echo danger\n",
        },
    )
    for name, value in scene._git_identity().items():
        monkeypatch.setenv(name, value)
    return scene


@pytest.fixture
def browser(scene: Scene) -> Iterator[TestClient]:
    settings = scene.open_settings()

    def client_of(_person: Person) -> SubmissionClient:
        repo = assembly.open_repo(settings, scene.environ)
        return SubmissionClient(
            settings=settings,
            repo=repo,
            formula_store=FormulaStore(folder=settings.formulas.path, repo=repo),
            policy=assembly.open_policy(settings),
            secrets=lambda: {"TOKEN_A"},
            ledger=None,
            scheduler=None,
            forge=lambda: pytest.fail("there is no forge"),
        )

    site = a_site(settings.state_dir)
    site.settings, site.submissions = settings, client_of
    with open_live(settings, lambda *_words, **_facts: None) as site.live:
        yield logged_in(site)


def submitted(
    browser: TestClient, formula: str, step: str = "check", **fields: str
) -> tuple[int, str]:
    """What the form answers when a person fills it in and presses the button."""
    page = browser.get(f"/new/{formula}").text
    token = re.search(rf'name="{FORM_TOKEN}" value="([^"]+)"', page)
    assert token is not None
    form = {**ENTERED, **fields, "step": step, FORM_TOKEN: token[1]}
    answer = browser.post(f"/new/{formula}", data=form, headers={"Origin": "http://127.0.0.1:8490"})
    return answer.status_code, answer.headers.get("location", "") or answer.text


def test_a_person_sends_an_action_and_sees_the_file_first(
    scene: Scene, browser: TestClient
) -> None:
    listed = browser.get("/new").text
    assert "/new/deploy" in listed
    assert MARKUP not in listed
    assert MARKUP not in browser.get("/new/deploy").text

    status, shown = submitted(browser, "deploy")
    assert status == 200
    assert "host = &#34;web-1&#34;" in shown
    assert "None is needed" in shown
    assert "vault/actions/deploy-1.toml" not in scene.git(
        "ls-tree", "-r", "--name-only", "main", cwd=scene.remote
    )

    assert submitted(browser, "deploy", "send") == (303, "/actions/deploy-1")
    assert browser.get("/actions/absent").status_code == 404, "and shows no note of another"
    page = browser.get("/actions/deploy-1")
    assert page.status_code == 200
    assert "deploy-1 is pushed as" in page.text
    assert "is pushed as" not in browser.get("/actions/deploy-1").text
    known = browser.get("/actions/deploy-1.json").json()
    assert (known["action"]["tier"], known["tier"]) == (None, "low"), known["tier_reason"]
    sent = scene.git("show", "main:vault/actions/deploy-1.toml", cwd=scene.remote)
    assert 'host = "web-1"' in sent
    status, again = submitted(browser, "deploy", "send", context="another")
    assert status == 409
    assert "deploy-1" in again


def test_what_is_wrong_is_said_at_its_field_and_what_was_entered_stays(browser: TestClient) -> None:
    status, page = submitted(
        browser, "deploy", **{"id": "Deploy 1", "params.host": "no/host", "params.copies": "0"}
    )
    assert status == 422
    for field in ("id", "params.host", "params.copies"):
        assert f'id="{field}-error"' in page
    assert 'value="no/host"' in page
    assert 'id="context-error"' not in page

    status, page = submitted(browser, "deploy", secrets="TOKEN_B")
    assert (status, 'id="secrets-error"' in page) == (422, True)


def test_an_action_that_must_be_signed_is_not_sent_without(browser: TestClient) -> None:
    status, page = submitted(browser, "danger", params="")
    assert status == 200
    assert "high" in page
    assert "Disinto-Approve: example/ops@main deploy-1" in page
    status, page = submitted(browser, "danger", "send", params="")
    assert status == 422
    assert "nothing was sent" in page


def test_a_program_gets_the_same(scene: Scene, browser: TestClient) -> None:
    token = re.search(rf'name="{FORM_TOKEN}" value="([^"]+)"', browser.get("/new/deploy").text)
    assert token is not None
    headers = {**JSON, "Origin": "http://127.0.0.1:8490", "X-Form-Token": token[1]}
    body = {"id": "deploy-2", "context": "", "secrets": [], "params": {"host": "web-2"}}
    preview = browser.post("/new/deploy", json=body, headers=headers).json()
    assert (preview["id"], preview["tier"], preview["approval"]) == ("deploy-2", "low", "")
    wrong = browser.post("/new/deploy", json={**body, "params": {}}, headers=headers)
    assert wrong.status_code == 422
    assert "host" in json.dumps(wrong.json()["errors"])
    sent = browser.post("/new/deploy", json={**body, "step": "send"}, headers=headers).json()
    assert (sent["id"], sent["state"]) == ("deploy-2", "waiting")
    assert scene.git("rev-parse", "main", cwd=scene.remote) == sent["commit"]


def test_there_is_no_form_of_what_does_not_exist(browser: TestClient) -> None:
    assert browser.get("/new/absent").status_code == 404
    assert browser.get("/new/..%2Fetc").status_code == 404


def test_a_page_that_sends_nothing_says_so(tmp_path: Path) -> None:
    answer = logged_in(a_site(tmp_path)).get("/new")
    assert answer.status_code == 403
    assert "only shows" in answer.text
