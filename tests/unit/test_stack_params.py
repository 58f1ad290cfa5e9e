"""The schemas of the stack formulas, which are checked before anything is minted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dispatcher.provision.params import BadParams, read_params, read_settings
from dispatcher.schemas import FormulaSchema, fits, parse_schema
from dispatcher.stack.params import (
    RESERVED,
    SETTINGS_FILE,
    DestroyParams,
    ReapParams,
    StackParams,
    StackSettings,
    UpdateParams,
    environment_of,
)

FORMULAS = Path(__file__).parents[2] / "actions" / "stack" / "formulas"
RECORDS = {
    "stack": StackParams,
    "stack-update": UpdateParams,
    "stack-destroy": DestroyParams,
    "stack-reap": ReapParams,
}
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("stack", {"name": "alice"}),
    ("stack", {"name": "alice", "image": "ghcr.io/a/b:1", "port": 80, "environment": {"A": "b"},
               "environment_secrets": ["KEY"], "volume": False, "certificate": "none"}),
    ("stack-update", {"id": "stack-alice", "image": "ghcr.io/a/b@sha256:" + "0" * 64}),
    ("stack-update", {"id": "stack-alice", "environment": {}, "without_return": True}),
    ("stack-destroy", {"id": "stack-alice"}),
    ("stack-reap", {"listed_at": "2026-11-22T08:00:00Z", "known_runs": ["a." + "0" * 40]}),
]  # fmt: skip
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("stack", {}), ("stack", {"name": "ab"}), ("stack", {"name": "a" * 21}), ("stack", {"name": "Ab1"}),
    ("stack", {"name": "alice", "port": 0}), ("stack", {"name": "alice", "colour": 1}),
    ("stack", {"name": "alice", "environment": {"A B": "c"}}),
    ("stack", {"name": "alice", "image": "a;b"}), ("stack", {"name": "alice", "mount_path": "x"}),
    ("stack-update", {"id": "a"}), ("stack-reap", {}), ("stack-destroy", {"id": "../x"}),
]  # fmt: skip


def schema(name: str) -> FormulaSchema:
    file = FORMULAS / f"{name}.schema.json"
    parsed = parse_schema(file.read_bytes(), name=file.name)
    assert isinstance(parsed, FormulaSchema), parsed
    return parsed


@pytest.mark.parametrize(("name", "params"), EXAMPLES)
def test_what_fits_the_schema_is_read(name: str, params: dict[str, Any]) -> None:
    assert fits(schema(name), params)
    read_params(RECORDS[name], {"DISINTO_PARAMS": json.dumps(params)})


@pytest.mark.parametrize(("name", "params"), WRONG)
def test_what_does_not_fit(name: str, params: dict[str, Any]) -> None:
    assert not fits(schema(name), params)


@pytest.mark.parametrize("name", RECORDS)
def test_schema_and_record_have_the_same_params(name: str) -> None:
    properties = json.loads((FORMULAS / f"{name}.schema.json").read_text())["properties"]
    assert set(properties) == set(RECORDS[name].model_fields)


def test_the_settings_beside_the_formulas_are_the_defaults() -> None:
    settings = read_settings(StackSettings, {"DISINTO_FILES": str(FORMULAS)}, SETTINGS_FILE)
    assert settings == StackSettings()
    assert settings.reserved == set(RESERVED.split(","))


@pytest.mark.parametrize(
    "url", ["https://a..b", "https://[::1", "ftp://x", "https://x:99999", "https://\u00b2.example"]
)
def test_an_address_of_the_server_that_is_none(url: str, tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"DOKPLOY_URL": url}))
    with pytest.raises(BadParams, match=r"DOKPLOY_URL: .* is not an address such as"):
        read_settings(StackSettings, {"DISINTO_FILES": str(tmp_path)}, SETTINGS_FILE)


@pytest.mark.parametrize(
    "names", ["admin;api", "admin api", "admin\napi", '["admin"]', "admin.", "\u0430dmin"]
)
def test_names_that_would_reserve_nothing_are_no_settings(names: str, tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"RESERVED_NAMES": names}))
    with pytest.raises(BadParams, match=r"RESERVED_NAMES: .* separate names by commas"):
        read_settings(StackSettings, {"DISINTO_FILES": str(tmp_path)}, SETTINGS_FILE)


def test_names_are_reserved_as_people_write_them() -> None:
    assert StackSettings(RESERVED_NAMES=" Admin , API,,www\n").reserved == {"admin", "api", "www"}


def test_a_port_that_the_schema_takes_is_taken() -> None:
    assert fits(schema("stack"), {"name": "alice", "port": 8080.0})
    params = read_params(StackParams, {"DISINTO_PARAMS": '{"name": "alice", "port": 8080.0}'})
    assert (params.port, type(params.port)) == (8080, int)
    for port in ("8080.5", "true", '"8080"', "1e9"):
        with pytest.raises(BadParams, match="port"):
            read_params(StackParams, {"DISINTO_PARAMS": f'{{"name": "alice", "port": {port}}}'})


def test_a_secret_that_is_named_twice() -> None:
    for plain, where in (({}, "twice in"), ({"KEY": "a"}, "in environment and in")):
        with pytest.raises(BadParams, match=f"KEY is {where} environment_secrets"):
            environment_of(plain, ("KEY", "KEY"), {"KEY": "value"})
