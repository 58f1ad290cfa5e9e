"""What of an action's ``[params]`` does not fit its formula's schema, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatcher.errors import Problem
from dispatcher.schemas.bounded import TooExpensive, errors
from dispatcher.schemas.formula_schema import FormulaSchema
from dispatcher.toml.explain import did_you_mean, one_of, toml_value
from dispatcher.toml.source import KeyPath, TomlSource, dotted, quoted

MAX_PROBLEMS = 20
"""Problems of one file that are reported."""

_CHOICES = 20
"""Values of an enumeration that a message lists."""

_KINDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a table",
    "array": "a list",
}


def fits(schema: FormulaSchema, params: Mapping[str, object]) -> bool:
    """Whether the params fit; needs no place, so the common case costs no second parse."""
    try:
        return next(iter(errors(schema.schema, dict(params))), None) is None
    except TooExpensive:
        return False


def params_problems(
    schema: FormulaSchema, params: Mapping[str, object], source: bytes, *, path: str
) -> tuple[Problem, ...]:
    """Everything in the params that does not fit, with its place in the action's file; at most
    ``MAX_PROBLEMS``, in the order of the file.

    Args:
        schema: of the action's formula.
        source, path: the action's bytes, and its file as messages name it.
    """
    toml = TomlSource.parse(source, path=path)
    problems: list[Problem] = []
    try:
        for error in errors(schema.schema, dict(params)):
            problems += _problems(error, toml)
            if len(problems) >= MAX_PROBLEMS:
                break
    except TooExpensive as trouble:
        problems.append(
            toml.problem(
                f"params cannot be checked against {schema.name}: {trouble}",
                ("params",),
                remedy=f"Make {schema.name} simpler",
            )
        )
    unique = dict.fromkeys(problems[:MAX_PROBLEMS])
    return tuple(sorted(unique, key=lambda p: (p.line or 0, p.column or 0)))


def _problems(error: Any, toml: TomlSource) -> list[Problem]:
    path: KeyPath = ("params", *error.absolute_path)
    parent: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    known = list(parent.get("properties", {}))
    if error.validator == "required":
        return [
            toml.problem(f"{dotted((*path, name))} is missing", path, remedy=_example(parent, name))
            for name in error.validator_value
            if name not in error.instance
        ]
    if error.validator == "additionalProperties" and error.validator_value is False:
        remedy = did_you_mean(str(path[-1]), known)
        if remedy is None and known:
            remedy = f"Known here: {', '.join(known)}"
        what = f"unknown key {quoted(str(path[-1]))} in [{dotted(path[:-1])}]"
        return [toml.problem(what, path, remedy=remedy, key=True)]
    message, remedy = _in_words(error, dotted(path))
    return [toml.problem(message, path, remedy=remedy or _description(parent))]


_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "a string of at least {} characters",
    "maxLength": "a string of at most {} characters",
    "minItems": "a list of at least {} entries",
    "maxItems": "a list of at most {} entries",
    "minProperties": "a table of at least {} keys",
    "maxProperties": "a table of at most {} keys",
}


def _in_words(error: Any, name: str) -> tuple[str, str | None]:
    """Message and, if it is certain, remedy."""
    kind, value, instance = error.validator, error.validator_value, error.instance
    remedy = None
    match kind:
        case "enum":
            choices = [str(choice) for choice in value]
            shown = one_of(choices) if len(choices) <= _CHOICES else "one of those in the schema"
            what = f"must be {shown}, not {toml_value(instance)}"
            remedy = did_you_mean(str(instance), choices)
        case "const":
            what = f"must be {toml_value(value)}, not {toml_value(instance)}"
        case "type":
            kinds = value if isinstance(value, list) else [value]
            wanted = one_of([_KINDS.get(str(each), str(each)) for each in kinds])
            what = f"must be {wanted}, not {toml_value(instance)}"
        case "pattern":
            what = f"does not match {quoted(str(value), limit=120)}: {toml_value(instance)}"
        case "uniqueItems":
            what = "has an entry twice"
        case _ if kind in _BOUNDS:
            what = f"must be {_BOUNDS[kind].format(value)}"
        case _:
            what = f"does not fit the formula's schema ({kind})"
    return _cut(f"{name} {what}"), remedy


def _cut(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}…"


def _description(schema: Mapping[str, Any]) -> str | None:
    """The schema's own words about the value."""
    text = schema.get("description")
    return text.strip().rstrip(".")[:200] if isinstance(text, str) and text.strip() else None


def _example(schema: Mapping[str, Any], name: str) -> str | None:
    subschema = schema.get("properties", {}).get(name)
    if not isinstance(subschema, Mapping):
        return None
    examples = subschema.get("examples")
    if isinstance(examples, list) and examples:
        return f"Add {name} = {toml_value(examples[0])}"
    return _description(subschema)
