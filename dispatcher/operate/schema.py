"""JSON Schemas of the files that people write and read, so that editors complete and check them.

They are derived from the models that validate the files, so the two cannot disagree. Rules that a
schema cannot express (an id is its file's name, secrets differ by more than case) are left to
``disinto validate``.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from pydantic import TypeAdapter

from dispatcher.decide import policy, sidecar_rules
from dispatcher.model import action, schedule
from dispatcher.model.result import Result
from dispatcher.settings import settings_model
from dispatcher.toml.explain import schema_at

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_DISPATCH_MODE = {
    "description": "Accepted for older repositories and ignored: it grants nothing.",
    "deprecated": True,
}


def schema(kind: str) -> dict[str, Any]:
    """The schema of ``action``, ``result``, ``settings``, ``policy``, ``sidecars`` or ``schedule``.

    Raises:
        KeyError: another kind.
    """
    makers = {
        "action": action_schema,
        "result": result_schema,
        "settings": settings_schema,
        "policy": policy_schema,
        "sidecars": sidecars_schema,
        "schedule": schedule_schema,
    }
    return makers[kind]()


def action_schema() -> dict[str, Any]:
    """Of ``vault/actions/<id>.toml``."""
    made = _for_toml(_finished(dict(action.READER.schema), title="Action"))
    made["properties"]["dispatch_mode"] = dict(_DISPATCH_MODE)
    return made


def result_schema() -> dict[str, Any]:
    """Of ``vault/actions/<id>.result.json``, as it is written."""
    return _finished(Result.model_json_schema(mode="serialization"), title="Result")


def settings_schema() -> dict[str, Any]:
    """Of ``disinto.toml``."""
    return _for_toml(_finished(TypeAdapter(settings_model()).json_schema(), title="Settings"))


def policy_schema() -> dict[str, Any]:
    """Of ``policy.toml``."""
    return _for_toml(_finished(dict(policy.READER.schema), title="Policy"))


def sidecars_schema() -> dict[str, Any]:
    """Of ``sidecars.toml``."""
    return _for_toml(_finished(dict(sidecar_rules.READER.schema), title="Sidecars"))


def schedule_schema() -> dict[str, Any]:
    """Of ``vault/schedules/<name>.toml``; its action has the keys that ``action_schema`` describes,
    without those that are made for each slot.
    """
    made = _for_toml(_finished(dict(schedule.READER.schema), title="Schedule"))
    table = action_schema()
    definitions = table.pop("$defs", {})
    del table["$schema"]
    for key in (*schedule.OF_EACH_SLOT, "dispatch_mode"):
        table["properties"].pop(key, None)
    table["required"] = [key for key in table["required"] if key in table["properties"]]
    used = json.dumps(table)
    made.setdefault("$defs", {}).update(
        {name: each for name, each in definitions.items() if f'"#/$defs/{name}"' in used}
    )
    about = made["properties"]["action"]["description"]
    made["properties"]["action"] = {**table, "title": "action", "description": about}
    return made


def _finished(made: dict[str, Any], *, title: str) -> dict[str, Any]:
    """The schema with the draft named first, and the keys' own names instead of pydantic's titles."""
    made = copy.deepcopy(made)
    for table in (made, *made.get("$defs", {}).values()):
        for name, key in table.get("properties", {}).items():
            key["title"] = name
    return {"$schema": DRAFT, **made, "title": title}


def _for_toml(made: dict[str, Any]) -> dict[str, Any]:
    """The schema without null, which TOML lacks: an optional key has its one type."""
    definitions = made.get("$defs", {})
    for table in (made, *definitions.values()):
        keys = table.get("properties", {})
        for name, key in keys.items():
            if any(kind.get("type") == "null" for kind in key.get("anyOf", ())):
                resolved = schema_at({"$defs": definitions, "properties": {name: key}}, (name,))
                keys[name] = {k: v for k, v in resolved.items() if k != "default"}
    return made
