"""The fake account answers as the provider's published OpenAPI description has it.

The description is not kept here: https://github.com/digitalocean/openapi. Name its directory
``specification`` in DIGITALOCEAN_OPENAPI, and each answer is validated against it; without it only what
the adapter relies on is checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.servers.cloud import TOKEN, Answer, FakeCloud, Fault

VARIABLE = "DIGITALOCEAN_OPENAPI"
CREATE = {
    "name": "one", "region": "sfo3", "size": "s-2vcpu-4gb", "image": "ubuntu-24-04-x64",
    "tags": ["disinto:desktops"], "ssh_keys": [], "user_data": "#cloud-config\n", "monitoring": False,
}  # fmt: skip
DROPLET_FACTS = {
    "id": int, "name": str, "status": str, "created_at": str, "size_slug": str, "networks": dict,
    "region": dict, "tags": list,
}  # fmt: skip
"""What the adapter reads, required by ``resources/droplets/models/droplet.yml`` of the description."""


def answers() -> Iterator[tuple[str, str, Answer]]:
    """File of the operation, status as a text, and the answer of the fake."""
    at = 1_800_000_000.0
    cloud = FakeCloud(now=lambda: at, ip_after_s=10)

    def ask(method: str, target: str, body: Any = None, token: str = TOKEN) -> Answer:
        return cloud.answer(method, target, body, token=token)

    folder = "resources/droplets/droplets_"
    yield f"{folder}create", "202", (made := ask("POST", "/v2/droplets", CREATE))
    assert made.body is not None
    one = f"/v2/droplets/{made.body['droplet']['id']}"
    yield f"{folder}get", "200", ask("GET", one)
    at += 20
    yield f"{folder}get", "200", ask("GET", one)
    for _ in range(3):
        ask("POST", "/v2/droplets", CREATE)
    yield f"{folder}list", "200", ask("GET", "/v2/droplets?tag_name=disinto:desktops")
    yield f"{folder}list", "200", ask("GET", "/v2/droplets?per_page=2&page=1")
    yield f"{folder}list", "200", ask("GET", "/v2/droplets?tag_name=none")
    yield f"{folder}list", "401", ask("GET", "/v2/droplets", token="wrong")
    yield f"{folder}create", "default", ask("POST", "/v2/droplets", {**CREATE, "region": "moon"})
    for fault, status in ((Fault.BURST, "429"), (Fault.HOURLY, "429"), (Fault.ERROR_BEFORE, "500")):
        cloud.faults["POST"] = [fault]
        yield f"{folder}create", status, ask("POST", "/v2/droplets", CREATE)
    yield f"{folder}destroy", "204", ask("DELETE", one)
    yield f"{folder}destroy", "404", ask("DELETE", one)
    yield f"{folder}get", "404", ask("GET", one)
    yield (
        "resources/images/images_list",
        "200",
        ask("GET", "/v2/images?type=distribution&per_page=2"),
    )
    yield "resources/account/account_get", "200", ask("GET", "/v2/account")


def test_the_answers_have_what_the_adapter_reads() -> None:
    shown = [a.body["droplet"] for _, _, a in answers() if a.body and "droplet" in a.body]
    assert len(shown) == 3
    for droplet in shown:
        assert {name: type(droplet[name]) for name in DROPLET_FACTS} == DROPLET_FACTS
    assert [len(droplet["networks"]["v4"]) for droplet in shown] == [0, 0, 2]
    errors = [a.body for _, status, a in answers() if status not in ("200", "202", "204")]
    assert all(body and isinstance(body["id"], str) and body["message"] for body in errors)


def test_the_answers_are_as_the_description_has_them() -> None:
    place = os.environ.get(VARIABLE)
    if not place:
        pytest.skip(f"{VARIABLE} does not name the directory of the description: NOT COMPARED")
    root = Path(place).resolve()
    checked = 0
    entries = (root / "resources/droplets/models/droplet.yml").as_uri()
    assert list(Draft202012Validator({"$ref": entries}, registry=registry()).iter_errors({}))
    for operation, status, answer in answers():
        place_of, response = resolved(root / f"{operation}.yml", ["responses", status])
        assert status == "default" or str(answer.status) == status
        content = response.get("content", {}).get("application/json")
        if answer.body is None:
            continue
        assert content is not None, (operation, status)
        schema = {"$ref": f"{place_of.as_uri()}#/content/application~1json/schema"}
        problems = [
            f"{operation} {status} {list(error.absolute_path)}: {error.message[:200]}"
            for error in Draft202012Validator(schema, registry=registry()).iter_errors(answer.body)
        ]
        assert not problems, problems
        checked += 1
    assert checked == 15


def test_the_request_is_as_the_description_has_it() -> None:
    place = os.environ.get(VARIABLE)
    if not place:
        pytest.skip(f"{VARIABLE} does not name the directory of the description: NOT COMPARED")
    model = Path(place).resolve() / "resources/droplets/models/droplet_single_create.yml"
    validator = Draft202012Validator({"$ref": model.as_uri()}, registry=registry())
    assert not list(validator.iter_errors(CREATE))
    assert list(validator.iter_errors({**CREATE, "tags": "one"}))


def resolved(file: Path, keys: list[str]) -> tuple[Path, dict[str, Any]]:
    """What a key of a file leads to, through references to whole files."""
    value: Any = load(file)
    for key in keys:
        value = value[key]
    while "$ref" in value:
        target, _, inside = value["$ref"].partition("#")
        assert not inside, value
        file = (file.parent / target).resolve()
        value = load(file)
    return file, value


@cache
def load(file: Path) -> Any:
    return _plain(yaml.safe_load(file.read_text("utf-8")))


def _plain(value: Any) -> Any:
    """OpenAPI 3.0's ``nullable`` in the words of JSON Schema; examples are no schemas."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(each) for key, each in value.items() if key not in ("example", "examples")}
    if plain.pop("nullable", False) is True:
        return {"anyOf": [plain, {"type": "null"}]}
    return plain


def registry() -> Registry[Any]:
    def retrieve(uri: str) -> Resource[Any]:
        path = Path(unquote(urlsplit(uri).path))
        return Resource(contents=load(path), specification=DRAFT202012)

    return Registry(retrieve=retrieve)
