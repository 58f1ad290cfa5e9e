"""``disinto dispatch``: send an action and follow it to its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit, NotFound

if TYPE_CHECKING:
    from dispatcher.operate.submission_client import Sent


@click.command("dispatch")
@click.argument("target", metavar="FILE", type=click.Path())
@click.option("--follow/--no-follow", default=True, help="Wait for the result, with live output.")
@click.option("--wait-merge", is_flag=True, help="Follow an action whose pull request is open.")
@click.option(
    "--sign", is_flag=True, help="Commit with your own git, signed as in the file's work tree."
)
@json_option
@config_option
@click.pass_obj
def command(
    session: Session, target: str, *, follow: bool, wait_merge: bool, sign: bool, as_json: bool
) -> int:
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

    if not is_file(target):
        if sign or not follow:
            raise click.UsageError(f"--sign and --no-follow require a file; {target} is an id.")
        console.note(
            f"'disinto dispatch ID' is 'disinto watch {target}' now; the old form will be removed"
        )
        client = open_client(session)
        return follow_action(session, client, target, wait_merge=wait_merge, as_json=as_json)
    client = open_client(session)
    sent = client.send(Path(target), sign=sign)
    console.note(sent.summary)
    unmerged = sent.request is not None and not wait_merge
    if follow and not unmerged and not sent.stuck:
        about = {key: value for key, value in _known(sent).items() if value is not None}
        return follow_action(
            session, client, sent.action_id, wait_merge=wait_merge, as_json=as_json, known=about
        )
    if follow and unmerged:
        console.note(
            f"{sent.action_id} has not run: 'disinto watch --wait-merge {sent.action_id}' follows "
            "it until it ends"
        )
    if as_json:
        console.emit(_plain(sent))
    # Sending alone is complete; a run that was requested is not, nor is an action that nobody can
    # approve.
    return Exit.TEMPFAIL if follow or sent.stuck else Exit.OK


def _plain(sent: Sent) -> dict[str, Any]:
    """The submission, as the record of its action."""
    from dispatcher.status.action_record import undecided

    record = undecided(sent.action_id).to_json()
    about = {"state": sent.state, "reason": sent.summary, "tier": sent.tier, **_known(sent)}
    return {**record, **about, "followed": False}


def _known(sent: Sent) -> dict[str, Any]:
    """Facts only the sender has: the commit that brought it, and its pull request."""
    request = sent.request
    return {
        "commit": sent.commit or None,
        "request": {"number": request.number, "url": request.url} if request else None,
    }


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
