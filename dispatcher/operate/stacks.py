"""What ``disinto stack`` shows and sends: stacks of the inventory, and the actions about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dispatcher.operate.provisioned import DESTROYED, Kind, Resource, Resources, action_text
from dispatcher.operate.submission import AlreadyThere
from dispatcher.provision.params import BadParams, read_settings
from dispatcher.stack.lifecycle import DEPLOYING
from dispatcher.stack.params import (
    SETTINGS_FILE,
    StackParams,
    StackSettings,
    host_of,
)
from dispatcher.stack.platform import NAME, TOKEN

STACK = Kind(name="stack", create="stack", destroy="stack-destroy")
UPDATE, REAP = "stack-update", "stack-reap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack(Resource):
    """One stack, as it is shown."""

    UNFINISHED: ClassVar = frozenset({DEPLOYING})


@dataclass(frozen=True, kw_only=True)
class Stacks(Resources[Stack]):
    """Reads stacks."""

    kind: Kind = STACK
    make: type[Stack] = Stack


_TIMEOUT_MINUTES = 20


def deploying(action_id: str, params: Mapping[str, Any], secrets: Sequence[str] = ()) -> bytes:
    """The action that deploys a stack."""
    return _action(action_id, STACK.create, f"stack {params['name']}", params, secrets)


def updating(action_id: str, params: Mapping[str, Any], secrets: Sequence[str] = ()) -> bytes:
    """The action that changes one."""
    return _action(action_id, UPDATE, f"update stack {params['id']}", params, secrets)


def destroying(
    action_id: str, entry_id: str, *, formula: str = "", given: Mapping[str, Any] | None = None
) -> bytes:
    """The action that destroys one, by the formula that its entry names.

    Args:
        given: other params, by the entry.
    """
    params = {"id": entry_id, **(given or {})}
    return _action(action_id, formula or STACK.destroy, f"destroy stack {entry_id}", params)


def reaping(action_id: str, params: Mapping[str, Any]) -> bytes:
    """The action that finds stacks that nothing names, and removes them if its params say so."""
    return _action(action_id, REAP, "find stacks that are left over", params)


def refuse_second_update(stacks: Stacks, stack_id: str) -> None:
    """Raises ``AlreadyThere`` if an open action changes it."""
    stacks.refuse_second(UPDATE, stack_id, does="updates")


def check_name(name: str, stacks: Sequence[Stack], formulas: Path | None) -> str:
    """The host name that a new stack of this name gets; "" if the settings are not here.

    Args:
        stacks: those that exist, and are being created.
        formulas: the operator's directory of formulas, with the settings; None if it is not here.

    Raises:
        BadParams: the name cannot be used.
        AlreadyThere: it is taken.
    """
    settings = StackSettings()
    if formulas is not None:
        settings = read_settings(StackSettings, {"DISINTO_FILES": str(formulas)}, SETTINGS_FILE)
    suffix = settings.suffix or "invalid"
    try:
        host = host_of(StackParams(name=name, suffix=suffix), settings)
    except BadParams as error:
        raise BadParams(error.what.removeprefix("[params]: "), remedy=error.remedy) from None
    for stack in stacks:
        if stack.state != DESTROYED and name in (stack.text("name"), _named_by(stack)):
            raise AlreadyThere(f"the name {name} is taken, by {stack.id}", remedy="Choose another.")
    return host if settings.suffix else ""


def _named_by(stack: Stack) -> str:
    """The name of a stack that is being created, by its id as ``disinto stack deploy`` makes it."""
    name = stack.id.removeprefix("stack-")
    return name if stack.entry is None and NAME.fullmatch(name) else ""


def _action(
    action_id: str,
    formula: str,
    context: str,
    params: Mapping[str, Any],
    secrets: Sequence[str] = (),
) -> bytes:
    names = (TOKEN, *secrets)
    return action_text(action_id, formula, context, names, params, timeout_minutes=_TIMEOUT_MINUTES)
