"""The catalogue of apps: what is shipped, and what a catalogue may not contain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.desktop.apps import (
    CATALOGUE_FILE,
    app_files,
    choose,
    find_catalogue,
    read_catalogue,
)
from dispatcher.errors import InvalidValue
from dispatcher.host import resources
from tests.support import machines

GIT = {"title": "Git", "packages": ["git"], "check": ["git", "--version"]}
REPOSITORY = {
    "uri": "https://apt.example/x",
    "suite": "stable",
    "components": ["main"],
    "key_url": "https://apt.example/key.asc",
    "key_fingerprints": ["A" * 40],
}


def test_the_shipped_catalogue_has_what_is_promised() -> None:
    catalogue = machines.catalogue()
    assert {"firefox", "vscode", "docker", "python", "node", "go", "rust", "java"} <= set(catalogue)
    assert all(app.check for app in catalogue.values())


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"packages": []}, "git.packages"),
        ({"packages": ["git; reboot"]}, "git.packages.0"),
        ({"packages": ["--option"]}, "git.packages.0"),
        ({"packages": ["git\n"]}, "git.packages.0"),
        ({"check": []}, "git.check"),
        ({"check": ["git\nreboot"]}, "git.check.0"),
        ({"groups": ["a b"]}, "git.groups.0"),
        ({"run": "reboot"}, "git.run"),
        ({"repository": {**REPOSITORY, "uri": "http://apt.example/"}}, "git.repository.uri"),
        ({"repository": {**REPOSITORY, "uri": "https://a/\nTrusted: yes"}}, "git.repository.uri"),
        ({"repository": {**REPOSITORY, "suite": "x y"}}, "git.repository.suite"),
        ({"repository": {**REPOSITORY, "key_fingerprints": []}}, "git.repository.key_fingerprints"),
        ({"repository": {**REPOSITORY, "key_fingerprints": ["AB"]}}, "git.repository.key_fing"),
    ],
)
def test_what_a_catalogue_may_not_have(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidValue, match="desktop-apps.json: " + place.replace(".", r"\.")):
        read_catalogue(json.dumps({"git": {**GIT, **change}}).encode())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b"[" * 50_000, b'{"../x": {}}', b'{"a/b": {}}']
)
def test_what_is_no_catalogue(data: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"desktop-apps\.json"):
        read_catalogue(data)


def test_an_unknown_app_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidValue, match=r"unknown app nope.*There are .*firefox"):
        choose(machines.catalogue(), ["git", "nope"])


def test_a_formula_without_a_catalogue_has_no_apps(tmp_path: Path) -> None:
    assert find_catalogue(None) == find_catalogue(tmp_path) == {}
    with pytest.raises(InvalidValue, match="unknown app git"):
        choose({}, ["git"])
    (tmp_path / "desktop-apps.json").write_text(json.dumps({"git": GIT}))
    assert set(find_catalogue(tmp_path)) == {"git"}


def test_the_catalogue_is_approved_with_the_formula() -> None:
    schema = json.loads(resources.text("actions/desktop/formulas/desktop.schema.json"))
    assert CATALOGUE_FILE in schema["x-disinto"]["files"]


@given(st.text(max_size=30))
def test_every_value_is_one_line(text: str) -> None:
    data = {"app": {**GIT, "check": [text or "x"], "repository": {**REPOSITORY, "suite": text}}}
    try:
        catalogue = read_catalogue(json.dumps(data).encode())
    except InvalidValue:
        return
    files = app_files("app", catalogue["app"])
    assert files["check"] == f"{text}\n"
    assert files["sources"].splitlines()[2] == f"Suites: {text}"
    assert len(files["sources"].splitlines()) == 6


def test_a_repository_gives_nothing_but_the_packages_of_its_app() -> None:
    preferences = app_files("firefox", machines.catalogue()["firefox"])["preferences"]
    own, rest = (
        dict(line.split(": ") for line in part.splitlines()) for part in preferences.split("\n\n")
    )
    assert own == {
        "Package": "firefox",
        "Pin": "origin packages.mozilla.org",
        "Pin-Priority": "1001",
    }
    assert rest == {"Package": "*", "Pin": "origin packages.mozilla.org", "Pin-Priority": "-1"}
