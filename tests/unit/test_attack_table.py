"""The page of attacks is written from the tables, and each of its rows is shown by a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.acceptance.attack_table import DEFENCES, page

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "attacks.md"


def names_of_tests(body: list[ast.stmt]) -> set[str]:
    """Names of the tests in a module, those in classes as ``Class::test``."""
    names = set()
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{name}" for name in names_of_tests(node.body)}
    return names


@pytest.mark.parametrize("test", [defence.test for defence in DEFENCES])
def test_the_test_that_shows_a_row_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in names_of_tests(ast.parse((TESTS / file).read_text(encoding="utf-8")).body)


def test_each_test_shows_one_row() -> None:
    assert len({defence.test for defence in DEFENCES}) == len(DEFENCES)


def test_the_page_says_what_the_tests_show() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: python -m tests.acceptance.attack_table > docs/attacks.md"
    )
