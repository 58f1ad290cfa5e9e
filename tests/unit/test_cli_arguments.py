"""What was given on the command line: help on any command, and no secret repeated in an error."""

from __future__ import annotations

import pytest

from dispatcher.cli import console
from dispatcher.cli import help as help_
from dispatcher.cli.edge import run
from dispatcher.errors import Exit

VALUE = "hunter2-hunter2"


@pytest.mark.parametrize(
    "words",
    [
        ["secrets", "put", "DB_PASSWORD", VALUE],
        ["secrets", "put", f"DB_PASSWORD={VALUE}"],
        ["secrets", "put", VALUE],
        ["secrets", "put", "DB_PASSWORD", "--keep-newline", VALUE],
        ["secrets", "rm", "DB_PASSWORD", VALUE],
        ["secrets", "rm", "--yes", VALUE],
        ["secrets", "list", VALUE],
        ["dispatch", "a.toml", f"TOKEN={VALUE}"],
        ["status", "a", VALUE],
        ["apply", VALUE],
    ],
)
def test_a_value_given_as_an_argument_is_not_repeated(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == Exit.USAGE
    said = capsys.readouterr()
    assert VALUE not in said.out + said.err
    assert said.err.startswith("disinto: error: ")


def test_help_is_given_on_a_command_below_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "secrets", "put"]) == Exit.OK
    assert capsys.readouterr().out.startswith("Usage: disinto secrets put [OPTIONS] NAME")
    assert run(["help", "secrets", "no-such"]) == Exit.USAGE
    assert run(["help", "status", "put"]) == Exit.USAGE


@pytest.mark.parametrize(("words", "coloured"), [([], True), (["--no-color"], False)])
def test_no_color_takes_the_colours_out(
    words: list[str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen: list[bool] = []

    def probe() -> str:
        seen.append(console.coloured())
        return ""

    monkeypatch.setattr(help_, "exit_codes", probe)
    assert run([*words, "help", "exit-codes"]) == Exit.OK
    assert seen == [coloured]


def test_a_number_of_results_is_none_below_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "-n", "-1"]) == Exit.USAGE
    assert "-1" in capsys.readouterr().err


def test_the_name_of_an_argument_keeps_its_capitals(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["secrets", "put", "lower"]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("disinto: error: NAME must be")
