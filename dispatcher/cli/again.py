"""``disinto again``: repeat an action that has ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.complete import finished_ids
from dispatcher.cli.options import Sending, config_option, sending_options
from dispatcher.cli.session import Session
from dispatcher.errors import DisintoError, Misconfigured

if TYPE_CHECKING:
    from dispatcher.operate.again import Draft


@click.command("again")
@click.argument("action_id", metavar="ID", shell_complete=finished_ids)
@click.option("--edit", is_flag=True, help="Change the file in your editor first.")
@sending_options()
@config_option
@click.pass_obj
def command(session: Session, action_id: str, *, edit: bool, sending: Sending) -> int:
    """Repeat an action that has ended: send its file again, under a new id.

    The new id is ID-2, then ID-3 and so on; again_of in the file names the predecessor. It is sent
    like any other action and needs the same approval: see 'disinto dispatch', whose options and exit
    codes these are.

    An action that has not ended is not repeated, because it may still succeed; nor one that was
    repeated already: repeat its repetition. One that is invalid, or that would expire at once, needs
    --edit.
    """
    from dispatcher.cli.following import open_client
    from dispatcher.cli.sending import after_sending
    from dispatcher.operate.again import draft, target

    client = open_client(session)
    client.repo.advance(client.tree, client.repo.fetch().commit)
    new = draft(action_id, repo=client.repo, tree=client.tree, ledger=client.ledger)
    if not edit and new.objection is not None:
        raise new.objection
    place = _edited(new) if edit else None
    try:
        data = new.checked(place.read_bytes()) if place else new.text
        sent = client.send(target(new), sign=sending.sign, data=data)
    except DisintoError:
        if place:
            console.note(f"your text is kept: 'disinto dispatch {place}' sends it")
        raise
    if place:
        place.unlink()
        place.parent.rmdir()
    return after_sending(session, client, sent, sending)


def _edited(new: Draft) -> Path:
    """The file, as a person left it in their editor.

    Raises:
        Misconfigured: there is no editor, or nothing was changed.
    """
    import tempfile

    place = Path(tempfile.mkdtemp(prefix="disinto-again-"), new.name)
    place.write_bytes(new.text)
    try:
        click.edit(filename=str(place))
    except click.ClickException as failed:
        raise Misconfigured(
            f"the editor failed: {failed.message}",
            remedy=f"Set VISUAL or EDITOR, or edit {place} and send it: disinto dispatch {place}",
        ) from None
    if place.read_bytes() == new.text:
        place.unlink()
        place.parent.rmdir()
        raise Misconfigured(
            "nothing was changed, so nothing was sent",
            remedy="To send the file as it is, leave out --edit.",
        )
    return place
