"""Settings from the environment: which variables set a key, and their values."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.errors import Problem
from dispatcher.settings_file import ENV_PREFIX
from dispatcher.toml.explain import Schema, schema_at, walk
from dispatcher.toml.source import KeyPath

NOT_SETTINGS = frozenset(
    f"{ENV_PREFIX}{name}"
    for name in [
        "CONFIG",
        "REQUIRE",
        "ACTION_ID",
        "FORMULA",
        "CONTEXT",
        "COMMIT",
        "TIER",
        "APPROVED_BY",
        "MODEL",
        "TOOLS",
        "PARAMS",
        "OUTPUTS",
        "WORKDIR",
    ]
)
"""Variables of ours with another meaning: the settings file, the tests' demand for servers, and
what a formula's environment holds (a formula may call this program)."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """An environment variable that sets a key."""

    name: str
    path: KeyPath
    text: str
    schema: Schema

    @property
    def example(self) -> str:
        """How a list or a table is written in a variable."""
        return "[…]" if self.schema.get("type") == "array" else '{"key": "value"}'

    def value(self) -> object:
        """The value of the text, in the key's type if it can be parsed as such.

        None unsets a path. Text that does not fit stays text, for the model to reject.

        Raises:
            json.JSONDecodeError: a table, a list of other things than texts, or a list that begins
                with ``[``, is not JSON.
        """
        text = self.text.strip()
        kind = self.schema.get("type")
        if kind == "array":
            plain = "type" not in self.schema["items"] or self.schema["items"]["type"] == "string"
            return _split(text) if plain and not text.startswith("[") else json.loads(text or "[]")
        if kind == "object":
            return json.loads(text or "{}")
        if self.schema.get("format") == "path" and not text:
            return None
        if kind == "boolean":
            return _boolean(text)
        if kind in ("integer", "number"):
            return _number(text)
        return self.text


def variables(
    environ: Mapping[str, str], schema: Schema, customary: Mapping[str, KeyPath]
) -> Iterator[Variable]:
    """The variables that set a key; customary ones (if not empty) first, own ones override them."""
    names = known_variables(schema)
    given: list[tuple[str, KeyPath]] = [
        *((name, path) for name, path in customary.items() if environ.get(name)),
        *((name, names[name]) for name in sorted(environ.keys() & names.keys())),
    ]
    for name, path in given:
        described = schema_at(schema, path)
        yield Variable(name=name, path=path, text=environ[name], schema=described)


def known_variables(schema: Schema) -> dict[str, tuple[str, ...]]:
    """Every own variable by name, with its key."""
    paths: dict[str, tuple[str, ...]] = {}
    for section in schema["properties"]:
        inner = schema_at(schema, (section,)).get("properties")
        for path in [(section, key) for key in inner] if inner else [(section,)]:
            paths[ENV_PREFIX + "__".join(path).upper()] = path
    return paths


def unknown_variables(
    environ: Mapping[str, str], schema: Schema, data: Mapping[str, Any]
) -> list[Problem]:
    """Problems of variables that look like a setting but are not.

    Names with ``__`` are checked, and names that resemble a setting's. A variable that a setting
    names (``token_env``) is accepted.
    """
    known = known_variables(schema)
    named = {str(value) for path, value in walk(data) if path and str(path[-1]).endswith("_env")}
    for section in schema["properties"]:
        for key, inner in schema_at(schema, (section,)).get("properties", {}).items():
            if key.endswith("_env"):
                named.add(str(inner.get("default", "")))
    problems = []
    for name in sorted(environ):
        prefixed = name.startswith(ENV_PREFIX) and name not in known
        if not prefixed or name in named or name in NOT_SETTINGS:
            continue
        nested = "__" in name.removeprefix(ENV_PREFIX)
        cutoff = 0.6 if nested else 0.9
        close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
        if nested or close:
            remedy = f"Did you mean {close[0]}?" if close else "Unset it"
            problems.append(Problem(message="there is no such setting", path=name, remedy=remedy))
    return problems


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _boolean(text: str) -> bool | str:
    if text.lower() in _TRUE:
        return True
    return False if text.lower() in _FALSE else text


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
