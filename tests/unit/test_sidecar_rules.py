"""``sidecars.toml``: what is valid, and what is wrong with the rest, with its place."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import tomli

from dispatcher.decide.sidecar_rules import (
    Condition,
    Project,
    Rule,
    Sidecars,
    load_sidecars,
    parse_sidecars,
)
from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.host import resources
from dispatcher.operate.schema import schema

PROJECT = '[projects.app]\nrepository = "acme/app"\nbot = "reader"\n'
RULE = '[rules.triage]\nformula = "triage"\nlabels = ["bug-report"]\n'


def parsed(text: str) -> Sidecars:
    return parse_sidecars(text.encode(), path="sidecars.toml")


def problem_of(text: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        parsed(text)
    (problem,) = refused.value.problems
    assert problem.path == "sidecars.toml"
    assert problem.remedy or " must be " in problem.message
    return f"{problem.line}:{problem.column} {problem.message}. {problem.remedy}"


def test_projects_and_rules() -> None:
    text = f"""{PROJECT}{RULE}
without_labels = ["blocked"]
condition = "sub_issues_closed"
add_labels = ["in-triage"]
remove_labels = ["übersehen 🐛"]
cool_down = "1h30m"
"""
    rule = Rule(
        formula="triage",
        labels=("bug-report",),
        without_labels=("blocked",),
        condition=Condition.SUB_ISSUES_CLOSED,
        add_labels=("in-triage",),
        remove_labels=("übersehen 🐛",),
        cool_down="1h30m",
    )
    app = Project(repository="acme/app", bot="reader")
    sidecars = parsed(text)
    assert sidecars == Sidecars(projects={"app": app}, rules={"triage": rule})
    assert rule.cool_down_s == 5400
    assert sidecars.settable == {"in-triage", "übersehen 🐛"}
    assert sidecars.file_of("app") == "projects/app.toml"
    assert parsed("") == Sidecars()


def test_a_project_may_choose_its_rules() -> None:
    other = RULE.replace("triage", "verify")
    chosen = parsed(f'{PROJECT}rules = ["verify"]\n{RULE}{other}')
    assert list(chosen.rules_of("app")) == ["verify"]
    assert list(parsed(f"{PROJECT}rules = []\n{RULE}").rules_of("app")) == []
    assert list(parsed(f"{PROJECT}{other}{RULE}").rules_of("app")) == ["verify", "triage"]
    assert parsed(RULE).rules_of("app") == {}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('[rules.a]\nlabels = ["x"]\n', "1:8", "rules.a.formula is missing"),
        ('[rules.a]\nformula = "a"\nlabels = []\n', "3:10", "labels"),
        (f'{RULE}lables = ["x"]\n', "4:1", 'Did you mean "labels"'),
        (f'{RULE}condition = "closed"\n', "4:13", "must be sub_issues_closed"),
        (f'{RULE}without_labels = ["bug-report"]\n', "4:19", "both required and excluded"),
        (f'{RULE}add_labels = ["a,b"]\n', "4:15", "without a comma"),
        (f'{RULE}add_labels = [" a"]\n', "4:15", "cannot be used as a label"),
        (f'{RULE}add_labels = ["a\\n"]\n', "4:15", "cannot be used as a label"),
        (f'{RULE}add_labels = ["a\\u0000"]\n', "4:15", "cannot be used as a label"),
        (f'{RULE}add_labels = [""]\n', "4:15", "cannot be used as a label"),
        (f'{RULE}cool_down = "soon"\n', "4:13", "cannot be used as a cool-down"),
        (f'{RULE}cool_down = "0s"\n', "4:13", "from 1s to 30d"),
        (f'{RULE}cool_down = "31d"\n', "4:13", "from 1s to 30d"),
        (f"{RULE}attempts = 0\n", "4:12", "from 1 to 1,000"),
        (f"{RULE}log_tail = 201\n", "4:12", "from 0 to 200"),
        (f'{RULE}writing_token = "yes"\n', "4:17", "true or false"),
        (f'{RULE}tools = ["--dangerous"]\n', "4:10", "begins with -"),
        (RULE.replace('"triage"', '"../sh"'), "2:11", "cannot be used as a formula's name"),
        (RULE.replace("rules.triage", 'rules."Ä"'), "1:8", "name of a rule"),
        (PROJECT.replace("acme/app", "acme"), "2:14", "is not owner/name"),
        (PROJECT.replace("acme/app", "acme/.."), "2:14", "is not owner/name"),
        (PROJECT.replace("acme/app", "a/b/c"), "2:14", "is not owner/name"),
        (PROJECT.replace("reader", "../forge"), "3:7", "name of a bot"),
        (f'{PROJECT}file = "../x.toml"\n', "4:8", "not a path inside the ops repo"),
        (f'{PROJECT}file = "/etc/x"\n', "4:8", "not a path inside the ops repo"),
        (f'{PROJECT}rules = ["triags"]\n{RULE}', "4:10", 'Did you mean "triage"'),
        (
            PROJECT + PROJECT.replace("projects.app", "projects.b").replace("acme", "Acme"),
            "5:14",
            "same repository as projects.app",
        ),
    ],
)
def test_a_problem_has_its_place_and_a_remedy(text: str, place: str, words: str) -> None:
    problem = problem_of(text)
    assert problem.startswith(place), problem
    assert words in problem


def test_two_pairs_of_rule_and_project_never_share_ids() -> None:
    text = (
        RULE.replace("rules.triage", "rules.a")
        + RULE.replace("rules.triage", "rules.a-b")
        + PROJECT.replace("projects.app", "projects.b-c")
        + PROJECT.replace("projects.app", "projects.c").replace("acme/app", "acme/c")
    )
    assert "would have the same ids" in problem_of(text)
    assert parsed(text.replace("rules.a-b", "rules.a_b"))


def test_the_longest_names_still_make_an_id() -> None:
    longest = "a" * 35
    sidecars = parsed(
        PROJECT.replace("projects.app", f"projects.{longest}")
        + RULE.replace("rules.triage", f"rules.{longest}")
    )
    assert list(sidecars.rules_of(longest)) == [longest]
    assert "at most 35" in problem_of(RULE.replace("rules.triage", f"rules.{longest}a"))


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "sidecars.toml"
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_sidecars(file)
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InvalidInput, match="more than the 1,048,576 allowed"):
        load_sidecars(file)
    file.write_text(PROJECT)
    assert list(load_sidecars(file).projects) == ["app"]
    assert load_sidecars(None) == Sidecars()


def test_the_standard_rules() -> None:
    text = resources.text("actions/sidecars/sidecars.toml")
    rules = parsed(text).rules
    assert list(rules) == ["reproduce", "triage", "verify"]
    assert rules["reproduce"].labels == ("bug-report",)
    assert set(rules["reproduce"].without_labels) == {
        "in-progress",
        "in-triage",
        "rejected",
        "blocked",
    }
    assert rules["triage"].labels == ("bug-report", "in-triage")
    assert rules["verify"].labels == ("bug-report", "in-progress")
    assert rules["verify"].condition is Condition.SUB_ISSUES_CLOSED
    jsonschema.Draft202012Validator(schema("sidecars")).validate(tomli.loads(text))
    uncommented = text.replace("\n#[", "\n[").replace("\n#r", "\nr")
    for key in ("bot", "file"):
        uncommented = uncommented.replace(f"\n#{key}", f"\n{key}")
    with_project = parsed(uncommented)
    assert with_project.projects["app"].repository == "acme/app"
    assert list(with_project.rules_of("app")) == ["reproduce"]
