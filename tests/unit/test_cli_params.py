"""``validate`` and ``schema`` with the schema of a formula."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dispatcher.cli.edge import run
from dispatcher.errors import Exit
from tests.unit.test_cli_files import desk, write

__all__ = ["desk"]

ACTION = 'id = "a"\nformula = "make"\ncontext = "c"\nsecrets = []\n[params]\nnam = 1\n'
SCHEMA = {
    "properties": {"name": {"type": "string", "description": "Name of the machine."}},
    "required": ["name"],
    "additionalProperties": False,
    "x-disinto": {"creates": "machine"},
}


@pytest.fixture
def ops(desk: Path) -> Path:
    """A checkout of an ops repo as the current directory."""
    write(desk / "vault/actions/a.toml", ACTION)
    write(desk / "formulas/make.sh", "true\n")
    write(desk / "formulas/make.schema.json", json.dumps(SCHEMA))
    return desk


def test_validate_checks_params(ops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "."]) == Exit.DATAERR
    out = capsys.readouterr().out
    assert "a.toml:5:2: params.name is missing. Name of the machine" in out
    assert 'a.toml:6:1: unknown key "nam" in [params]. Did you mean "name"?' in out
    write(ops / "vault/actions/a.toml", ACTION.replace("nam = 1", 'name = "web"'))
    assert run(["validate", "."]) == Exit.OK


def test_the_operators_formula_takes_precedence(
    ops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    etc = ops.parent / "etc"
    write(etc / "own/make.sh", "true\n")
    write(etc / "own/make.schema.json", json.dumps({"required": ["size"]}))
    write(etc / "disinto.toml", f'[formulas]\npath = "{etc}/own"\n')
    run(["--config", str(etc / "disinto.toml"), "validate", "."])
    out = capsys.readouterr().out
    assert "params.size is missing" in out
    assert "params.name" not in out


def test_validate_names_a_broken_schema(ops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(ops / "formulas/make.schema.json", '{"type": "objekt"}')
    assert run(["validate", "."]) == Exit.DATAERR
    assert "make.schema.json: type" in capsys.readouterr().out


def test_schema_of_an_action_of_one_formula(ops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "action", "--formula", "make"]) == Exit.OK
    made = json.loads(capsys.readouterr().out)
    assert made["$defs"]["params"]["required"] == ["name"]
    assert "x-disinto" not in made["$defs"]["params"]
    assert made["properties"]["formula"]["const"] == "make"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["schema", "action", "--formula", "mak"], Exit.NOINPUT, "there is no formula mak"),
        (["schema", "action", "--formula", "bare"], Exit.NOINPUT, "has no schema"),
        (["schema", "policy", "--formula", "make"], Exit.USAGE, "--formula"),
    ],
)
def test_schema_says_what_is_missing(
    ops: Path, arguments: list[str], code: Exit, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(ops / "formulas/bare.sh", "true\n")
    assert run(arguments) == code
    assert said in capsys.readouterr().err
