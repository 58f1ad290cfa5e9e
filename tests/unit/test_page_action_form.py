"""The form of a new action, and the file that it makes."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import Problem
from dispatcher.page.action_form import (
    MOST_FIELDS,
    Field,
    Kind,
    action_of,
    errors_of,
    fields_of,
    file_name,
    filled,
    with_errors,
)

SCHEMA = {
    "type": "object",
    "required": ["host"],
    "properties": {
        "host": {"type": "string", "description": "Where to."},
        "region": {"enum": ["ams", "fra"], "default": "ams"},
        "copies": {"type": "integer", "title": "Copies"},
        "share": {"type": "number"},
        "force": {"type": "boolean", "default": True},
        "keys": {"type": "array", "items": {"type": "string"}},
        "limits": {"type": "object"},
    },
}
OWN = {"id": "deploy-1", "context": "why", "secrets": "A, B"}


def made(form: dict[str, object], schema: Any = SCHEMA) -> tuple[dict[str, Any], dict[str, str]]:
    fields = filled(fields_of(schema), form)
    data, errors = action_of("deploy", fields, form)
    return tomllib.loads(data.decode()), {e.field: e.message for e in errors}


def test_each_property_becomes_the_field_that_fits() -> None:
    fields = {f.name.removeprefix("params."): f for f in fields_of(SCHEMA)}
    assert {name: f.kind for name, f in fields.items()} == {
        "host": Kind.TEXT,
        "region": Kind.CHOICE,
        "copies": Kind.INTEGER,
        "share": Kind.NUMBER,
        "force": Kind.YES_NO,
        "keys": Kind.LINES,
        "limits": Kind.TOML,
    }
    assert fields["host"].required
    assert (fields["host"].hint, fields["copies"].label) == ("Where to.", "Copies")
    assert (fields["region"].value, fields["region"].choices) == ("ams", ("ams", "fra"))
    assert fields["force"].value == "true"


def test_what_is_entered_becomes_values_of_their_types() -> None:
    action, errors = made(
        {
            **OWN,
            "params.host": "web-1",
            "params.region": "fra",
            "params.copies": " 3 ",
            "params.share": "0.5",
            "params.keys": "one\r\n\r\ntwo\r\n",
            "params.limits": '{ cpu = 2, names = ["x"] }',
        }
    )
    assert not errors
    assert action == {
        "id": "deploy-1",
        "formula": "deploy",
        "context": "why",
        "secrets": ["A", "B"],
        "params": {
            "host": "web-1",
            "region": "fra",
            "copies": 3,
            "share": 0.5,
            "force": False,
            "keys": ["one", "two"],
            "limits": {"cpu": 2, "names": ["x"]},
        },
    }


def test_what_is_left_empty_is_left_out() -> None:
    assert made({**OWN, "params.host": "web-1"})[0]["params"] == {"host": "web-1", "force": False}


def test_what_cannot_be_read_is_said_at_its_field() -> None:
    _, errors = made(
        {**OWN, "params.host": "x", "params.copies": "three", "params.limits": "{ cpu = }"}
    )
    assert errors["params.copies"] == "this is not a number"
    assert errors["params.limits"].startswith("TOML: ")


def test_a_program_sends_params_as_an_object() -> None:
    given_ = {"host": "x", "limits": {"cpu": 1}}
    action, errors = made({**OWN, "secrets": ["A"], "params": given_})
    assert (action["params"], action["secrets"], errors) == (given_, ["A"], {})


def test_a_formula_without_a_schema_takes_toml() -> None:
    action, errors = made({**OWN, "params": 'host = "x"\n[a]\nb = 1'}, None)
    assert (action["params"], errors) == ({"host": "x", "a": {"b": 1}}, {})


def test_a_schema_with_too_many_properties_takes_toml() -> None:
    many: dict[str, Any] = {"properties": {f"p{n}": {} for n in range(MOST_FIELDS + 1)}}
    assert [f.kind for f in fields_of(many)] == [Kind.TOML]


def test_problems_stand_at_the_nearest_field() -> None:
    fields = (Field(name="params.keys", label="keys"),)
    problems = [
        Problem(message="bad key", path="x", field="params.keys[1]", remedy="Use another"),
        Problem(message="bad id", path="x", field="id"),
        Problem(message="strange", path="x", field="params.other"),
        Problem(message="whole", path="x"),
    ]
    errors = errors_of(problems, fields)
    assert [(e.field, e.message) for e in errors] == [
        ("params.keys", "bad key. Use another"),
        ("id", "bad id"),
        ("", "strange"),
        ("", "whole"),
    ]
    assert with_errors(fields, errors)[0].error == "bad key. Use another"


def test_the_file_has_the_name_of_the_id() -> None:
    assert file_name(b'id = "a"') == "a.toml"
    for data in (b'id = "../a"', b"id = 1", b"id", b"", b"\xff"):
        assert file_name(data) == ""


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["properties", "required", "enum"]),
        hostile
        | st.dictionaries(
            st.text(),
            st.fixed_dictionaries(
                {},
                optional={
                    "type": hostile | st.sampled_from(["string", "array", "boolean", "integer"]),
                    "enum": hostile,
                    "default": hostile,
                    "title": hostile,
                    "items": hostile,
                },
            ),
        ),
    ),
    st.dictionaries(st.text(), hostile),
)
def test_no_schema_and_no_form_break_it(schema: dict[str, Any], form: dict[str, object]) -> None:
    fields = filled(fields_of(schema), form)
    data, errors = action_of("x", fields, {**form, "id": "a"})
    assert data or errors
    if data:
        assert tomllib.loads(data.decode())["formula"] == "x"
