"""What ``disinto desktop`` and ``disinto stack`` share: they send actions about entries of the inventory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.cli import console
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.cli.desktop_reading import Reading
    from dispatcher.cli.options import Sending
    from dispatcher.cli.session import Session
    from dispatcher.operate.provisioned_actions import Destroying


def send_action(
    session: Session, reading: Reading[Any], action_id: str, data: bytes, sending: Sending
) -> int:
    """Send an action that was just written, and follow it as the options say; the exit code."""
    from dispatcher.cli.sending import after_sending

    client = reading.client
    sent = client.send(Path.cwd() / f"{action_id}.toml", sign=sending.sign, data=data)
    return after_sending(session, client, sent, sending)


def send_destruction(
    session: Session,
    reading: Reading[Any],
    entry_id: str,
    destroying: Destroying,
    sending: Sending,
    *,
    what: str,
    yes: bool,
) -> int:
    """Ask, and send the action that destroys an entry; the exit code.

    Args:
        what: is destroyed, for the question.

    Raises:
        NotFound, BeingCreated: see ``Resources.standing``.
        AlreadyThere: an open action destroys it.
        Unverified: see ``destroying_formula``.
    """
    from dispatcher.operate.provisioned_actions import destroying_formula, destruction, to_destroy

    entry = to_destroy(reading.resources, entry_id)
    formula = destroying_formula(reading.resources, entry)
    reading.note_edited()
    if not yes and not console.confirmed(f"Destroy {what}, by formula {formula}?"):
        return Exit.FAILED
    action = destruction(reading.resources, entry, destroying)
    return send_action(session, reading, action.id, action.data, sending)


def send_reaping(
    session: Session,
    reading: Reading[Any],
    params: Mapping[str, Any],
    reaping: Callable[[str, Mapping[str, Any]], bytes],
    sending: Sending,
    *,
    question: str,
    yes: bool,
) -> int:
    """Send the action that looks for what is left over, and ask before if it is to remove it.

    Args:
        params: of the action.
    """
    reading.note_edited()
    if params.get("remove") and not yes and not console.confirmed(question):
        return Exit.FAILED
    at = params["listed_at"][:19].replace(":", "").replace("-", "").replace("T", "-")
    new_id = reading.resources.free_id(f"{reading.resources.kind.name}-reap-{at}")
    return send_action(session, reading, new_id, reaping(new_id, params), sending)
