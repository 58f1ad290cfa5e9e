"""The form of a stack, new or to be changed: fields from the formula's schema, and the params they make. Pure.

The environment is entered as lines ``NAME=value``, and what is as the schema has it by default is left out of
the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dispatcher.page.action_form import (
    PREFIX,
    Field,
    Kind,
    fields_of,
    filled,
    params_of,
    with_errors,
)
from dispatcher.page.language import mark
from dispatcher.page.problems import FieldError

NAME, ENVIRONMENT = f"{PREFIX}name", f"{PREFIX}environment"

LINES = (ENVIRONMENT, f"{PREFIX}environment_secrets")
"""Fields that take one thing in each line, whatever the schema refers to."""

FIRST = (NAME, f"{PREFIX}image", *LINES)
"""Fields that everybody sees; the others are folded away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StackForm:
    """A stack as far as it was entered.

    Attributes:
        defaults: values by field, before anything was entered.
        errors: about no field.
    """

    fields: tuple[Field, ...]
    defaults: Mapping[str, str]
    errors: tuple[str, ...] = ()

    @property
    def first(self) -> tuple[Field, ...]:
        """The fields that everybody sees, in that order."""
        by_name = {field.name: field for field in self.fields}
        return tuple(by_name[name] for name in FIRST if name in by_name)

    @property
    def more(self) -> tuple[Field, ...]:
        """The others."""
        return tuple(field for field in self.fields if field.name not in FIRST)

    @property
    def unfolded(self) -> bool:
        """Whether something of the others was entered, or is wrong."""
        return any(f.error or f.value != self.defaults[f.name] for f in self.more)

    @property
    def carried(self) -> Mapping[str, str]:
        """All that was entered, for a form without fields."""
        return {field.name: field.value for field in self.fields if field.value}

    @property
    def wrong(self) -> bool:
        """Whether anything is said to be."""
        return bool(self.errors) or any(field.error for field in self.fields)

    def value(self, name: str) -> str:
        """What a field was given."""
        return next((field.value for field in self.fields if field.name == name), "")

    def params(self) -> tuple[dict[str, Any], tuple[FieldError, ...]]:
        """``[params]`` of the action, and what could not be read."""
        errors: list[FieldError] = []
        entered = [f for f in self.fields if f.value.strip() != self.defaults[f.name].strip()]
        params = params_of(entered, errors)
        lines = params.get("environment")
        if isinstance(lines, list):
            params["environment"] = _variables(lines, errors)
        return {key: _plain(value) for key, value in params.items()}, tuple(errors)

    def refused(self, errors: Sequence[FieldError]) -> StackForm:
        """The same with each error at its field."""
        known = {field.name for field in self.fields}
        own = [error for error in errors if error.field in known]
        rest = tuple(error.message for error in errors if error.field not in known)
        return replace(self, fields=with_errors(self.fields, own), errors=rest)


def begin(
    schema: Mapping[str, Any] | None,
    *,
    without: Collection[str] = (),
    needed: Collection[str] = (),
) -> StackForm:
    """An empty form, with the defaults of a schema.

    Args:
        without: params that are not asked for.
        needed: params that must be given, although the schema does not say so.
    """
    left_out = {f"{PREFIX}{name}" for name in without}
    asked = (field for field in fields_of(schema) if field.name not in left_out)
    must = {f"{PREFIX}{name}" for name in needed}
    fields = tuple(
        replace(
            f,
            kind=Kind.LINES if f.name in LINES else f.kind,
            required=f.required or f.name in must,
        )
        for f in asked
    )
    return StackForm(fields=fields, defaults={field.name: field.value for field in fields})


def entered(form: StackForm, given: Mapping[str, object]) -> StackForm:
    """The same with what a form was given."""
    return replace(form, fields=filled(form.fields, given))


def as_before(form: StackForm, params: Mapping[str, object]) -> StackForm:
    """The same with the params of an earlier action."""
    given = {f"{PREFIX}{name}": value for name, value in params.items()}
    variables = params.get("environment")
    if isinstance(variables, Mapping):
        given[ENVIRONMENT] = [f"{name}={value}" for name, value in variables.items()]
    fields = (f if f.name not in given else filled([f], given)[0] for f in form.fields)
    return replace(form, fields=tuple(fields))


def _variables(lines: Sequence[str], errors: list[FieldError]) -> dict[str, str]:
    values = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name.strip() or not equals:
            message = mark("each line is a name, an equals sign and a value")
            errors.append(FieldError(field=ENVIRONMENT, message=message))
            return {}
        values[name.strip()] = value
    return values


def _plain(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
