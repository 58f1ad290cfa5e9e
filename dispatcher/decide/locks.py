"""The name of an action's lock: its own, or what the policy gives its formula. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dispatcher.errors import Problem
from dispatcher.model.names import ID_RULE, is_id
from dispatcher.toml.source import quoted

if TYPE_CHECKING:
    from dispatcher.decide.policy import Policy
    from dispatcher.model.action import Action

_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_-]{1,100})\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """What was found out about an action's lock.

    Attributes:
        name: of the lock; "" for none.
        problem: why the action cannot run, in words, with the remedy; "" if nothing is wrong.
        field: the key of the action that the problem is about.
    """

    name: str = ""
    problem: str = ""
    field: str = "lock"


def template_problem(template: str) -> str:
    """What is wrong with the lock that a policy gives a formula; "" if nothing is."""
    rest = _PLACEHOLDER.sub("x", template)
    if template and not is_id(rest):
        return f"{quoted(template)} cannot become the name of a lock. {ID_RULE}"
    return ""


def lock_of(policy: Policy, action: Action) -> Lock:
    """The lock of an action. An action cannot leave the lock that the policy gives its formula: it
    may name the same, and no other.
    """
    entry = policy.formulas.get(action.formula)
    given = _filled(entry.lock, action) if entry and entry.lock else Lock()
    if given.problem:
        return given
    if given.name and action.lock and action.lock != given.name:
        return Lock(
            problem=f"the policy gives formula {action.formula} the lock {quoted(given.name)}, and "
            f"an action cannot take another. Remove lock, or write lock = {quoted(given.name)}"
        )
    name = given.name or action.lock or ""
    if action.supersedes and not name:
        return Lock(
            problem='supersedes needs a lock. Add one, for example lock = "prod-web"',
            field="supersedes",
        )
    return Lock(name=name)


def lock_problems(policy: Policy, action: Action, *, path: str) -> tuple[Problem, ...]:
    """What is wrong with the lock of the action in the file at ``path``."""
    lock = lock_of(policy, action)
    if not lock.problem:
        return ()
    return (Problem(message=lock.problem, path=path, field=lock.field),)


def _filled(template: str, action: Action) -> Lock:
    """A policy's template with the action's parameters in it."""
    name = template
    for placeholder in dict.fromkeys(_PLACEHOLDER.findall(template)):
        value = action.params.get(placeholder)
        if not isinstance(value, str | int) or isinstance(value, bool):
            return Lock(
                problem=f"the lock {quoted(template)} of formula {action.formula} needs the "
                f"parameter {placeholder}, a string or a whole number. Add it to [params]",
                field=f"params.{placeholder}",
            )
        if not re.fullmatch(r"[a-z0-9_-]{1,100}", str(value)):
            return Lock(
                problem=f"{quoted(str(value))} cannot be part of the lock {quoted(template)}. Use "
                "a-z, 0-9, - and _, at most 100",
                field=f"params.{placeholder}",
            )
        name = name.replace("{" + placeholder + "}", str(value))
    if not is_id(name):
        return Lock(
            problem=f"{quoted(name)} cannot be used as the name of a lock. {ID_RULE}",
            field="params",
        )
    return Lock(name=name)
