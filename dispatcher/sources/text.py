"""The file of an action that a source wants, before it is signed. Pure."""

from __future__ import annotations

from dispatcher.errors import Problem
from dispatcher.model.action import MAX_ACTION_BYTES, Action, InvalidAction, parse_action
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH
from dispatcher.model.source import TABLE
from dispatcher.sources.base import Wanted

SIGNATURE_BYTES = 200
"""More than the line of the signature has."""

_UNSIGNED = f"{'0' * 64}:{'A' * 86}=="


def action_text(kind: str, wanted: Wanted) -> str:
    """The file without its signature: the same for the same wish, byte for byte."""
    import tomli_w  # only what writes actions needs it

    about = (
        f"# Written by the dispatcher for {kind} {wanted.name}; not to be edited: see [{TABLE}]."
    )
    source = {"kind": kind, "name": wanted.name, "occasion": wanted.occasion}
    if wanted.definition:
        source |= {"definition": wanted.definition, "blob": wanted.blob}
    body = tomli_w.dumps({"id": wanted.action_id, **wanted.action, TABLE: source})
    return f"{about}\n{body}"


def parsed(kind: str, wanted: Wanted, *, limit: int = MAX_ACTION_BYTES) -> Action | InvalidAction:
    """What is wanted as an action, or why it cannot be one.

    Args:
        limit: maximum bytes of an action file.
    """
    path = f"{ACTIONS_PATH}/{wanted.action_id}{ACTION_ENDING}"
    reserved = {"id", TABLE} & wanted.action.keys()
    if reserved:
        problem = Problem(message=f"{', '.join(sorted(reserved))} cannot be chosen", path=path)
        return InvalidAction(id=wanted.action_id, problems=(problem,))
    text = action_text(kind, wanted) + f'signature = "{_UNSIGNED}"\n'
    return parse_action(text.encode(), path=path, stem=wanted.action_id, limit=limit)


def problems_of(kind: str, wanted: Wanted, *, limit: int = MAX_ACTION_BYTES) -> tuple[Problem, ...]:
    """Why what is wanted cannot be an action file; () for a good one."""
    action = parsed(kind, wanted, limit=limit)
    return action.problems if isinstance(action, InvalidAction) else ()
