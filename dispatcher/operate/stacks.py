"""What ``disinto stack`` shows and sends: stacks of the inventory, and the actions about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from dispatcher.operate.files import valid_open_actions
from dispatcher.operate.provisioned import Kind, Resource, Resources, action_text
from dispatcher.operate.submission import AlreadyThere
from dispatcher.provision.params import BadParams, read_record, read_settings
from dispatcher.stack.lifecycle import DEPLOYING
from dispatcher.stack.params import (
    SETTINGS_FILE,
    StackParams,
    StackSettings,
    host_of,
)
from dispatcher.stack.platform import TOKEN

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

    def names(self) -> dict[str, str]:
        """The ids of stacks by their names: of those that exist, believed, and of those that open actions
        are to make.
        """
        return dict(self._named())

    def ids_of(self, name: str) -> list[str]:
        """The ids of all that have a name, or are to have it, those that exist first."""
        return [stack_id for each, stack_id in reversed(list(self._named())) if each == name]

    def _named(self) -> Iterator[tuple[str, str]]:
        for action in valid_open_actions(self.repo, self.tree):
            if action.formula == self.kind.create:
                yield str(action.params.get("name")), action.id
        for stack in map(self._of, self.entries()):
            if name := stack.text("name"):
                yield name, stack.id


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


class NameState(StrEnum):
    """Whether a new stack may have a name."""

    FREE = "free"
    TAKEN = "taken"
    RESERVED = "reserved"
    MALFORMED = "malformed"


@dataclass(frozen=True, kw_only=True, slots=True)
class NameFound:
    """What there is to say about the name of a new stack.

    Attributes:
        reason: why it cannot be used, one sentence without a full stop; "" if it is free.
        host: the host name of the stack; "" if the settings are not here, or the name is malformed.
        by: id of the stack that has it, or "".
    """

    state: NameState
    reason: str = ""
    remedy: str = ""
    host: str = ""
    by: str = ""


def find_name(name: str, taken: Mapping[str, str], settings: StackSettings) -> NameFound:
    """Whether a new stack may have a name: by its form, the settings, and the other stacks. The server itself is
    asked by the run.

    Args:
        taken: ids of stacks, by name; see ``Stacks.names``.

    Raises:
        BadParams: the suffix in the settings cannot be used.
    """
    try:
        host_of(StackParams(name=name, suffix="invalid"), settings)
    except BadParams as error:
        reserved = name in settings.reserved
        return NameFound(
            state=NameState.RESERVED if reserved else NameState.MALFORMED,
            reason=error.what.removeprefix("[params]: "),
            remedy=error.remedy or "Such as alice, or team-7.",
        )
    host = host_of(StackParams(name=name), settings) if settings.suffix else ""
    by = taken.get(name, "")
    if by:
        reason = f"the name {name} is taken, by {by}"
        return NameFound(
            state=NameState.TAKEN, reason=reason, remedy="Choose another.", host=host, by=by
        )
    return NameFound(state=NameState.FREE, host=host)


def settings_from(data: bytes | None) -> StackSettings:
    """The settings of stacks, from the file beside the formulas; None if there is none.

    Raises:
        BadParams: they cannot be used.
    """
    return read_record(StackSettings, b"{}" if data is None else data, SETTINGS_FILE)


def check_name(name: str, stacks: Stacks, formulas: Path | None) -> str:
    """The host name that a new stack of this name gets; "" if the settings are not here.

    Args:
        formulas: the operator's directory of formulas, with the settings; None if it is not here.

    Raises:
        BadParams: the name cannot be used.
        AlreadyThere: it is taken.
    """
    settings = StackSettings()
    if formulas is not None:
        settings = read_settings(StackSettings, {"DISINTO_FILES": str(formulas)}, SETTINGS_FILE)
    found = find_name(name, stacks.names(), settings)
    if found.state is NameState.TAKEN:
        raise AlreadyThere(found.reason, remedy=found.remedy)
    if found.state is not NameState.FREE:
        raise BadParams(found.reason, remedy=found.remedy)
    return found.host


def _action(
    action_id: str,
    formula: str,
    context: str,
    params: Mapping[str, Any],
    secrets: Sequence[str] = (),
) -> bytes:
    names = (TOKEN, *secrets)
    return action_text(action_id, formula, context, names, params, timeout_minutes=_TIMEOUT_MINUTES)
