"""``validate`` judges a schedule as one, with the action of its slots."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from dispatcher.cli.edge import run
from dispatcher.errors import Exit
from tests.unit.test_validate_kinds import GOOD, desk

__all__ = ["desk"]

SCHEDULE = """cron = "30 2 * * *"
timezone = "Europe/Berlin"

[action]
formula = "hello"
context = "Backup of {date}"
secrets = []
"""


@pytest.fixture
def file(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good schedule in the current directory, which is an ops repo."""
    monkeypatch.setenv("DISINTO_CONFIG", str(desk / "disinto.toml"))
    desk = desk / "ops"
    desk.mkdir()
    monkeypatch.chdir(desk)
    for name in ("actions", "schedules"):
        (desk / "vault" / name).mkdir(parents=True)
    (desk / "formulas").mkdir()
    made = desk / "vault" / "schedules" / "nightly.toml"
    made.write_text(SCHEDULE)
    return made


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("timezone", "timezon", '2:1: unknown key "timezon". Did you mean "timezone"?'),
        ("Berlin", "Berln", 'there is no time zone "Europe/Berln". Did you mean "Europe/Berlin"?'),
        (
            "Europe/Berlin",
            "europe/berlin",
            '2:12: there is no time zone "europe/berlin". Did you mean',
        ),
        (
            "Europe/Berlin",
            "localtime",
            '2:12: there is no time zone "localtime". Write a name of the',
        ),
        ('"hello"', '"helo"', '5:11: there is no formula "helo". Did you mean "hello"?'),
        ("secrets = []", "secret = []", '7:1: unknown key "secret". Did you mean "secrets"?'),
        ("30 2 * * *", "30 2 * *", "does not have the five fields"),
    ],
)
def test_each_problem_has_its_place_in_the_schedule(
    file: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, problem: str
) -> None:
    file.write_text(SCHEDULE.replace(old, new))
    assert run(["validate", str(file)]) == Exit.DATAERR
    shown = capsys.readouterr()
    assert problem in shown.out
    assert all(line.startswith(str(file)) for line in shown.out.splitlines())
    assert "schedule, not an action: invalid" in shown.err


def test_a_word_that_is_not_replaced_is_named(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(SCHEDULE.replace("{date}", "{dat}"))
    assert run(["validate", str(file)]) == Exit.OK
    shown = capsys.readouterr().err
    assert f'{file}:6:11: {{dat}} is not replaced. Did you mean "date"?' in shown


def test_without_arguments_all_of_the_ops_repo_is_checked(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file.parent.with_name("actions") / "a.toml").write_text(GOOD)
    assert run(["validate", "--json"]) == Exit.OK
    files = json.loads(capsys.readouterr().out)["files"]
    assert [(f["kind"], f["valid"]) for f in files] == [("action", True), ("schedule", True)]


def test_schema_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "schedule"]) == Exit.OK
    schema = json.loads(capsys.readouterr().out)
    assert schema["title"] == "Schedule"
    assert set(schema["required"]) == {"cron", "timezone", "action"}
    assert run(["schema", "action"]) == Exit.OK
    action = json.loads(capsys.readouterr().out)
    template = schema["properties"]["action"]
    made_for_each_slot = {"id", "source", "not_before", "expires", "dispatch_mode"}
    keys = action["properties"].keys() - made_for_each_slot
    assert template["properties"] == {key: action["properties"][key] for key in keys}
    assert not template["additionalProperties"]
    assert set(template["required"]) == {"formula", "context", "secrets"}


@pytest.mark.parametrize(
    ("old", "new", "valid"),
    [
        ("", "", True),
        ("secrets = []", 'secrets = []\npriority = 5\nblast_radius = "high"', True),
        ("secrets = []", 'secrets = []\nmounts = ["nowhere"]', False),
        ("secrets = []", 'secrets = []\nid = "x"', False),
        ("secrets = []", "", False),
        ('formula = "hello"', "formula = 1", False),
        ("secrets = []", "secret = []", False),
    ],
)
def test_the_schema_judges_the_action_as_validate_does(
    file: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, valid: bool
) -> None:
    assert run(["schema", "schedule"]) == Exit.OK
    schema = json.loads(capsys.readouterr().out)
    text = SCHEDULE.replace(old, new) if old else SCHEDULE
    file.write_text(text)
    assert run(["validate", str(file)]) == (Exit.OK if valid else Exit.DATAERR)
    wrong = list(jsonschema.Draft202012Validator(schema).iter_errors(tomllib.loads(text)))
    assert (not wrong) == valid, wrong
