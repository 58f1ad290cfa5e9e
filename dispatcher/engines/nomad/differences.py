"""The difference that Nomad's plan reports, as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]

_SIGNS = {"Added": "+", "Deleted": "-", "Edited": "~"}


def differences(diff: Json | None) -> list[str]:
    """One line for each changed field or block, such as ``~ group run: count: 1 => 2``.

    Empty if the plan reports no change. Types of Nomad's diff, 2.0.5:
    ``nomad/structs/diff.go``.
    """
    if not diff or diff.get("Type") == "None":
        return []
    return list(_job(diff))


def _job(diff: Json) -> Iterator[str]:
    if diff.get("Type") == "Added":
        yield "+ the whole job"
        return
    yield from _inside(diff, "")
    for group in diff.get("TaskGroups") or []:
        where = f"group {group.get('Name', '')}"
        if group.get("Type") in ("Added", "Deleted"):
            yield f"{_SIGNS[group['Type']]} {where}"
            continue
        yield from _inside(group, f"{where}: ")
        for task in group.get("Tasks") or []:
            named = f"task {task.get('Name', '')}"
            if task.get("Type") in ("Added", "Deleted"):
                yield f"{_SIGNS[task['Type']]} {where}: {named}"
                continue
            yield from _inside(task, f"{where}: {named}: ")


def _inside(diff: Json, where: str) -> Iterator[str]:
    for field in diff.get("Fields") or []:
        sign = _SIGNS.get(field.get("Type", ""))
        if sign:
            old, new = field.get("Old", ""), field.get("New", "")
            yield f"{sign} {where}{field.get('Name', '')}: {_value(old)} => {_value(new)}"
    for block in diff.get("Objects") or []:
        sign = _SIGNS.get(block.get("Type", ""))
        if not sign:
            continue
        name = block.get("Name", "")
        if block.get("Type") == "Edited":
            yield from _inside(block, f"{where}{name}: ")
        else:
            yield f"{sign} {where}{name}"


def _value(text: str) -> str:
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    return f'"{shown}"'
