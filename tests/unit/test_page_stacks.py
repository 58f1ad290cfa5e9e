"""Stacks on the page, without a dispatcher: the form, names, the words for states and failures, health."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.host import resources
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.stacks import NameState, find_name, settings_from
from dispatcher.page import words
from dispatcher.page.problems import FieldError
from dispatcher.page.stack_failures import KINDS, OTHER, failure_of
from dispatcher.page.stack_form import as_before, begin, entered
from dispatcher.page.stacks import STATES, web_address
from dispatcher.provision.params import BadParams
from dispatcher.stack.lifecycle import Stage
from dispatcher.stack.params import StackSettings
from dispatcher.stack.removal import Stage as RemovalStage
from tests.support.page_client import a_client, a_site
from tests.unit.test_stack_failures import rows

FORMULAS = resources.path("actions/stack/formulas")
SCHEMA = json.loads((FORMULAS / "stack.schema.json").read_text())
UPDATE = json.loads((FORMULAS / "stack-update.schema.json").read_text())
SETTINGS = StackSettings(STACK_DOMAIN_SUFFIX="stacks.example")


@pytest.mark.parametrize(
    ("name", "state", "host"),
    [
        ("alice", NameState.FREE, "alice.stacks.example"),
        ("team-7", NameState.TAKEN, "team-7.stacks.example"),
        ("admin", NameState.RESERVED, ""),
        ("api", NameState.RESERVED, ""),
        ("al", NameState.MALFORMED, ""),
        ("Alice", NameState.MALFORMED, ""),
        ("7alice", NameState.MALFORMED, ""),
        ("xn--alice", NameState.MALFORMED, ""),
        ("alice-", NameState.MALFORMED, ""),
        ("alice\n", NameState.MALFORMED, ""),
        ("a" * 21, NameState.MALFORMED, ""),
        ("<b>", NameState.MALFORMED, ""),
        ("\u0430lice", NameState.MALFORMED, ""),
    ],
)
def test_whether_a_stack_may_have_a_name(name: str, state: NameState, host: str) -> None:
    found = find_name(name, {"team-7": "stack-team-7"}, SETTINGS)
    assert (found.state, found.host) == (state, host)
    assert bool(found.reason) == bool(found.remedy) == (state is not NameState.FREE)
    assert (found.by == "stack-team-7") == (state is NameState.TAKEN)


def test_a_name_without_the_settings() -> None:
    assert find_name("alice", {}, settings_from(None)).host == ""
    with pytest.raises(BadParams, match="STACK_DOMAIN_SUFFIX"):
        find_name("alice", {}, settings_from(b'{"STACK_DOMAIN_SUFFIX": "-"}'))
    with pytest.raises(BadParams, match=r"stack-settings\.json"):
        settings_from(b"[]")


def test_only_what_was_entered_gets_into_the_file() -> None:
    form = begin(SCHEMA)
    given = {field.name: field.value for field in form.fields}
    given |= {
        "params.name": " alice ",
        "params.image": "a/b:1",
        "params.environment": "A=1\r\nB=x=y\n",
    }
    made = entered(form, {**given, "params.environment_secrets": "KEY\n"})
    assert made.params() == (
        {"name": "alice", "image": "a/b:1", "environment": {"A": "1", "B": "x=y"},
         "environment_secrets": ["KEY"]}, ()
    )  # fmt: skip
    assert not made.unfolded
    unticked = entered(form, {**given, "params.volume": "", "params.port": "x"})
    params, errors = unticked.params()
    assert params["volume"] is False
    assert [error.field for error in errors] == ["params.port"]
    assert unticked.unfolded


@pytest.mark.parametrize("line", ["A", "=1", " = 1", "A:1"])
def test_a_line_that_is_no_variable(line: str) -> None:
    made = entered(begin(SCHEMA), {"params.environment": f"B=1\n{line}"})
    params, (error,) = made.params()
    assert (params["environment"], error.field) == ({}, "params.environment")
    (wrong,) = [f for f in made.refused([error]).fields if f.error]
    assert wrong.name == "params.environment"
    assert made.refused([FieldError(field="", message="what")]).errors == ("what",)


def test_one_that_failed_is_begun_again_as_it_was() -> None:
    params = {
        "name": "bob", "image": "a/b:1", "environment": {"A": "1", "B": "x=y"}, "port": 80,
        "environment_secrets": ["KEY"], "volume": False, "health": "tcp",
    }  # fmt: skip
    assert as_before(begin(SCHEMA), params).params() == (params, ())


@given(st.dictionaries(st.text(), st.text() | st.booleans() | st.lists(st.text()) | st.none()))
def test_nothing_that_somebody_pushed_breaks_it(params: dict[str, Any]) -> None:
    made = as_before(begin(SCHEMA), {**params, "environment": params})
    made.params()
    assert begin({"properties": params}).params()


def test_an_update_asks_for_what_its_formula_takes() -> None:
    form = begin(UPDATE, without=("id",))
    asked = {field.name.removeprefix("params.") for field in form.fields}
    assert asked == set(UPDATE["properties"]) - {"id"}
    assert form.params() == ({}, ())


def test_every_state_stage_and_failure_has_words() -> None:
    assert set(words.STACK_STATES) == set(STATES)
    assert set(words.STACK_TONES) < set(STATES)
    assert set(words.STACK_STAGES) == {str(s) for s in (*Stage, *RemovalStage)}
    assert set(words.STACK_FAILURES) == KINDS


PLAIN = {
    "name is reserved": "name",
    "name has another form": "name",
    "name is taken by a stack": "taken",
    "name is taken by somebody else's project": "taken",
    "image has no tag": "image",
    "no domain suffix": "settings",
    "a secret was not named in the action": "secret",
    "the API key is to be handed over": "secret",
    "API key invalid": "key",
    "API key's quota spent on the way": "key",
    "key without rights": "key",
    "server away": "server",
    "server refuses a value": "value",
    "a creation fails three times": "server",
    "image cannot be pulled": "pull",
    "the server's queue stands still": "queue",
    "container ends at once": "crash",
    "container answers nothing": "no_answer",
    "the host name leads nowhere": "unreachable",
    "the service cannot be removed": "left",
}


@pytest.mark.parametrize("wrong", sorted(rows()))
def test_each_failure_of_the_docs_is_said_in_plain_words(wrong: str) -> None:
    """Whichever of its messages the run ends with."""
    for message in rows()[wrong][0]:
        kind = failure_of(f"line before\n{message}", Verdict.FAILED)
        if message not in FRAGMENTS:
            assert kind == PLAIN.get(wrong, "environment"), message


FRAGMENTS = (
    "manifest unknown", ": host", "docker service rm", "its ten requests a day are spent",
    "has ${{, which the server would replace", "has quotes that the server cannot store together",
)  # fmt: skip
"""What follows another message, in the same text."""


@pytest.mark.parametrize(
    ("said", "verdict", "kind"),
    [
        ("environment: A has ${{, which the server would replace", Verdict.FAILED, "environment"),
        ("failed; the server's log ends with\n  manifest unknown", Verdict.FAILED, "pull"),
        ("", Verdict.CANCELLED, "stopped"),
        ("", Verdict.LOST, "vanished"),
        ("", Verdict.REFUSED, "not_begun"),
        ("", Verdict.TIMED_OUT, "late"),
        ("anything", Verdict.FAILED, OTHER),
        ("left behind, and known to the server no more: service x", Verdict.CANCELLED, "left"),
    ],
)
def test_what_kind_of_failure_it_is(said: str, verdict: Verdict, kind: str) -> None:
    assert failure_of(said, verdict) == kind


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        ("https://alice.stacks.example/", True),
        ("http://alice.stacks.example:8080/a?b", True),
        ("javascript:alert(1)", False),
        ("https://", False),
        ("https://[", False),
        ("https://a.example/\n", False),
        ("//a.example/", False),
        ("data:text/html,x", False),
        ("https://\u0430.example/", False),
    ],
)
def test_only_an_address_of_the_web_becomes_a_link(text: str, *, leads: bool) -> None:
    assert web_address(text) == (text if leads else "")


def test_health_is_for_everybody_and_the_api_is_json(tmp_path: Path) -> None:
    client = a_client(a_site(tmp_path))
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["follows"] is False, "there is no ops repo to follow"
    for path, status in (("/api/check/x", 401), ("/api/nothing", 404), ("/api/deploy", 405)):
        answer = client.get(path, headers={"Accept": "*/*"})
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"] == "application/problem+json"
