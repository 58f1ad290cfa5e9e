"""What a run of the desktop formulas is given: by schema before anything is minted, and again in the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dispatcher.desktop.params import (
    SETTINGS_FILE,
    CreateParams,
    DesktopSettings,
    ReapParams,
    read_settings,
)
from dispatcher.desktop.tags import Tags
from dispatcher.provision.params import BadParams, read_params
from dispatcher.schemas import FormulaSchema, fits, parse_schema

FORMULAS = Path(__file__).parents[2] / "actions" / "desktop" / "formulas"
NAMES = ("desktop", "desktop-destroy", "desktop-reap")


def schema(name: str) -> FormulaSchema:
    file = FORMULAS / f"{name}.schema.json"
    parsed = parse_schema(file.read_bytes(), name=file.name)
    assert isinstance(parsed, FormulaSchema), parsed
    return parsed


def create(**params: Any) -> CreateParams:
    return read_params(CreateParams, {"DISINTO_PARAMS": json.dumps({"name": "a", **params})})


GOOD: list[dict[str, Any]] = [
    {},
    {"region": "nyc3", "size": "s-8vcpu-16gb", "image": "ubuntu-24-04-x64", "lifetime": "1d12h"},
    {"lifetime": "8h", "keep_on_error": True},
    {"vigilance": True, "vigilance_model": "qwen3:4b", "vigilance_screenshots": True},
    {"vigilance": True, "size": "s-4vcpu-8gb"},
    {"ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfJq0NwZ3y0 someone@example"]},
]
BAD: list[dict[str, Any]] = [
    {"keep_on_error": True},
    {"vigilance": True, "size": "s-2vcpu-4gb"},
    {"sizes": "s-2vcpu-4gb"},
    {"apps": "docker"},
    {"keep_on_error": True, "lifetime": ""},
]


@pytest.mark.parametrize("params", GOOD)
def test_what_fits_is_read(params: dict[str, Any]) -> None:
    assert fits(schema("desktop"), {"name": "a", **params})
    create(**params)


@pytest.mark.parametrize("params", BAD)
def test_what_the_schema_rejects_the_run_rejects_as_well(params: dict[str, Any]) -> None:
    assert not fits(schema("desktop"), {"name": "a", **params})
    with pytest.raises(BadParams, match=r"\[params\]: "):
        create(**params)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "a.b", "a" * 42, "a\n"])
def test_a_name_is_a_host_name(name: str) -> None:
    assert not fits(schema("desktop"), {"name": name})


@pytest.mark.parametrize("lifetime", ["1m", "400d", "8", "h8"])
def test_lifetimes_that_cannot_be(lifetime: str) -> None:
    with pytest.raises(BadParams, match=r"lifetime|duration"):
        create(lifetime=lifetime)


def test_sizes_and_lifetimes_by_default() -> None:
    assert (create().chosen_size, create().life_s, create().watched) == ("s-2vcpu-4gb", None, None)
    assert create(vigilance=True).chosen_size == "s-4vcpu-8gb"
    assert create(lifetime="1h30m").life_s == 5400


def test_what_is_declared() -> None:
    first, second, third = (schema(name).declared for name in NAMES)
    assert first.inventory is not None
    assert second.inventory is not None
    assert (first.inventory.change, first.inventory.kind) == ("creates", "desktop")
    assert first.inventory.destroyed_by == "desktop-destroy"
    assert (second.inventory.change, second.inventory.kind) == ("destroys", "desktop")
    assert third.inventory is None
    assert all(SETTINGS_FILE in each.files for each in (first, second, third))


def test_the_shipped_settings_are_the_defaults() -> None:
    assert read_settings({"DISINTO_FILES": str(FORMULAS)}) == DesktopSettings()
    assert read_settings({}) == DesktopSettings()


@pytest.mark.parametrize("text", [
    '{"regions": []}', "[]", "{", '{"project": "A:b"}', '{"https_port": 0}',
    '{"DIGITALOCEAN_USE_LATEST_UBUNTU_IMAGE": false}', '{"DIGITALOCEAN_SSH_KEYS": "1"}',
])  # fmt: skip
def test_settings_that_cannot_be(text: str, tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text)
    with pytest.raises(BadParams, match=SETTINGS_FILE):
        read_settings({"DISINTO_FILES": str(tmp_path)})


def test_a_list_of_machines_has_a_time() -> None:
    with pytest.raises(BadParams):
        read_params(ReapParams, {"DISINTO_PARAMS": '{"listed_at": "yesterday"}'})


def test_tags_are_found_again_and_are_the_providers() -> None:
    tags, key = Tags(project="disinto"), f"{'a_b-c' * 20}.{'0' * 40}"
    made = tags.for_run("a_b-c" * 20, key)
    assert tags.run_key(made) == key
    assert Tags(project="dis").run_key(made) == ""
    assert all(
        len(tag) <= 255 and set(tag) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-:")
        for tag in made
    )


def test_a_gateway_has_a_domain_and_ids_that_fit_it(tmp_path: Path) -> None:
    environ = {"DISINTO_FILES": str(tmp_path)}
    (tmp_path / SETTINGS_FILE).write_text('{"gateway_host": "https://desks.example"}')
    with pytest.raises(BadParams, match="gateway_host is not a domain"):
        read_settings(environ)
    read_settings({}).check_id("desk_1")
    (tmp_path / SETTINGS_FILE).write_text('{"gateway_host": "desks.example"}')
    settings = read_settings(environ)
    settings.check_id("desk-1")
    with pytest.raises(BadParams, match="desk_1 cannot be a host name at the gateway") as refused:
        settings.check_id("desk_1")
    assert refused.value.remedy
