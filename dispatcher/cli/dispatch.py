"""``disinto dispatch``: send an action and follow it to its end."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dispatcher.cli import console
from dispatcher.cli.options import Sending, config_option, sending_options
from dispatcher.cli.session import Session
from dispatcher.errors import NotFound


@click.command("dispatch")
@click.argument("target", metavar="FILE", type=click.Path())
@sending_options(signed_as_in="the file's work tree")
@config_option
@click.pass_obj
def command(session: Session, target: str, *, sending: Sending) -> int:
    """Send an action file to the ops repo, and follow it to its end.

    The file is checked first, and all its problems are reported, then it is committed and pushed.
    An action that needs approval becomes a pull request if a forge is configured; because nothing
    has run by then, this exits with 75, unless --wait-merge waits for the merge or --no-follow is
    given. If nothing can approve it, because no gate is configured, this always exits with 75.

    Follows it with the run's output and exits with the action's own exit code; codes of other
    verdicts: 'disinto help exit-codes'. Ctrl-C does not affect the action; 'disinto watch ID'
    follows it again.
    """
    from dispatcher.cli.following import follow as follow_action
    from dispatcher.cli.following import open_client
    from dispatcher.cli.sending import after_sending

    if not is_file(target):
        if sending.sign or not sending.follow:
            raise click.UsageError(f"--sign and --no-follow require a file; {target} is an id.")
        console.note(
            f"'disinto dispatch ID' is 'disinto watch {target}' now; the old form will be removed"
        )
        client = open_client(session)
        return follow_action(
            session, client, target, wait_merge=sending.wait_merge, as_json=sending.as_json
        )
    client = open_client(session)
    sent = client.send(Path(target), sign=sending.sign)
    return after_sending(session, client, sent, sending)


def is_file(target: str) -> bool:
    """Whether a file is meant rather than an id: ids contain neither dot nor slash."""
    if "/" in target or "." in target:
        return True
    if os.path.isfile(target):  # noqa: PTH113 - False too where we may not look
        raise NotFound(
            f"{target} is a file, but its name does not end in .toml",
            remedy=f"Rename it to {target}.toml.",
        )
    return False
