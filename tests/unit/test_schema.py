"""The JSON Schemas: valid themselves, agreeing with the parsers, and shipped as they are made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from dispatcher.decide.policy import parse_policy
from dispatcher.host import resources
from dispatcher.model.action import Action, parse_action
from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.schema import DRAFT, schema
from dispatcher.settings import Settings, load_settings
from dispatcher.settings.reference import TABLES

KINDS = ("action", "policy", "result", "schedule", "settings", "sidecars")
EXAMPLES = [name for name in resources.names("actions/examples") if name.endswith(".toml")]


def validator(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one(kind: str) -> None:
    made = schema(kind)
    assert made["$schema"] == DRAFT
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["additionalProperties"] is False


@pytest.mark.parametrize("kind", ["action", "policy", "settings", "sidecars"])
def test_toml_schemas_have_no_null_and_describe_every_key(kind: str) -> None:
    made = schema(kind)
    assert '"null"' not in json.dumps(made)
    for table in (made, *made.get("$defs", {}).values()):
        for name, key in table.get("properties", {}).items():
            described = key.get("description") or "$ref" in key
            assert described, f"{kind}: {table['title']}.{name}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_valid_for_the_schema_and_the_parser(name: str) -> None:
    text = resources.text(name)
    validator("action").validate(tomli.loads(text))
    stem = name.rsplit("/", 1)[-1].removesuffix(".toml")
    assert isinstance(parse_action(text.encode(), path=name, stem=stem), Action)


GOOD: dict[str, Any] = {"id": "a", "formula": "b", "context": "", "secrets": []}


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "A"},
        {"id": "../a"},
        {"formula": 1},
        {"secrets": "A"},
        {"secrets": ["a"]},
        {"secrets": ["A", "A"]},
        {"mounts": ["docker"]},
        {"timeout_minutes": 0},
        {"timeout_minutes": 10_081},
        {"priority": 101},
        {"blast_radius": "huge"},
        {"model": "-x"},
        {"tools": ["--x"]},
        {"unknown": 1},
    ],
)
def test_schema_and_parser_refuse_the_same(changed: dict[str, Any]) -> None:
    action = GOOD | changed
    assert not validator("action").is_valid(action)
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in action.items())
    assert not isinstance(parse_action(text.encode(), path="a.toml", stem="a"), Action)


def test_the_schema_takes_dispatch_mode_as_deprecated() -> None:
    validator("action").validate(GOOD | {"dispatch_mode": "direct"})
    assert schema("action")["properties"]["dispatch_mode"]["deprecated"] is True


def test_results_are_valid_for_their_schema() -> None:
    result = Result(id="a", exit_code=3, timestamp="2024-02-29T00:00:00Z", verdict=Verdict.FAILED)
    validator("result").validate(json.loads(result.to_json()))


def test_the_shipped_schema_is_the_one_that_is_made() -> None:
    shipped = resources.text("actions/repo/.schema/action.schema.json")
    assert shipped == json.dumps(schema("action"), indent=2) + "\n", "run: make docs"


def test_the_policy_template_is_valid() -> None:
    text = resources.text("actions/config/policy.toml")
    validator("policy").validate(tomli.loads(text))
    policy = parse_policy(text.encode(), path="policy.toml")
    formulas = resources.path("actions/config/formulas")
    assert set(policy.tiers) == {path.stem for path in formulas.iterdir()}


def test_the_settings_template_loads() -> None:
    file = resources.path("actions/config/disinto.toml")
    settings = load_settings(file, {})
    assert settings.policy.file == file.parent / "policy.toml"
    assert settings.formulas.path == file.parent / "formulas"


def test_the_settings_template_shows_every_key_with_its_default() -> None:
    text = resources.text("actions/config/disinto.toml")
    shown = tomli.loads(re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.MULTILINE))
    validator("settings").validate(shown)
    defaults = json.loads(Settings().model_dump_json())
    given = {("ops_repo", "remote"), ("formulas", "path"), ("policy", "file")}
    for section, value in defaults.items():
        if section in TABLES:
            continue
        if not isinstance(value, dict):
            assert shown[section] == value, section
            continue
        assert shown[section].keys() == value.keys(), section
        for key, default in value.items():
            if (section, key) not in given:
                assert shown[section][key] == ("" if default is None else default), (section, key)


@pytest.mark.parametrize("name", TABLES)
def test_the_settings_template_has_a_table_as_an_example(name: str, tmp_path: Path) -> None:
    text = resources.text("actions/config/disinto.toml")
    begin = re.search(rf"^# \[\[?{name}\b", text, re.MULTILINE)
    assert begin is not None
    example = text[begin.start() :].partition("\n\n")[0].replace("# ", "")
    (tmp_path / "disinto.toml").write_text(example)
    assert len(getattr(load_settings(tmp_path / "disinto.toml", {}), name)) == 1


def test_editors_find_the_schema() -> None:
    taplo = tomli.loads(resources.text("actions/repo/.taplo.toml"))
    (rule,) = taplo["rule"]
    assert rule["include"] == ["vault/actions/*.toml"]
    assert resources.path(f"actions/repo/{rule['schema']['path']}").is_file()
    assert json.loads(resources.text("actions/repo/.vscode/settings.json"))[
        "evenBetterToml.schema.enabled"
    ]
