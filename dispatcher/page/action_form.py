"""The form of a new action: fields from its formula's schema, and the file that they make. Pure.

A schema is written by whoever may push, so it decides what is asked for and nothing else: its texts are
shown as text, and what it does not say plainly becomes a field for TOML.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import tomli_w

from dispatcher.errors import Problem
from dispatcher.model.paths import ACTION_ENDING
from dispatcher.page.language import mark
from dispatcher.page.problems import FieldError

MOST_FIELDS = 60
"""Parameters that get a field each; a schema with more gets one field for all."""

TEXT_LIMIT = 500
"""Characters of a schema's text that are shown."""

MOST_CHOICES = 200

ALL = "params"
"""The field for TOML that takes all parameters together."""

PREFIX = "params."
"""Of the names of fields for parameters, which are also the paths of their problems."""

OWN = ("id", "context", "secrets")
"""Fields of every action."""


class Kind(StrEnum):
    """How a value is entered."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    YES_NO = "yes_no"
    CHOICE = "choice"
    LINES = "lines"
    TOML = "toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of the form.

    Attributes:
        name: of the field, and the path of its value in the action.
        label, hint: as the schema has them.
        value: as it was entered, or the default.
        choices: of a ``CHOICE``.
        error: what is wrong with the value; "" if nothing is known to be.
    """

    name: str
    label: str
    hint: str = ""
    kind: Kind = Kind.TEXT
    required: bool = False
    value: str = ""
    choices: tuple[str, ...] = ()
    error: str = ""


def fields_of(schema: Mapping[str, Any] | None) -> tuple[Field, ...]:
    """The fields of a formula's parameters.

    Args:
        schema: of the formula; None if it has none.
    """
    properties = schema.get("properties") if schema is not None else None
    if not isinstance(properties, Mapping) or len(properties) > MOST_FIELDS:
        return (Field(name=ALL, label=ALL, kind=Kind.TOML),)
    required = schema.get("required") if schema is not None else None
    wanted = required if isinstance(required, list) else []
    return tuple(
        _field(str(name), value, required=name in wanted) for name, value in properties.items()
    )


def filled(fields: Iterable[Field], form: Mapping[str, object]) -> tuple[Field, ...]:
    """The fields with the values of a form; those that it lacks are empty."""
    return tuple(replace(field, value=_entered(form.get(field.name))) for field in fields)


def with_errors(fields: Iterable[Field], errors: Iterable[FieldError]) -> tuple[Field, ...]:
    """The fields, each with what is wrong with it."""
    by_field: dict[str, list[str]] = {}
    for error in errors:
        by_field.setdefault(error.field, []).append(error.message)
    return tuple(replace(field, error="; ".join(by_field.get(field.name, ()))) for field in fields)


def action_of(
    formula: str, fields: Sequence[Field], form: Mapping[str, object]
) -> tuple[bytes, tuple[FieldError, ...]]:
    """The action's file as it will be merged, and what could not be read of the form.

    Args:
        fields: of the parameters, filled.
        form: has the fields of every action; of a program also ``params`` as an object.
    """
    errors: list[FieldError] = []
    given = form.get(ALL)
    params = dict(given) if isinstance(given, Mapping) else params_of(fields, errors)
    secrets = form.get("secrets", "")
    names = secrets if isinstance(secrets, list) else _entered(secrets).replace(",", " ").split()
    plain: dict[str, Any] = {
        "id": _entered(form.get("id")).strip(),
        "formula": formula,
        "context": _entered(form.get("context")).strip(),
        "secrets": [str(name) for name in names],
    }
    if params:
        plain["params"] = params
    try:
        return tomli_w.dumps(plain).encode("utf-8"), tuple(errors)
    except (TypeError, ValueError, RecursionError):
        errors.append(FieldError(field=ALL, message=mark("this cannot be written as TOML")))
        return b"", tuple(errors)


def errors_of(problems: Iterable[Problem], fields: Sequence[Field]) -> tuple[FieldError, ...]:
    """The problems of a file by the fields that they are about; "" for one about none."""
    names = {*OWN, *(field.name for field in fields)}
    return tuple(
        FieldError(
            field=_nearest(problem.field or "", names),
            message=". ".join(filter(None, (problem.message, problem.remedy or ""))),
        )
        for problem in problems
    )


def file_name(data: bytes) -> str:
    """The name of an action's file, by the id in it; "" if it has none that could be a name."""
    try:
        action_id = tomllib.loads(data.decode("utf-8")).get("id", "")
    except (ValueError, RecursionError):
        return ""
    plain = isinstance(action_id, str) and "/" not in action_id and "\0" not in action_id
    return f"{action_id}{ACTION_ENDING}" if plain and action_id else ""


def _nearest(path: str, names: Iterable[str]) -> str:
    """The field whose value holds what a path leads to: ``params.keys`` for ``params.keys[1]``."""
    within = [n for n in names if path == n or path.startswith((f"{n}.", f"{n}["))]
    return max(within, key=len, default="")


def _field(name: str, schema: Any, *, required: bool) -> Field:
    schema = schema if isinstance(schema, Mapping) else {}
    default = schema.get("default")
    choices = _choices(schema)
    kind = Kind.CHOICE if choices else _kind(schema)
    return Field(
        name=f"{PREFIX}{name}",
        label=_text(schema.get("title")) or name,
        hint=_text(schema.get("description")),
        kind=kind,
        required=required and kind is not Kind.YES_NO,
        value=_shown(default, kind),
        choices=choices,
    )


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    enum = schema.get("enum")
    if not isinstance(enum, list) or not 0 < len(enum) <= MOST_CHOICES:
        return ()
    return tuple(enum) if all(isinstance(each, str) for each in enum) else ()


def _kind(schema: Mapping[str, Any]) -> Kind:
    match schema.get("type"):
        case "string":
            return Kind.TEXT
        case "integer":
            return Kind.INTEGER
        case "number":
            return Kind.NUMBER
        case "boolean":
            return Kind.YES_NO
        case "array" if _of_strings(schema.get("items")):
            return Kind.LINES
    return Kind.TOML


def _of_strings(items: Any) -> bool:
    return isinstance(items, Mapping) and items.get("type") == "string"


def _shown(value: Any, kind: Kind) -> str:
    """A default as it would be entered; "" for one that this kind of field cannot show."""
    match kind, value:
        case Kind.YES_NO, bool():
            return "true" if value else ""
        case Kind.LINES, list():
            return "\n".join(str(each) for each in value)
        case (Kind.TEXT | Kind.CHOICE, str()) | (Kind.INTEGER | Kind.NUMBER, int() | float()):
            return str(value)
    return ""


def params_of(fields: Iterable[Field], errors: list[FieldError]) -> dict[str, Any]:
    """The parameters that were entered.

    Args:
        fields: filled.
        errors: what could not be read is added.
    """
    params: dict[str, Any] = {}
    for field in fields:
        if field.name == ALL:
            params.update(_toml(field, field.value, errors))
        elif field.value.strip() or field.kind is Kind.YES_NO:
            value = _value(field, errors)
            if value is not None:
                params[field.name.removeprefix(PREFIX)] = value
    return params


def _value(field: Field, errors: list[FieldError]) -> Any:
    text = field.value
    match field.kind:
        case Kind.YES_NO:
            return bool(text) and text != "false"
        case Kind.LINES:
            return [line for each in text.splitlines() if (line := each.strip())]
        case Kind.TOML:
            return _toml(field, f"value = {text}", errors).get("value")
        case Kind.INTEGER | Kind.NUMBER:
            number = int if field.kind is Kind.INTEGER else float
            try:
                return number(text.strip())
            except ValueError:
                errors.append(FieldError(field=field.name, message=mark("this is not a number")))
                return None
    return text


def _toml(field: Field, text: str, errors: list[FieldError]) -> dict[str, Any]:
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        why = str(error)[:200] if isinstance(error, ValueError) else "too deep"
        errors.append(FieldError(field=field.name, message=f"TOML: {why}"))
        return {}


def _entered(value: object) -> str:
    """A value of a form or of JSON as it would be entered."""
    match value:
        case bool():
            return "true" if value else ""
        case str():
            return value.replace("\r\n", "\n")
        case list():
            return "\n".join(str(each) for each in value)
        case int() | float():
            return str(value)
    return ""


def _text(value: Any) -> str:
    return value[:TEXT_LIMIT] if isinstance(value, str) else ""
