"""The schema of an action that names a formula: an action's own, with the formula's for ``[params]``."""

from __future__ import annotations

import copy
from typing import Any

from dispatcher.schemas.formula_schema import EXTENSION, FormulaSchema

_PLACE = "params"


def combined(action: dict[str, Any], formula: str, schema: FormulaSchema) -> dict[str, Any]:
    """The schema of actions that name this formula.

    Args:
        action: the schema of an action.
    """
    made = copy.deepcopy(action)
    inside = {k: v for k, v in schema.schema.items() if k not in ("$schema", "$id", EXTENSION)}
    definitions = made.setdefault("$defs", {})
    name = _PLACE
    while name in definitions:
        name += "_"
    definitions[name] = _moved(copy.deepcopy(inside), f"#/$defs/{name}")
    properties = made["properties"]
    properties["formula"] = {**properties["formula"], "const": formula}
    about = {k: v for k, v in properties["params"].items() if k in ("title", "description")}
    properties["params"] = {**about, "$ref": f"#/$defs/{name}"}
    if schema.schema.get("required"):
        made["required"] = [*made.get("required", ()), "params"]
    return made


def _moved(value: Any, root: str) -> Any:
    """A schema whose references begin at its new place."""
    if isinstance(value, list):
        return [_moved(item, root) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: root + item[1:]
        if key == "$ref" and isinstance(item, str)
        else (item if key in ("const", "enum", "default", "examples") else _moved(item, root))
        for key, item in value.items()
    }
