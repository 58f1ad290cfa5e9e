"""Validation by a JSON Schema that somebody hostile may have written.

The library jsonschema (Draft 2020-12) evaluates; this bounds what it can cost, whatever the schema:

* Every keyword that is evaluated counts against ``BUDGET``, with every entry that it looks at, of the params
  and of the schema, and every error with the value that its text repeats. So references which name each other
  (two of the next, thirty times) end early, and so does what looks at a long list again and again. The count
  does not depend on the machine: the same params and schema give the same answer everywhere.
* Patterns are matched by RE2, in time linear in the text, with a bound on the compiled pattern, and
  without the interpreter's lock. Look-ahead, look-behind and back-references do not exist there.
* A reference is to a place in the same file (``#/…``). Nothing is fetched.
* Keywords whose evaluation the library repeats out of sight (``unevaluated…``, ``$dynamicRef``) are
  not accepted: see ``formula_schema``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache, partial
from itertools import islice
from typing import Any

BUDGET = 40_000
"""Steps that one validation may take: keywords, and entries that they look at; a second or two at worst."""

PATTERN_MEMORY = 256 * 1024
"""Bytes that RE2 may use for one pattern: some thousand states."""

PATTERN_TEXT = 8 * 1024
"""Characters of the longest text that is matched against a pattern."""

_COMPILE_COST = 50
_STEPS_PER_COST = 10_000
_REFERENCE_COST = 4  # the library finds the place each time
_NAMES_PER_COST = 50
"""Names in the schema that are looked up in the time of one step."""

_WRITTEN_PER_COST = 20
"""Entries that are written into the text of an error in the time of one step."""

_CHARACTERS_PER_COST = 100
"""Characters of JSON that are written in the time of one step."""

_EACH = frozenset({"items", "contains", "propertyNames", "properties", "dependentSchemas"})
"""Keywords that look at each entry of the params, also if their own schema is empty."""

_REMEMBERED_PATTERNS = 500

Schema = Mapping[str, Any]


class TooExpensive(Exception):
    """The schema cannot be evaluated within its bounds; the text says why."""


class BadPattern(ValueError):
    """A regular expression that RE2 does not accept; the text says why."""


def errors(schema: Schema, instance: object) -> Iterator[Any]:
    """The library's errors, in no certain order.

    Raises:
        TooExpensive: see its class.
    """
    from referencing.exceptions import Unresolvable

    budget = _Budget()
    validator = _validator(budget)(schema, registry=_no_registry())
    try:
        yield from validator.iter_errors(instance)
    except RecursionError:
        raise TooExpensive("its references nest too deep, or name each other") from None
    except Unresolvable:
        raise TooExpensive("it has a reference to what is not in it") from None
    except (ArithmeticError, ValueError, TypeError, KeyError) as error:
        raise TooExpensive(f"it cannot be evaluated: {type(error).__name__}") from None


@cache
def _no_registry() -> Any:
    from jsonschema.validators import SPECIFICATIONS

    return SPECIFICATIONS  # the drafts themselves, from the library; it retrieves nothing


class _Budget:
    """What is left of the cost of one validation."""

    def __init__(self, left: int = BUDGET) -> None:
        self._left = left
        self._sizes: dict[int, tuple[object, int]] = {}
        self._compiled: set[str] = set()

    def spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise TooExpensive(f"checking the params against it takes more than {BUDGET:,} steps")

    def keyword(self, name: str, value: object, instance: object) -> None:
        """Spend what the evaluation of a keyword costs, without that of the schemas inside."""
        cost = 1
        if name == "$ref":
            cost += _REFERENCE_COST
        elif name in ("const", "enum"):
            cost += self._size(value)
        elif name == "dependentRequired":
            cost += self._size(value) // _NAMES_PER_COST
        elif isinstance(value, list):
            cost += len(value)
        elif isinstance(value, dict):
            cost += len(value) // _NAMES_PER_COST
        if name in _EACH and isinstance(instance, list | dict):
            cost += len(instance)
        self.spend(cost)

    def error(self, value: object, instance: object) -> None:
        """Spend what an error costs: the library writes both into its text."""
        self.spend(1 + (self._size(value) + self._size(instance)) // _WRITTEN_PER_COST)

    def _size(self, value: object) -> int:
        """Entries of a JSON value and of what is in it, and its characters as so many as take as long."""
        known = self._sizes.get(id(value))
        if known is None:
            known = self._sizes[id(value)] = (value, _size(value))  # the value, to keep its id
        return known[1]

    def matches(self, pattern: str, text: str) -> bool:
        """Whether RE2 finds the pattern in a text."""
        if len(text) > PATTERN_TEXT:
            raise TooExpensive(
                f"a text of {len(text):,} characters is to be matched against a pattern, more than "
                f"{PATTERN_TEXT:,}; give it a maxLength in a schema of its own"
            )
        try:
            compiled = compile_pattern(pattern)
        except BadPattern as error:
            raise TooExpensive(str(error)) from None
        fresh = pattern not in self._compiled
        self._compiled.add(pattern)
        cost = _COMPILE_COST * fresh + compiled.programsize * len(text) // _STEPS_PER_COST
        self.spend(1 + cost)
        return compiled.search(text) is not None


@lru_cache(maxsize=_REMEMBERED_PATTERNS)
def compile_pattern(pattern: str) -> Any:
    """A pattern, compiled by RE2.

    Raises:
        BadPattern: it is not one.
    """
    import re2

    options = re2.Options()
    options.max_mem = PATTERN_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(
            f"the pattern {json.dumps(pattern[:60])} is not accepted: {text[:100]}"
        ) from None


def _validator(budget: _Budget) -> Any:
    """A validator class that spends this budget."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def counted(name: str, check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            budget.keyword(name, value, instance)
            for error in check(validator, value, instance, schema) or ():
                budget.error(value, instance)
                yield error

        return run

    own = _own_keywords(budget)
    keywords = {**Draft202012Validator.VALIDATORS, **own}
    counting = {name: counted(name, check) for name, check in keywords.items()}
    return extend(Draft202012Validator, counting)


def linear(validator: Any) -> Any:
    """A validator class of the library without its keyword of quadratic time; nothing else is bounded."""
    from jsonschema.validators import extend

    return extend(validator, {"uniqueItems": partial(_unique_items, _Budget(sys.maxsize))})


def _own_keywords(budget: _Budget) -> dict[str, Callable[..., Iterator[Any]]]:
    """Keywords that the library implements by Python's ``re``, in quadratic time, or keeping all errors."""
    return {
        "anyOf": _any_of,
        "oneOf": _one_of,
        "pattern": partial(_pattern, budget),
        "patternProperties": partial(_pattern_properties, budget),
        "additionalProperties": partial(_additional_properties, budget),
        "uniqueItems": partial(_unique_items, budget),
    }


def _error(text: str, *path: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(text, path=path)


def _pattern(
    budget: _Budget, _validator: Any, value: str, instance: Any, _schema: Any
) -> Iterator[Any]:
    if isinstance(instance, str) and not budget.matches(value, instance):
        yield _error("does not match")


def _pattern_properties(
    budget: _Budget, validator: Any, value: Schema, instance: Any, _schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for expression, subschema in value.items():
        for name, item in instance.items():
            if budget.matches(expression, name):
                yield from validator.descend(item, subschema, path=name, schema_path=expression)


def _additional_properties(
    budget: _Budget, validator: Any, value: Any, instance: Any, schema: Schema
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    named, expressions = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in instance.items():
        budget.spend(1)
        if name in named or any(budget.matches(each, name) for each in expressions):
            continue
        if value is False:
            yield _error("unknown key", name)
        else:
            yield from validator.descend(item, value, path=name)


def _any_of(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if not any(_fits(validator, each, instance) for each in value):
        yield _error("fits none of them")


def _one_of(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    fitting = (each for each in value if _fits(validator, each, instance))
    if len(list(islice(fitting, 2))) != 1:
        yield _error("fits none or several of them")


def _fits(validator: Any, schema: Any, instance: Any) -> bool:
    return next(iter(validator.descend(instance, schema)), None) is None


def _unique_items(
    budget: _Budget, _validator: Any, value: Any, instance: Any, _schema: Any
) -> Iterator[Any]:
    if not value or not isinstance(instance, list):
        return
    texts = set()
    for item in instance:
        text = json.dumps(_canonical(item), sort_keys=True)
        budget.spend(1 + len(text) // _CHARACTERS_PER_COST)
        texts.add(text)
    if len(texts) < len(instance):
        yield _error("has an entry twice")


def _size(value: object) -> int:
    """Entries of a JSON value, at all levels, and its characters as so many as take as long."""
    waiting, size = [value], 0
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            size += len(item) + sum(map(len, item)) // _CHARACTERS_PER_COST
        elif isinstance(item, list):
            waiting += item
            size += len(item)
        elif isinstance(item, str):
            size += len(item) // _CHARACTERS_PER_COST
    return size


def _canonical(value: Any) -> Any:
    """A JSON value in which equal numbers are of one type."""
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
