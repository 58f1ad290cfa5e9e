"""``disinto watch``: follow an action to its end."""

from __future__ import annotations

import click

from dispatcher.cli.complete import open_ids
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session


@click.command("watch")
@click.argument("action_id", metavar="ID", shell_complete=open_ids)
@click.option("--wait-merge", is_flag=True, help="Also wait while its pull request is open.")
@json_option
@config_option
@click.pass_obj
def command(session: Session, action_id: str, *, wait_merge: bool, as_json: bool) -> int:
    """Follow an action of the ops repo to its end, with the run's output.

    Exits with the action's own exit code, as 'disinto dispatch' does; codes of other verdicts:
    'disinto help exit-codes'. Ctrl-C does not affect the action.
    """
    from dispatcher.cli.following import follow, open_client

    return follow(session, open_client(session), action_id, wait_merge=wait_merge, as_json=as_json)
