"""A formula's schema file, parsed and judged before anything is checked by it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatcher.schemas.bounded import BadPattern, compile_pattern, linear
from dispatcher.schemas.declarations import Declared, read_declared

SCHEMA_LIMIT = 64 * 1024
"""Bytes of a schema."""

MAX_DEPTH = 32
"""Levels of objects and lists in a schema, the schema itself being the first."""

MAX_PATTERNS = 200
"""Regular expressions in one schema."""

MAX_PARTS = 500
"""Schemas in one schema: a few milliseconds each."""

_REFERENCE_CHARACTERS = 500

DRAFT = "https://json-schema.org/draft/2020-12/schema"

EXTENSION = "x-disinto"

_REFUSED = {
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "$dynamicRef": "use $ref",
    "$dynamicAnchor": "use $defs",
    "$anchor": "use $defs",
    "$recursiveRef": "use $ref",
    "$vocabulary": "remove it",
}
_LITERAL = frozenset({"const", "enum", "default", "examples", EXTENSION})
"""Keywords whose values are data and hold no schema."""

_NAMES = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose values hold schemas by names that are not keywords."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InvalidSchema:
    """A schema that cannot be used, with everything that is wrong with it, in words."""

    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons)


@dataclass(frozen=True, kw_only=True, slots=True)
class FormulaSchema:
    """The schema of a formula's ``[params]``.

    Attributes:
        name: of its file, for messages.
        schema: the JSON Schema (Draft 2020-12). Kept out of ``repr``.
        declared: its ``x-disinto``.
    """

    name: str
    schema: Mapping[str, Any] = field(repr=False)
    declared: Declared


def parse_schema(data: bytes, *, name: str) -> FormulaSchema | InvalidSchema:
    """Parse a schema. Never raises because of its content.

    Args:
        data: the bytes of the file.
        name: the file's, for messages.
    """
    if len(data) > SCHEMA_LIMIT:
        return _invalid(f"{name} has {len(data):,} bytes, more than the {SCHEMA_LIMIT:,} allowed")
    loaded = _loaded(data, name)
    if isinstance(loaded, InvalidSchema):
        return loaded
    wrong = _wrong_parts(loaded) or _not_a_schema(loaded)
    declared = read_declared(loaded.get(EXTENSION))
    if isinstance(declared, list):
        wrong += declared
    if wrong or isinstance(declared, list):
        return InvalidSchema(reasons=tuple(f"{name}: {reason}" for reason in wrong[:10]))
    return FormulaSchema(name=name, schema=loaded, declared=declared)


def _loaded(data: bytes, name: str) -> dict[str, Any] | InvalidSchema:
    try:
        loaded = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        return _invalid(
            f"{name}:{error.lineno}:{error.colno}: this is not JSON: {error.msg[:1].lower()}"
            f"{error.msg[1:]}"
        )
    except UnicodeDecodeError:
        return _invalid(f"{name} is not UTF-8")
    except RecursionError:
        return _invalid(f"{name} is nested too deep")
    except ValueError as error:
        return _invalid(f"{name}: {error}"[:200])
    if not isinstance(loaded, dict):
        return _invalid(f"{name} is not a JSON object")
    return loaded


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without a name twice: what people read must be what counts."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{json.dumps(twice[:60])} is given twice")
    return made


def _invalid(reason: str) -> InvalidSchema:
    return InvalidSchema(reasons=(reason,))


def _wrong_parts(schema: dict[str, Any]) -> list[str]:
    """Depth, keywords that are not accepted, references that lead nowhere, and patterns."""
    wrong = []
    if schema.get("$schema", DRAFT) not in (DRAFT, f"{DRAFT}#"):
        wrong.append(f'"$schema" must be {DRAFT}')
    patterns = 0
    for number, (depth, part) in enumerate(_parts(schema)):
        if number > MAX_PARTS:
            return [*wrong, f"it has more than {MAX_PARTS} schemas inside"]
        if depth > MAX_DEPTH:
            return [*wrong, f"it is nested more than {MAX_DEPTH} levels deep"]
        wrong += [
            f"{json.dumps(key)} is not accepted: {_REFUSED[key]}" for key in part if key in _REFUSED
        ]
        if part is not schema and ("$id" in part or "$schema" in part):
            wrong.append('"$id" and "$schema" are accepted only at the top')
        wrong += _wrong_reference(part, schema)
        found = _patterns(part)
        patterns += len(found)
        if patterns > MAX_PATTERNS:
            return [*wrong, f"it has more than {MAX_PATTERNS} patterns"]
        wrong += _wrong_patterns(found)
    return wrong


def _parts(schema: dict[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Every schema in the schema, with its level; without recursion."""
    waiting: list[tuple[int, object, bool]] = [(1, schema, False)]
    while waiting:
        depth, value, names = waiting.pop()
        if depth > MAX_DEPTH + 1:
            yield depth, {}
            return
        if isinstance(value, list):
            waiting += [(depth + 1, item, False) for item in value]
        elif isinstance(value, dict):
            if not names:
                yield depth, value
            waiting += [
                (depth + 1, item, not names and key in _NAMES)
                for key, item in value.items()
                if names or key not in _LITERAL
            ]


def _wrong_reference(part: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    if "$ref" not in part:
        return []
    target = part["$ref"]
    if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
        return ['a "$ref" must lead to a place in this file, such as "#/$defs/name"']
    if len(target) > _REFERENCE_CHARACTERS or "%" in target:  # the library decodes it each time
        return [
            f'a "$ref" has at most {_REFERENCE_CHARACTERS} characters, and no "%": name places as they are'
        ]
    place: Any = schema
    for name in target[2:].split("/") if target != "#" else ():
        key = name.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or key not in place:
            return [f'there is no {json.dumps(target[:60])}, which a "$ref" names']
        place = place[key]
    return []


def _patterns(part: Mapping[str, Any]) -> list[str]:
    by_name, pattern = part.get("patternProperties"), part.get("pattern")
    return [
        *([pattern] if isinstance(pattern, str) else ()),
        *(by_name if isinstance(by_name, dict) else ()),
    ]


def _wrong_patterns(patterns: list[str]) -> list[str]:
    wrong = []
    for pattern in patterns:
        try:
            compile_pattern(pattern)
        except BadPattern as error:
            wrong.append(str(error))
    return wrong


def _not_a_schema(schema: dict[str, Any]) -> list[str]:
    """Whether it is one of Draft 2020-12, and of an object."""
    from jsonschema import Draft202012Validator

    checker = linear(Draft202012Validator)(Draft202012Validator.META_SCHEMA, format_checker=None)
    try:
        found = [
            f"{'/'.join(str(part) for part in error.absolute_path) or 'it'}: "
            f"{error.message if len(error.message) <= 120 else error.message[:120] + '…'}"
            for _, error in zip(range(3), checker.iter_errors(schema), strict=False)
        ]
    except RecursionError:
        return ["it is nested too deep"]
    if not found and schema.get("type", "object") != "object":
        found.append('"type" must be "object", as [params] is a table')
    return found
