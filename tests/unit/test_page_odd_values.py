"""What no JSON and no UTF-8 can represent, in what people send and in what is shown: no page fails by it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from dispatcher.page.answers import Answer, Data
from dispatcher.page.index import Index
from dispatcher.page.json_object import MAX_DEPTH, read_object
from dispatcher.page.live import Live
from dispatcher.page.routing import Page
from dispatcher.page.site import Site
from dispatcher.page.streams import event
from dispatcher.page.visit import CHECK, STEPS, Visit
from dispatcher.status.overview import OpenAction, State
from tests.support.page_client import JSON, TestClient, a_client, a_site, logged_in
from tests.support.stack_page import ADA
from tests.unit.test_page_overview import NoRepo, _overview, _write

TYPE = {"Content-Type": "application/json"}


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def take(visit: Visit) -> Answer:
    return Data(data={"step": visit.asked("step", STEPS), "id": visit.asked("id")})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = a_site(tmp_path)
    site.bearer = {"ada-token": ADA}.get
    return site


@pytest.fixture
def program(site: Site) -> TestClient:
    page = Page(path="/take", name="take", handler=take, method="POST", summary="")
    client = a_client(site, [page])
    client.headers.update({"Authorization": "Bearer ada-token", **TYPE, **JSON})
    return client


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\ud800"}', b'{"\\udc80": 1}', b'{"a": {"b": ["\\udfff"]}}', b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": [1e999]}',
        b'{"step": "check", "step": "send"}', b'{"a": {"b": 1, "b": 2}}', b"[]", b"1", b"null", b'"a"', b"{",
        b'{"a": 1}x', b'{"a": ' + b"9" * 5_000 + b"}", nested(MAX_DEPTH + 1), nested(400), nested(100_000),
        b'{"a": "\xff"}',
    ],
)  # fmt: skip
def test_a_body_that_is_refused(program: TestClient, body: bytes) -> None:
    answer = program.post("/take", content=body)
    assert (answer.status_code, answer.json()["detail"]) == (400, "the form cannot be read")


def test_a_body_as_deep_as_may_be() -> None:
    assert read_object(nested(MAX_DEPTH))["a"] != []


def test_a_forms_token_that_no_utf_8_has(site: Site) -> None:
    page = Page(path="/take", name="take", handler=take, method="POST", summary="")
    browser = logged_in(site, [page])
    answer = browser.post("/take", content=b'{"form_token": "\\ud800"}', headers=TYPE)
    assert answer.status_code == 400
    answer = browser.post("/take", content=b"{}", headers={**TYPE, "X-Form-Token": b"\xff"})  # type: ignore[dict-item]
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"step": "CHECK"}, "step"),
        ({"step": "chekc"}, "step"),
        ({"step": ["check"]}, "step"),
        ({"step": True}, "step"),
        ({"id": 5}, "id"),
        ({"id": None}, "id"),
        ({"id": ["a"]}, "id"),
    ],
)
def test_what_is_misspelled_is_not_passed_over(
    program: TestClient, body: dict[str, Any], field: str
) -> None:
    """Else what was only to be checked would be sent, or sent under another id."""
    answer = program.post("/take", content=json.dumps(body))
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert program.post("/take", content=b'{"step": "check"}').json()["step"] == CHECK
    assert program.post("/take", content=b"").json() == {"step": "", "id": ""}


@pytest.mark.parametrize(
    "progress", [{"detail": "\ud800"}, {"stage": "\udc80"}, {"percent": float("nan")}]
)
def test_no_run_makes_a_page_fail(site: Site, tmp_path: Path, progress: dict[str, Any]) -> None:
    index = Index(tmp_path / "web", now=time.time)
    site.live = Live(tmp_path, NoRepo(), index, poll_s=60)  # type: ignore[arg-type]
    given = {"stage": "", "percent": None, "detail": "", "at": None, **progress}
    _write(tmp_path, _overview(open=(OpenAction(id="odd", state=State.RUNNING, progress=given),)))
    site.live.look()
    browser = logged_in(site)
    assert "odd" in browser.get("/").text
    (row,) = browser.get("/overview.json").json()["running"]["actions"]
    assert row["action"]["id"] == "odd"


@pytest.mark.parametrize("odd", ["a\nb", "a\rb", "a\0b"])
def test_an_event_has_no_line_but_its_own(odd: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        event({}, event_id=odd)
    with pytest.raises(ValueError, match="line break"):
        event({}, name=odd)
