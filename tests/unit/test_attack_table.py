"""The page of attacks is written from the table, and each of its rows is proved by a test."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

from tests.attacks.table import ENDS, TABLE, Attacker, Scene, page

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "attacks.md"
ATTACKS = [attack for attacker in TABLE.values() for attack in attacker.attacks]
PLAYED = [attacker for attacker in TABLE.values() if attacker.scenes]


def names_of_tests(body: list[ast.stmt]) -> set[str]:
    """Names of the tests in a module, those in classes as ``Class::test``."""
    names = set()
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{name}" for name in names_of_tests(node.body)}
    return names


@pytest.mark.parametrize("test", [attack.test for attack in ATTACKS])
def test_the_test_that_proves_a_row_exists(test: str) -> None:
    file, _, name = test.partition("[")[0].partition("::")
    assert name in names_of_tests(ast.parse((TESTS / file).read_text(encoding="utf-8")).body)


def test_each_test_proves_one_row() -> None:
    assert len({attack.test for attack in ATTACKS}) == len(ATTACKS) > 100


@pytest.mark.parametrize("attacker", PLAYED, ids=lambda attacker: attacker.scenes)
def test_each_scene_has_its_row(attacker: Attacker) -> None:
    module = import_module(attacker.scenes)
    scenes = {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and inspect.signature(function).return_annotation == "Found"
    }
    assert scenes == {scene.name for scene in attacker.played()}


def test_no_scene_ends_in_a_run() -> None:
    scenes = [attack for attack in ATTACKS if isinstance(attack, Scene)]
    assert {scene.ends for scene in scenes} == ENDS


def test_the_page_says_what_the_tests_prove() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: python -m tests.attacks > docs/attacks.md"
    )
