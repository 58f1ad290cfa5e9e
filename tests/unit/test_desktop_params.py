"""What a run of the desktop formulas is given: by schema before anything is minted, and again in the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dispatcher.desktop.apps import CATALOGUE_FILE, find_catalogue
from dispatcher.desktop.params import (
    SETTINGS_FILE,
    CreateParams,
    DesktopSettings,
    ReapParams,
    read_settings,
)
from dispatcher.desktop.tags import Tags
from dispatcher.errors import InvalidValue
from dispatcher.provision.params import BadParams, read_params
from dispatcher.schemas import FormulaSchema, fits, parse_schema
from dispatcher.stack import params as stack_params

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


URLS = [
    "ftp://x.example", "https://", "https://a..b", "https://[::1", "https://x:99999", "https://x:0", "https://a@x", "x",
    "https://x.example/?a=1", "https://x.example/#a", "https://\\x.example", "https://x y", "https://x.example\n",
    "https://ex\u00e4mple", f"https://{'x' * 64}.example", "https://xn--\u00b2.example", "https://%31.example",
]  # fmt: skip
WRONG: list[tuple[bytes, str]] = [
    (b'{"regions": []}', "regions"), (b"[]", "an object"), (b"{", "line 1 column 1"), (b"", "line 1 column 0"),
    (b"\xff{}", "line 1 column 1"), (b'{"project": "\xe9"}', "line 1 column"), (b"[" * 9000, "line 1 column"),
    (b'{"project": "A:b"}', "project"), (b'{"https_port": 0}', "https_port"),
    (b'{"https_port": ' + b"9" * 5000 + b"}", "number out of range at line 1"),
    (b'{"DIGITALOCEAN_USE_LATEST_UBUNTU_IMAGE": false}', "DIGITALOCEAN_IMAGE_SLUG is needed"),
    (b'{"DIGITALOCEAN_IMAGE_SLUG": "\xc2\xb2"}', "DIGITALOCEAN_IMAGE_SLUG: it is neither a slug"),
    (b'{"DIGITALOCEAN_SSH_KEYS": "1"}', "DIGITALOCEAN_SSH_KEYS"),
    *((json.dumps({"DIGITALOCEAN_SSH_KEYS": [key]}).encode(), "DIGITALOCEAN_SSH_KEYS.0: it is neither the number")
      for key in ("\u00b2", "9" * 5000, "", "me@host")),
    *((json.dumps({"DIGITALOCEAN_API_URL": url}).encode(), "DIGITALOCEAN_API_URL: .* is not an address such as")
      for url in ["", *URLS]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "why"), WRONG)
def test_settings_that_cannot_be(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_bytes(data)
    with pytest.raises(BadParams, match=f"^{SETTINGS_FILE}: .*{why}") as refused:
        read_settings({"DISINTO_FILES": str(tmp_path)})
    assert refused.value.remedy == f"Correct {SETTINGS_FILE}, beside the formulas."


@pytest.mark.parametrize("settings", [
    {"DIGITALOCEAN_SSH_KEYS": ["512190", "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa"]},
    {"DIGITALOCEAN_API_URL": "http://127.0.0.1:8080/x/"}, {"DIGITALOCEAN_API_URL": "https://[2001:db8::1]:8443"},
    {"DIGITALOCEAN_IMAGE_SLUG": "12345"}, {"gateway_host": "desks.example:8443"},
])  # fmt: skip
def test_settings_that_can_be(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(settings))
    read_settings({"DISINTO_FILES": str(tmp_path)})


@pytest.mark.parametrize("file", [SETTINGS_FILE, CATALOGUE_FILE])
def test_files_beside_a_formula_that_cannot_be_read(file: str, tmp_path: Path) -> None:
    (tmp_path / file).mkdir()
    with pytest.raises(BadParams, match=f"^{file}: it cannot be read: Is a directory") as refused:
        (read_settings({"DISINTO_FILES": str(tmp_path)}), find_catalogue(tmp_path))
    assert refused.value.remedy


def test_a_catalogue_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / CATALOGUE_FILE).write_bytes(b"\xff")
    with pytest.raises(InvalidValue, match=f"^{CATALOGUE_FILE}: it is not valid JSON"):
        find_catalogue(tmp_path)


@pytest.mark.parametrize(
    "at", ["yesterday", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", ""]
)
def test_a_list_of_machines_has_a_time(at: str) -> None:
    for record in (ReapParams, stack_params.ReapParams):
        with pytest.raises(BadParams, match="listed_at: it is not a time such as"):
            read_params(record, {"DISINTO_PARAMS": json.dumps({"listed_at": at})})


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
