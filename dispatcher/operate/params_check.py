"""Checks ``[params]`` of an action file against its formula's schema, outside of ``serve``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dispatcher.errors import InvalidInput, NotFound, Problem
from dispatcher.loop.formulas import Unusable, formula_of_file
from dispatcher.model.action import Action
from dispatcher.model.formula_files import schema_name
from dispatcher.model.run import Formula, FormulaKind
from dispatcher.schemas import FormulaSchema, InvalidSchema, params_problems, parse_schema
from dispatcher.toml.explain import did_you_mean

Find = Callable[[str], Formula | Unusable | None]
"""Finds a formula by its name; None if it is not there."""


def in_directories(directories: Sequence[Path]) -> Find:
    """Finds formulas in directories, the first of which takes precedence."""

    def find(name: str) -> Formula | Unusable | None:
        for directory in directories:
            files = [f for kind in FormulaKind if (f := directory / f"{name}.{kind}").is_file()]
            if len(files) > 1:
                return Unusable(reason=f"formula {name} exists twice in {directory}: remove one")
            if files:
                return formula_of_file(files[0])
        return None

    return find


def first_of(*finds: Find | None) -> Find:
    """Finds a formula in the first place that has it."""

    def find(name: str) -> Formula | Unusable | None:
        for each in finds:
            if each is not None and (found := each(name)) is not None:
                return found
        return None

    return find


def schema_problems(action: Action, source: bytes, *, path: str, find: Find) -> tuple[Problem, ...]:
    """What of the params does not fit, and why the formula cannot be used; () for a formula that
    has no schema, or that is not found here.
    """
    found = find(action.formula)
    if isinstance(found, Unusable):
        return (Problem(message=found.reason, path=path, field="formula"),)
    schema = _schema(found) if found is not None else None
    return params_problems(schema, action.params, source, path=path) if schema is not None else ()


def schema_named(name: str, *, find: Find, known: Sequence[str]) -> FormulaSchema:
    """The schema of a formula.

    Args:
        known: names of the formulas there are, for the remedy.

    Raises:
        NotFound: there is no such formula, or it has no schema.
        InvalidInput: formula or schema cannot be used.
    """
    found = find(name)
    if found is None:
        raise NotFound(f"there is no formula {name}", remedy=did_you_mean(name, known))
    if isinstance(found, Unusable):
        raise InvalidInput([Problem(message=found.reason, path=schema_name(name))])
    schema = _schema(found)
    if schema is None:
        raise NotFound(
            f"formula {name} has no schema",
            remedy=f"Put {schema_name(name)} beside it to have the params of its actions checked.",
        )
    return schema


def _schema(formula: Formula) -> FormulaSchema | None:
    if formula.schema is None:
        return None
    parsed = parse_schema(formula.schema, name=schema_name(formula.ref.name))
    return None if isinstance(parsed, InvalidSchema) else parsed
