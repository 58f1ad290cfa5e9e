"""Turns a model's validation errors into messages that a person can act on.

``read`` validates TOML data with a pydantic model and returns the model's value, or all problems at
once, each with its place, in the terms of TOML (text, list, table) and with a remedy. What each key
expects is taken from the model's JSON Schema, the same that editors use.
"""

from __future__ import annotations

import datetime
import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from dispatcher.errors import Problem
from dispatcher.toml.source import KeyPath, dotted, quoted

T = TypeVar("T")
Schema = Mapping[str, Any]

Report = Callable[..., Problem]
"""``report(message, path, *, remedy=None, key=False)``: makes the problem, with its place."""

_UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})
_OWN_ERROR = "disinto"
_SHOWN_DEPTH = 4


def complaint(
    message: str, *, remedy: str | None = None, inside: KeyPath = ()
) -> PydanticCustomError:
    """For validators: an error that is reported verbatim, at the value or at a place ``inside`` it."""
    context = {"message": message, "remedy": remedy, "inside": inside}
    return PydanticCustomError(_OWN_ERROR, "{message}", context)


def did_you_mean(wrong: str, names: Sequence[str]) -> str | None:
    """``Did you mean "x"?`` if a known name is similar, else None. Case is ignored."""
    by_fold = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wrong.casefold(), list(by_fold), n=1, cutoff=0.6)
    return f"Did you mean {quoted(by_fold[close[0]])}?" if close else None


def one_of(names: Sequence[str]) -> str:
    """Names in words: ``a, b or c``; ``none`` if there are none."""
    if not names:
        return "none"
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


@dataclass(frozen=True)
class Reader(Generic[T]):
    """Reads one kind of TOML file into one kind of value.

    Attributes:
        adapter: the model.
        subject: name of the file in messages, e.g. ``an action``.
        unknown_key: may return a better remedy for an unknown key than "did you mean", or None.
        accepted: top-level keys that are not fields of the model and are ignored.
        times: top-level keys whose value may be a date or time of TOML; the model gets it as text.
    """

    adapter: TypeAdapter[T]
    subject: str
    unknown_key: Callable[[KeyPath], str | None] = lambda _: None
    accepted: frozenset[str] = frozenset()
    times: frozenset[str] = frozenset()

    @cached_property
    def schema(self) -> Schema:
        """The model's JSON Schema."""
        return self.adapter.json_schema()

    def read(self, data: Mapping[str, Any], report: Report) -> T | tuple[Problem, ...]:
        """The value, or all problems."""
        wanted = {k: v for k, v in data.items() if k not in self.accepted}
        for key in self.times & wanted.keys():
            if isinstance(wanted[key], (datetime.datetime, datetime.date, datetime.time)):
                wanted[key] = wanted[key].isoformat()
        dates: list[object] = []

        def without_date(value: object) -> str:
            dates.append(value)
            return str(value)

        try:
            text = json.dumps(wanted, default=without_date)
        except (ValueError, RecursionError):
            return tuple(_unfit_values(wanted, report))
        try:
            value = self.adapter.validate_json(text, strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False)
            problems = [self._explained(detail, wanted, report) for detail in details]
        else:
            if not dates:
                return value
            problems = []
        if dates:
            problems += _unfit_values(wanted, report)
        return tuple(problems)

    def expected(self, path: KeyPath) -> Schema:
        """The part of the schema that describes ``path``; {} if nothing does."""
        return schema_at(self.schema, path)

    def _explained(self, error: ErrorDetails, data: Mapping[str, Any], report: Report) -> Problem:
        path = tuple(part for part in error["loc"] if part != "[key]")
        context = error.get("ctx", {})
        kind = error["type"]
        if kind == _OWN_ERROR:
            place = path + tuple(context["inside"])
            return report(str(context["message"]), place, remedy=context["remedy"])
        if kind == "json_invalid":
            deepest = max((path for path, _ in walk(data)), key=len)
            return report("the nesting is too deep", deepest[:_SHOWN_DEPTH])
        if kind in _UNKNOWN_KEY or "[key]" in error["loc"]:
            return self._unknown(path, report)
        if kind in _MISSING:
            example = self._example(path)
            what = f"{dotted(path)} is missing"
            return report(what, path, remedy=f"Add {example}" if example else None)
        value = _value_at(data, path)
        message, remedy = _unfit(dotted(path) or self.subject, self.expected(path), value, kind)
        if remedy is None:
            remedy = self._remedy(path, value)
        return report(message, path, remedy=remedy)

    def _unknown(self, path: KeyPath, report: Report) -> Problem:
        name = str(path[-1])
        known = self._known_keys(path[:-1])
        remedy = self.unknown_key(path) or did_you_mean(name, known)
        if remedy is None and known:
            remedy = f"Known here: {', '.join(known)}"
        where = f" in [{dotted(path[:-1])}]" if path[:-1] else ""
        return report(f"unknown key {quoted(name)}{where}", path, remedy=remedy, key=True)

    def _known_keys(self, path: KeyPath) -> list[str]:
        table = self.expected(path)
        names = _followed(table.get("propertyNames", {}), self.schema.get("$defs", {}))
        return [*table.get("properties", {}), *names.get("enum", ())]

    def _example(self, path: KeyPath) -> str | None:
        if not path:
            return None
        examples = self.expected(path).get("examples", ())
        return f"{path[-1]} = {toml_value(examples[0])}" if examples else None

    def _remedy(self, path: KeyPath, value: object) -> str | None:
        """The corrected value, for a single value in the place of a list; else an example."""
        schema = self.expected(path)
        if schema.get("type") == "array" and isinstance(value, str) and len(value) <= 60:
            return f"Write {path[-1]} = {toml_value([value])}"
        example = self._example(path)
        return f"Write for example {example}" if example else None


def schema_at(schema: Schema, path: KeyPath) -> Schema:
    """The part of a JSON Schema that describes a path, references followed; {} for none."""
    definitions = schema.get("$defs", {})
    part_schema = _followed(schema, definitions)
    for part in path:
        if isinstance(part, int):
            child = part_schema.get("items", {})
        else:
            child = part_schema.get("properties", {}).get(part)
            if child is None:
                child = part_schema.get("additionalProperties", {})
        part_schema = _followed(child if isinstance(child, Mapping) else {}, definitions)
    return part_schema


def toml_value(value: object, *, limit: int = 60) -> str:
    """A value in TOML syntax, on one line; texts are cut at ``limit`` characters."""
    if isinstance(value, Mapping):
        items = (f"{k} = {toml_value(v, limit=limit)}" for k, v in value.items())
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v, limit=limit) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value, limit=limit) if isinstance(value, str) else str(value)


def _followed(schema: Schema, definitions: Mapping[str, Any]) -> Schema:
    """The schema behind a reference, or behind "this or null"."""
    for alternative in schema.get("anyOf", ()):
        if alternative.get("type") != "null":
            siblings = {key: value for key, value in schema.items() if key != "anyOf"}
            return {**_followed(alternative, definitions), **siblings}
    if "$ref" in schema:
        target: Schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema


def _value_at(data: Any, path: KeyPath) -> object:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _unfit(name: str, schema: Schema, value: object, kind: str) -> tuple[str, str | None]:
    """Message and, if it is certain, remedy for a value that does not fit."""
    choices = [str(choice) for choice in schema.get("enum", ())]
    if choices and isinstance(value, str):
        what = f"{name} must be {one_of(choices)}, not {quoted(value)}"
        return what, did_you_mean(value, choices)
    if kind in _TOO_LONG:
        most = schema.get("maxLength", schema.get("maxItems", 0))
        unit = "characters" if isinstance(value, str) else "entries"
        return f"{name} may have at most {most:,} {unit}", None
    bounds = _bounds(schema)
    if bounds and kind in _OUT_OF_BOUNDS:
        return f"{name} must be {bounds}", None
    expected = " ".join(part for part in (_kind_expected(schema), bounds) if part)
    return f"{name} must be {expected}, not {_kind_of(value)}", None


_OUT_OF_BOUNDS = frozenset(
    {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
)
_TOO_LONG = frozenset({"too_long", "string_too_long"})


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"from {low:,} to {high:,}"
    if schema.get("exclusiveMinimum") is not None:
        most = f", at most {high:,}" if high is not None else ""
        return f"more than {schema['exclusiveMinimum']:,}{most}"
    if low is not None:
        return f"at least {low:,}"
    return f"at most {high:,}" if high is not None else ""


def _kind_expected(schema: Schema) -> str:
    if schema.get("enum"):
        return "one of " + ", ".join(str(choice) for choice in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items", {})
        plural = {
            "object": "tables",
            "array": "lists",
            "integer": "whole numbers",
            "number": "numbers",
        }
        return f"a list of {plural.get(str(items.get('type')), 'strings')}"
    names = {
        "string": "a string",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "object": "a table",
    }
    return names.get(str(kind), "something else")


def _kind_of(value: object) -> str:
    """The type of a value, in words. bool before int, because in Python a bool is an int."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return "a date or time"
    names: tuple[tuple[type, str], ...] = (
        (str, "a string"),
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (list, "a list"),
        (Mapping, "a table"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "this")


def walk(data: object) -> Iterator[tuple[KeyPath, object]]:
    """Every value with its path, the outermost first, without recursion."""
    waiting: list[tuple[KeyPath, object]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        if isinstance(value, Mapping):
            waiting += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), inner) for index, inner in enumerate(value)]


def _unfit_values(data: Mapping[str, Any], report: Report) -> list[Problem]:
    """Problems of dates, and of integers beyond TOML's 64 bits, at any depth; or of too deep nesting."""
    problems = []
    deepest: KeyPath = ()
    for path, value in walk(data):
        deepest = max(deepest, path, key=len)
        if isinstance(value, (datetime.date, datetime.time)):
            what = f"{dotted(path)} must not be a date or time"
            problems.append(report(what, path, remedy="Write it as text, in quotes"))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            what = f"{dotted(path)} is too large"
            problems.append(report(what, path, remedy="TOML integers have 64 bits"))
    return problems or [report("the nesting is too deep", deepest[:_SHOWN_DEPTH])]
