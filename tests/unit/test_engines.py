"""Engines by name: our own, and those that other packages bring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.engines import registry
from dispatcher.errors import InvalidSettings, Misconfigured
from dispatcher.model.result import Result
from dispatcher.settings import Settings, load_settings, settings_model
from tests.support.toy_engine import ENGINE, ToyEngine, ToySettings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def toy() -> Iterator[None]:
    registry.register(ENGINE)
    yield
    registry.unregister(ENGINE)


def named(name: str) -> ToyEngine:
    engine = ToyEngine()
    engine.name = name
    return engine


def test_our_own_come_first() -> None:
    assert registry.names()[:2] == ("local", "nomad")
    for name in registry.names():
        assert registry.get(name).name == name


@pytest.mark.usefixtures("toy")
def test_a_registered_engine_is_found_by_its_name() -> None:
    assert registry.get("toy") is ENGINE
    assert "toy" in registry.names()


def test_an_engine_that_is_missing_is_named_with_what_there_is() -> None:
    with pytest.raises(Misconfigured, match="no engine 'toy'") as caught:
        registry.get("toy")
    assert "local, nomad" in str(caught.value.remedy)


@pytest.mark.parametrize("name", ["vault", "state_dir", "local", "nomad"])
def test_an_engine_cannot_take_the_name_of_a_key(name: str) -> None:
    with pytest.raises(Misconfigured, match="a key of the settings"):
        registry.register(named(name))


@pytest.mark.parametrize("name", ["", "Toy", "1toy", "to y", "toy\n", "t" * 33])
def test_a_name_that_no_result_could_hold_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="cannot be the name"):
        registry.register(named(name))


@pytest.mark.usefixtures("toy")
def test_two_engines_of_one_name_are_refused() -> None:
    registry.register(ENGINE)
    with pytest.raises(Misconfigured, match="two engines 'toy'"):
        registry.register(named("toy"))


@pytest.mark.usefixtures("toy")
def test_a_section_is_read_by_the_model_of_its_engine(tmp_path: Path) -> None:
    file = tmp_path / "disinto.toml"
    file.write_text('scheduler = "toy"\n[toy]\nniceness = 3\n')
    settings = load_settings(file, {"DISINTO_TOY__SHELL": "sh"})
    assert settings.section(ToySettings) == ToySettings(niceness=3, shell="sh")
    file.write_text('[toy]\nniceness = 3\nshell = "fish"\n')
    with pytest.raises(InvalidSettings, match=r"disinto\.toml:3.*fish is never nice"):
        load_settings(file, {})


def test_the_section_of_an_engine_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "disinto.toml"
    file.write_text('scheduler = "toy"\n[toy]\nniceness = 3\n')
    with pytest.raises(InvalidSettings) as caught:
        load_settings(file, {})
    assert 'scheduler must be local or nomad, not "toy"' in str(caught.value)
    assert 'unknown key "toy"' in str(caught.value)


def test_settings_made_without_a_section_have_its_defaults() -> None:
    assert Settings().section(ToySettings) == ToySettings()
    assert "toy" not in settings_model().model_fields


@pytest.mark.parametrize("kind", ["", "local", "nomad", "toy", "a-b_2"])
def test_a_result_may_name_any_engine(kind: str) -> None:
    text = json.dumps(
        {"id": "a", "exit_code": 0, "timestamp": "t", "verdict": "succeeded"}
        | {"engine": {"kind": kind}}
    )
    assert Result.model_validate_json(text).engine.kind == kind


@pytest.mark.parametrize("kind", ["Toy", "toy\n", "<b>", "t" * 33])
def test_a_result_names_no_engine_that_cannot_be_one(kind: str) -> None:
    text = json.dumps(
        {"id": "a", "exit_code": 0, "timestamp": "t", "verdict": "succeeded"}
        | {"engine": {"kind": kind}}
    )
    with pytest.raises(ValueError, match="kind"):
        Result.model_validate_json(text)


def schema_with(site: Path, *points: str) -> subprocess.CompletedProcess[str]:
    """``disinto schema settings`` where a package with these entry points is installed."""
    info = site / "toy_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *points, ""]))
    return subprocess.run(
        [sys.executable, "-m", "dispatcher", "schema", "settings"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{site}:{ROOT}"},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_brings_an_engine(tmp_path: Path) -> None:
    done = schema_with(tmp_path / "site", "toy = tests.support.toy_engine:ENGINE")
    keys = json.loads(done.stdout)["properties"]
    assert keys["scheduler"]["enum"] == ["local", "nomad", "toy"]
    assert "toy" in keys


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ("toy = no.such.module:ENGINE", "'toy' of toy-engine cannot be loaded"),
        ("doll = tests.support.toy_engine:ENGINE", "registered by the name 'doll'"),
    ],
)
def test_a_broken_package_is_named(tmp_path: Path, point: str, words: str) -> None:
    done = schema_with(tmp_path / "site", point)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_foreign_package_does_not_replace_an_engine_of_ours(tmp_path: Path) -> None:
    done = schema_with(tmp_path / "site", "nomad = tests.support.toy_engine:ENGINE")
    keys = json.loads(done.stdout)["properties"]
    assert keys["scheduler"]["enum"] == ["local", "nomad"]


def test_naming_the_engines_loads_none_of_what_they_are_made_of() -> None:
    code = (
        "import sys; from dispatcher.engines import registry; registry.engines();"
        "print([m for m in ('httpx', 'nomad', 'jinja2', 'sqlite3', 'structlog') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
