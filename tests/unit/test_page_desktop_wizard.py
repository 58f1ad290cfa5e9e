"""The steps of a new desktop: what they ask for, carry along, and make."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.desktop.apps import read_catalogue
from dispatcher.desktop.lifecycle import Stage
from dispatcher.host import resources
from dispatcher.operate.desktops import creating
from dispatcher.page import words
from dispatcher.page.desktop_wizard import Step, Wizard, as_before, begin, entered, step_of, until
from dispatcher.page.desktops import STATES
from dispatcher.page.problems import FieldError

FORMULAS = resources.path("actions/desktop/formulas")
SCHEMA = json.loads((FORMULAS / "desktop.schema.json").read_text())
APPS = read_catalogue((FORMULAS / "desktop-apps.json").read_bytes())


def filled(at: Step = Step.SUMMARY, **form: object) -> Wizard:
    return entered(begin(SCHEMA, APPS), form, at=at)


def test_each_field_belongs_to_one_step() -> None:
    wizard = begin(SCHEMA, APPS)
    asked = [f.name for step in Step for f in wizard.fields if step_of(f.name) is step]
    assert sorted(asked) == sorted({f"params.{name}" for name in SCHEMA["properties"]} | {"id"})
    assert [f.name for f in wizard.shown] == [
        "params.vigilance",
        "params.vigilance_model",
        "params.vigilance_screenshots",
    ]


def test_what_is_chosen_becomes_params_that_a_run_accepts() -> None:
    wizard = filled(**{"params.name": "alice", "params.region": "nyc1", "app.git": "true"})
    params, errors = wizard.params()
    assert (params, errors) == ({"name": "alice", "region": "nyc1", "apps": ["git"]}, ())
    creating("desktop-alice", params)


@pytest.mark.parametrize("size", ["s-2vcpu-4gb", "", "s-8vcpu-16gb"])
def test_vigilance_fixes_the_size(size: str) -> None:
    wizard = filled(**{"params.name": "a", "params.vigilance": "true", "params.size": size})
    params, _ = wizard.params()
    assert params == {"name": "a", "vigilance": True, "size": "s-4vcpu-8gb"}
    creating("desktop-a", params)


def test_without_vigilance_nothing_of_it_is_asked_for() -> None:
    form = {"params.name": "a", "params.vigilance_model": "m", "params.vigilance_screenshots": "1"}
    assert filled(**form).params()[0] == {"name": "a"}


def test_a_step_carries_what_the_others_were_given() -> None:
    form = {"params.name": "a", "params.vigilance": "true", "app.git": "true", "id": "desk"}
    assert filled(Step.VIGILANCE, **form).carried == {
        "params.name": "a",
        "id": "desk",
        "app.git": "true",
    }
    assert filled(Step.APPS, **form).carried == {
        "params.name": "a",
        "id": "desk",
        "params.vigilance": "true",
    }
    summary = filled(Step.SUMMARY, **form)
    assert entered(begin(SCHEMA, APPS), summary.carried, at=Step.SUMMARY) == summary


def test_it_goes_back_to_the_first_step_that_has_something_wrong() -> None:
    wizard = filled(Step.SUMMARY)
    errors = [
        FieldError(field="params.apps[1]", message="unknown"),
        FieldError(field="params.size", message="too large"),
        FieldError(field="", message="whatever"),
    ]
    refused = wizard.refused(errors)
    assert refused.step is Step.MACHINE
    assert {f.name: f.error for f in refused.fields if f.error} == {"params.size": "too large"}
    assert refused.errors == ("unknown", "whatever")
    assert wizard.refused(errors[:1]).step is Step.APPS
    assert until(Step.VIGILANCE, errors) == ()
    assert until(Step.MACHINE, errors) == (errors[1],)


def test_one_that_failed_is_begun_again_as_it_was() -> None:
    params = {"name": "bob", "size": "s-8vcpu-16gb", "apps": ["git"], "ssh_keys": ["a", "b"]}
    wizard = as_before(begin(SCHEMA, APPS), params)
    assert wizard.params()[0] == {**params, "region": "sfo3"}


@given(st.dictionaries(st.text(), st.text() | st.booleans() | st.lists(st.text()) | st.none()))
def test_nothing_that_somebody_pushed_breaks_it(params: dict[str, Any]) -> None:
    wizard = as_before(begin(SCHEMA, APPS), {**params, "apps": params.get("apps")})
    wizard.params()
    assert begin({"properties": params}, {}).params()


def test_every_state_and_stage_has_a_word() -> None:
    assert set(words.DESKTOP_STATES) == set(STATES)
    assert set(words.DESKTOP_STAGES) == {stage.value for stage in Stage}
    assert set(words.DESKTOP_TONES) < set(STATES)
