"""The OpenAPI document: it describes every page, and what pages answer is as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from dispatcher.host import resources
from dispatcher.page.answers import Data
from dispatcher.page.openapi import document
from dispatcher.page.routing import Page, all_pages
from dispatcher.page.sessions import Person
from tests.support.page_client import JSON, a_client, a_site, logged_in

DOCUMENT = document(all_pages())


def references(data: Any) -> Iterator[str]:
    """Every ``$ref``."""
    if isinstance(data, dict):
        yield from (v for k, v in data.items() if k == "$ref")
        data = list(data.values())
    for each in data if isinstance(data, list) else ():
        yield from references(each)


def test_every_page_is_described() -> None:
    described = {(path, m) for path, entry in DOCUMENT["paths"].items() for m in entry}
    assert len(described) == len(all_pages())
    operations = [op for entry in DOCUMENT["paths"].values() for op in entry.values()]
    assert all(op["summary"].endswith(".") for op in operations)


def test_what_a_program_sends_and_where_it_is_led() -> None:
    paths = DOCUMENT["paths"]
    launch = paths["/desktops/{id}/launch"]["get"]
    assert set(launch["responses"]) >= {"302", "404", "409", "500"}
    assert "200" not in launch["responses"]
    assert [p["name"] for p in launch["parameters"] if p["in"] == "query"] == ["target"]
    asked = paths["/desktops"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert asked == {"$ref": "#/components/schemas/Wanted"}
    assert DOCUMENT["components"]["schemas"]["Wanted"]["required"] == ["name"]


def test_what_programs_do_about_stacks() -> None:
    """At the addresses themselves, which answer in JSON whatever is accepted."""
    paths = DOCUMENT["paths"]
    found = {(path, m) for path, entry in paths.items() for m in entry if "/api/" in path}
    assert found == {
        ("/api/check/{name}", "get"),
        ("/api/deploy", "post"),
        ("/api/status/{id}", "get"),
        ("/api/stack/{name}", "delete"),
    }
    states = paths["/api/status/{id}"]["get"]
    assert "text/event-stream" in states["responses"]["200"]["content"]
    for path, method, name in (
        ("/api/check/{name}", "get", "NameCheck"),
        ("/api/deploy", "post", "SentAbout"),
        ("/api/stack/{name}", "delete", "SentAbout"),
        ("/health", "get", "Health"),
        ("/stacks.json", "get", "StackCards"),
    ):
        content = paths[path][method]["responses"]["200"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}, path
    assert paths["/health"]["get"]["security"] == []
    asked = DOCUMENT["components"]["schemas"]["WantedStack"]
    schema = json.loads(
        (resources.path("actions/stack/formulas") / "stack.schema.json").read_text()
    )
    assert set(asked["properties"]) == {*schema["properties"], "id", "step"}
    assert asked["required"] == schema["required"]


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_answers_are_as_described(tmp_path: Path) -> None:
    client = logged_in(a_site(tmp_path))
    schema = {**DOCUMENT, "$ref": "#/components/schemas/Board"}
    Draft202012Validator(schema).validate(client.get("/overview.json").json())
    schema = {**DOCUMENT, "$ref": "#/components/schemas/Problem"}
    for path in ("/nothing", "/actions/NO", "/actions/x"):
        problem = client.get(path, headers=JSON)
        assert problem.status_code >= 400
        Draft202012Validator(schema).validate(problem.json())


def test_what_it_says_about_security_is_so(tmp_path: Path) -> None:
    """Each way that it names opens a page, and no part of one does."""
    pages = [
        Page(path=f"/{m}", name=m, handler=lambda _: Data(data={}), summary="", method=m)
        for m in ("GET", "POST")
    ]
    site = a_site(tmp_path)
    site.bearer = {"good-token": Person(login="bot")}.get
    session = site.sessions.begin(Person(login="ada"))
    described = document(pages, cookie="disinto_session", tokens=True)
    schemes = described["components"]["securitySchemes"]
    proofs = {
        "token": {"Authorization": "Bearer good-token"},
        "session": {"Cookie": f"{schemes['session']['name']}={site.sessions.cookie(session)}"},
        "form": {schemes["form"]["name"]: site.sessions.form_token(session)},
    }
    sends = described["paths"]["/POST"]["post"]["security"]
    for method, ways in (("GET", described["security"]), ("POST", sends)):
        assert len(ways) == 2
        for way in ways:
            for left_out in (None, *way):
                names = [name for name in way if name != left_out]
                headers = {k: v for name in names for k, v in proofs[name].items()}
                answer = a_client(site, pages).request(method, f"/{method}", headers=headers)
                assert (answer.status_code == 200) == (left_out is None), (method, names)


def test_it_names_tokens_only_where_they_are_taken(tmp_path: Path) -> None:
    site = a_site(tmp_path)
    for taken in (False, True):
        site.bearer = {}.get if taken else None
        told = a_client(site).get("/openapi.json").json()
        assert ("token" in told["components"]["securitySchemes"]) == taken
        assert ({"token": []} in told["security"]) == taken


def test_it_is_served_to_everybody(tmp_path: Path) -> None:
    for path in ("/openapi.json", "/openapi"):
        assert a_client(a_site(tmp_path)).get(path).json() == json.loads(json.dumps(DOCUMENT))
