"""Schemas of formulas: what is accepted as one, what fits it, and what a hostile one cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.inventory import Change, Declaration
from dispatcher.operate.provisioned import KNOWN_RUNS
from dispatcher.operate.schema import schema as schema_of
from dispatcher.schemas import FormulaSchema, InvalidSchema, fits, params_problems, parse_schema
from dispatcher.schemas.bounded import BUDGET
from dispatcher.schemas.combined import combined
from dispatcher.schemas.declarations import Declared
from dispatcher.schemas.formula_schema import MAX_DEPTH, MAX_PARTS, SCHEMA_LIMIT

NAME = "make.schema.json"
GOOD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$", "examples": ["web"]},
        "size": {"enum": ["small", "large"]},
        "count": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "uniqueItems": True},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string", "maxLength": 5}},
}


def parsed(schema: object) -> FormulaSchema | InvalidSchema:
    return parse_schema(json.dumps(schema).encode(), name=NAME)


def usable(schema: object) -> FormulaSchema:
    made = parsed(schema)
    assert isinstance(made, FormulaSchema), made
    return made


def problems(schema: object, params: str) -> list[str]:
    text = f'id = "x"\n[params]\n{params}\n'
    made = usable(schema)
    values = tomli.loads(text)["params"]
    found = params_problems(made, values, text.encode(), path="x.toml")
    assert fits(made, values) == (not found)
    return [str(problem) for problem in found]


def test_params_that_fit_have_no_problem() -> None:
    assert not problems(GOOD, 'name = "web"\nsize = "small"\ncount = 2\ntags = ["a", "b"]')


def test_all_problems_are_told_with_their_place_and_a_remedy() -> None:
    found = problems(GOOD, 'nam = "web"\nsize = "smal"\ncount = 0\ntags = ["a", "toolong", "a"]')
    assert found == [
        'x.toml:2:2: params.name is missing. Add name = "web"',
        'x.toml:3:1: unknown key "nam" in [params]. Did you mean "name"?',
        'x.toml:4:8: params.size must be small or large, not "smal". Did you mean "small"?',
        "x.toml:5:9: params.count must be at least 1",
        "x.toml:6:8: params.tags has an entry twice",
        "x.toml:6:14: params.tags[1] must be a string of at most 5 characters",
    ]


def test_a_long_file_of_misfits_is_cut() -> None:
    many = "\n".join(f"k{number} = 1" for number in range(5_000))
    assert len(problems({"additionalProperties": False}, many)) == 20


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ([], "is not a JSON object"),
        ({"type": "array"}, '"type" must be "object"'),
        ({"properties": {"a": {"type": "text"}}}, "properties/a/type"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, '"$schema" must be'),
        ({"properties": {"a": {"$id": "https://evil.test/"}}}, "only at the top"),
        ({"properties": {"a": {"$ref": "https://evil.test/x"}}}, "a place in this file"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "a place in this file"),
        ({"$ref": "#/$defs/missing"}, "there is no"),
        ({"unevaluatedProperties": False}, "use additionalProperties"),
        ({"$dynamicRef": "#x"}, "use $ref"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "invalid perl operator"),
        ({"properties": {"a": {"pattern": "(a)\\1"}}}, "not accepted"),
        ({"patternProperties": {"(": {}}}, "not accepted"),
        ({"x-disinto": {"creats": "machine"}}, 'Did you mean "creates"?'),
        ({"x-disinto": {"creates": "a", "destroys": "a"}}, "may have one of"),
        ({"x-disinto": {"creates": "../a"}}, "must be a kind"),
        ({"x-disinto": {"files": ["../apps.json"]}}, "beside the formula"),
        ({"x-disinto": {"files": ["other.sh"]}}, "beside the formula"),
        ({"x-disinto": {"destroys": "a", "destroyed_by": "b"}}, 'goes with "creates"'),
        ({"x-disinto": []}, "must be an object"),
    ],
)
def test_what_is_no_schema_says_why(schema: object, reason: str) -> None:
    made = parsed(schema)
    assert isinstance(made, InvalidSchema)
    assert reason in str(made)
    assert NAME in str(made)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1,}', f"{NAME}:1:9: this is not JSON"),
        (b'{"a": 1, "a": 2}', '"a" is given twice'),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"\xff\xfe\xff", "UTF-8"),
        (b'{"a":' * 9_000, "nested too deep"),
        (b" " * (SCHEMA_LIMIT + 1), "more than the 65,536 allowed"),
        (b'{"minimum": ' + b"9" * 5_000 + b"}", NAME),
    ],
)
def test_odd_bytes_are_no_schema(text: bytes, reason: str) -> None:
    made = parse_schema(text, name=NAME)
    assert isinstance(made, InvalidSchema)
    assert reason in str(made)


def test_a_deep_schema_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        deep = {"not": deep}
    assert "levels deep" in str(parsed(deep))


def test_declarations() -> None:
    made = usable(
        {"x-disinto": {"creates": "machine", "destroyed_by": "unmake", "files": ["b.j2", "a.json"]}}
    )
    assert made.declared == Declared(
        inventory=Declaration(change=Change.CREATES, kind="machine", destroyed_by="unmake"),
        files=("a.json", "b.j2"),
    )
    made = usable({"x-disinto": {"destroys": "machine", "given": ["place", "number"]}})
    assert made.declared.given == ("place", "number")
    assert usable({}).declared == Declared()


@pytest.mark.parametrize(
    "declared",
    [
        {"creates": "machine", "given": ["place"]},
        {"given": ["place"]},
        {"destroys": "machine", "given": ["id"]},
        {"destroys": "machine", "given": "place"},
        {"destroys": "machine", "given": [7]},
    ],
)
def test_what_is_given_is_keys_for_a_destruction(declared: dict[str, Any]) -> None:
    made = parsed({"x-disinto": declared})
    assert isinstance(made, InvalidSchema)
    assert '"given"' in str(made)


def doubled(levels: int) -> dict[str, Any]:
    """Each level names the next one twice: 2^levels evaluations."""
    names = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**names, f"a{levels}": {}}}


@pytest.mark.parametrize(
    ("schema", "params", "reason"),
    [
        (doubled(40), "x = 1", f"more than {BUDGET:,} steps"),
        ({"$ref": "#"}, "x = 1", "name each other"),
        ({"properties": {"x": {"enum": list(range(9_000))}}, "allOf": [
            {"properties": {"x": {"enum": list(range(2_000))}}}]}, "x = 10000", ""),
        ({"properties": {"x": {"items": {"enum": list(range(9_000))}}}},
         f"x = [{'10000,' * 9_000}]", "steps"),
        ({"properties": {"x": {"pattern": "(a+)+$"}}}, f'x = "{"a" * 9_000}"', "9,000 characters"),
    ],
    ids=["doubled", "itself", "enum", "enum-of-many", "long text"],
)  # fmt: skip
def test_what_costs_too_much_ends_with_a_reason(
    schema: dict[str, Any], params: str, reason: str
) -> None:
    found = problems(schema, params)
    assert any(reason in problem for problem in found), found


LONG = list(range(12_000))
OFTEN = 100


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"allOf": [{"uniqueItems": True}] * OFTEN}, LONG),
        ({"allOf": [{"uniqueItems": True}] * OFTEN}, [LONG]),
        ({"allOf": [{"items": {}}] * OFTEN}, LONG),
        ({"allOf": [{"contains": {}}] * OFTEN}, LONG),
        ({"allOf": [{"propertyNames": {}}] * OFTEN}, {f"k{n}": 1 for n in range(5_000)}),
        ({"items": {"properties": {f"p{n}": {} for n in range(300)}}}, [{}] * 12_000),
        ({"items": {"dependentRequired": {f"p{n}": [] for n in range(2_000)}}}, [{}] * 12_000),
        ({"allOf": [{"$ref": "#/$defs/const"}] * OFTEN}, LONG[:5_000]),
        ({"allOf": [{"$ref": "#/$defs/all"}] * OFTEN}, {f"k{n}": 1 for n in range(5_000)}),
        ({"not": {"anyOf": [{"$ref": "#/$defs/string"}] * OFTEN}}, LONG),
    ],
    ids=["unique", "unique-inside", "items", "contains", "names", "properties", "dependent", "const",
         "empty", "errors"],
)  # fmt: skip
def test_a_long_list_that_is_looked_at_again_and_again_ends_with_a_reason(
    schema: dict[str, Any], value: object
) -> None:
    """Each of them took seconds to minutes when keywords alone were counted."""
    definitions = {
        "const": {"const": LONG[:5_000]},
        "all": {"properties": {f"k{n}": {} for n in range(60)}},
        "string": {"anyOf": [{"type": "string"}] * 30},
    }
    made = usable({"properties": {"x": schema}, "$defs": definitions})
    (problem,) = params_problems(made, {"x": value}, b"[params]\nx = 1\n", path="x.toml")
    assert f"more than {BUDGET:,} steps" in problem.message


def test_many_texts_of_one_pattern_cost_no_more_than_they_take() -> None:
    """As many as an action that reaps desktops may name."""
    file = Path(__file__).parents[2] / "actions/desktop/formulas/desktop-reap.schema.json"
    made = parse_schema(file.read_bytes(), name=NAME)
    assert isinstance(made, FormulaSchema)
    params = {
        "listed_at": "2026-11-22T10:00:00.000Z",
        "known_runs": [f"{number:r>100}.{number:040x}" for number in range(KNOWN_RUNS)],
        "known_droplets": list(range(1, 5_001)),
    }
    assert fits(made, params)


def test_a_schema_is_judged_in_linear_time() -> None:
    mixed = parsed({"required": [*(f"a{n}" for n in range(6_000)), 1]})
    assert "is not of type 'string'" in str(mixed)
    many = parsed({"properties": {f"a{n}": {} for n in range(MAX_PARTS + 1)}})
    assert f"more than {MAX_PARTS} schemas" in str(many)


@pytest.mark.parametrize("name", ["k" * 600, "%6b" * 100, "%"])
def test_a_reference_is_short_and_as_it_is(name: str) -> None:
    """The library takes it apart each time that it follows it, and reads ``%6b`` as another name."""
    made = parsed({"properties": {"x": {"$ref": f"#/$defs/{name}"}}, "$defs": {name: {}}})
    assert 'a "$ref" has at most 500 characters' in str(made)


def test_no_pattern_backtracks() -> None:
    text = "a" * 8_000 + "!"
    for pattern in ("^(a+)+$", "^(a|aa)+$", "(a*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"):
        assert problems({"properties": {"x": {"pattern": pattern}}}, f'x = "{text}"')


def test_many_objects_that_must_differ_cost_linear_time() -> None:
    objects = ", ".join(f"{{ a = {number} }}" for number in range(5_000))
    schema = {"properties": {"x": {"uniqueItems": True}}}
    assert not problems(schema, f"x = [{objects}]")
    assert problems(schema, "x = [1, 1.0]")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "$ref", "pattern", "items", "enum", "allOf", "x",
                         "required", "x-disinto", "files", "creates", "$defs", "minimum", "not"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(schema=json_values, params=st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_no_schema_raises(schema: object, params: dict[str, object]) -> None:
    made = parsed(schema)
    if isinstance(made, FormulaSchema):
        found = params_problems(made, params, b"[params]\n", path="x.toml")
        assert fits(made, params) == (not found)


@pytest.mark.parametrize("keyword", ["enum", "type"])
def test_a_choice_of_nothing_allows_nothing(keyword: str) -> None:
    made = parsed({"properties": {"name": {keyword: []}}})
    if isinstance(made, FormulaSchema):
        (problem,) = params_problems(made, {"name": 1}, b"[params]\nname = 1\n", path="x.toml")
        assert "must be none, not 1" in problem.message


def test_agrees_with_the_library_where_nothing_is_bounded() -> None:
    whole = jsonschema.Draft202012Validator(GOOD)
    for params in (
        {"name": "web"}, {"name": "WEB"}, {}, {"name": "a", "tags": ["x", "x"]}, {"name": "a", "count": True},
        {"name": "a", "count": 1.0}, {"name": "a", "other": 1}, {"name": "a", "size": "large"},
    ):  # fmt: skip
        assert fits(usable(GOOD), params) == whole.is_valid(params), params


def test_the_combined_schema_checks_an_action_and_its_params() -> None:
    made = combined(schema_of("action"), "make", usable(GOOD))
    validator = jsonschema.Draft202012Validator(made)
    validator.check_schema(made)
    action = {"id": "a", "formula": "make", "context": "", "secrets": []}
    assert validator.is_valid({**action, "params": {"name": "web", "tags": ["a"]}})
    assert not validator.is_valid({**action, "params": {"name": "web", "tags": ["toolong"]}})
    assert not validator.is_valid({**action, "params": {"name": "web", "other": 1}})
    assert not validator.is_valid({**action, "formula": "other", "params": {"name": "web"}})
    assert not validator.is_valid(action)
