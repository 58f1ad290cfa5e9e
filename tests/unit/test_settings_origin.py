"""The origin of settings: when two processes have the same, and that it gives nothing away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from dispatcher.errors import InvalidSettings
from dispatcher.settings import load_settings, settings_origin
from dispatcher.settings_origin import Origin

SERVE = {
    "HOME": "/home/ada",
    "VAULT_ADDR": "http://127.0.0.1:8200",
    "DISINTO_LOG_LEVEL": "debug",
    "DISINTO_FORGE_TOKEN": "a-secret-token",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "disinto.toml"
    file.write_text("[limits]\nmax_in_flight = 3\n")
    return file


def origin(file: Path, environ: Mapping[str, str]) -> Origin:
    made = settings_origin(file, environ)
    assert made is not None
    return Origin.from_json(json.loads(json.dumps(made.to_json())))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"DISINTO_CONFIG": "disinto.toml"},
        {"DISINTO_FORGE_TOKEN": "another"},
        {"PATH": "/bin"},
        {"NOMAD_ADDR": ""},
    ],
)
def test_what_makes_the_same_settings_is_the_same(file: Path, more: dict[str, str]) -> None:
    assert origin(file, SERVE).is_of(file, {**SERVE, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"HOME": "/home/bob"},
        {"VAULT_ADDR": "http://127.0.0.1:8201"},
        {"VAULT_ADDR": ""},
        {"NOMAD_ADDR": "http://127.0.0.1:4646"},
        {"DISINTO_LOG_LEVEL": "info"},
        {"DISINTO_STATE_DIR": "/elsewhere"},
        {"DISINTO_LOGLEVEL": "misspelt"},
    ],
)
def test_another_variable_is_another_origin(file: Path, more: dict[str, str]) -> None:
    assert not origin(file, SERVE).is_of(file, {**SERVE, **more})


def test_a_variable_less_is_another_origin_unless_it_sets_nothing(file: Path) -> None:
    made = origin(file, SERVE)
    assert not made.is_of(file, {k: v for k, v in SERVE.items() if k != "DISINTO_LOG_LEVEL"})
    assert made.is_of(file, {k: v for k, v in SERVE.items() if k != "DISINTO_FORGE_TOKEN"})


def test_another_file_or_another_content_is_another_origin(file: Path, tmp_path: Path) -> None:
    made = origin(file, SERVE)
    copy = tmp_path / "copy.toml"
    copy.write_bytes(file.read_bytes())
    assert not made.is_of(copy, SERVE)
    assert not made.is_of(None, SERVE)
    file.write_text("[limits]\nmax_in_fligth = 3\n")
    assert not made.is_of(file, SERVE)
    with pytest.raises(InvalidSettings):
        load_settings(file, SERVE)


def test_a_relative_path_in_a_variable_means_another_file_elsewhere(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relative, absolute = {**SERVE, "VAULT_CACERT": "ca.pem"}, {"VAULT_CACERT": "/etc/ca.pem"}
    of_relative, of_absolute = origin(file, relative), origin(file, absolute)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert not of_relative.is_of(file, relative)
    assert of_absolute.is_of(file, absolute)


def test_nothing_in_it_tells_a_variable_that_may_be_a_secret(file: Path) -> None:
    made = origin(file, SERVE)
    assert made.others == ("DISINTO_FORGE_TOKEN",)
    assert made == origin(file, {**SERVE, "DISINTO_FORGE_TOKEN": "another"})
