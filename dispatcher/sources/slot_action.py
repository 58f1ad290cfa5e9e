"""The action that a schedule would write, with its problems at their place in the schedule's file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from dispatcher.errors import Problem
from dispatcher.toml.source import KeyPath, TomlSource

_PART = re.compile(r"\[(\d+)\]|([A-Za-z0-9_-]+)")


def relocated(problems: Iterable[Problem], source: TomlSource) -> tuple[Problem, ...]:
    """Problems of the action, at the keys of the schedule's table ``[action]`` that they come from.

    Args:
        source: the schedule's file.
    """
    return tuple(_relocated(problem, source) for problem in problems)


def _relocated(problem: Problem, source: TomlSource) -> Problem:
    path = _path(problem.field or "")
    unknown = problem.message.startswith("unknown key")
    at = source.problem(problem.message, ("action", *path), remedy=problem.remedy, key=unknown)
    return replace(at, field=f"action.{problem.field}" if problem.field else "action")


def _path(field: str) -> KeyPath:
    return tuple(int(index) if index else key for index, key in _PART.findall(field))
