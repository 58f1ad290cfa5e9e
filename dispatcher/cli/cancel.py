"""``disinto cancel``: stop a run, or an action that still waits."""

from __future__ import annotations

import click

from dispatcher.cli import console
from dispatcher.cli.complete import open_ids
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session


@click.command("cancel")
@click.argument("action_id", metavar="ID", shell_complete=open_ids)
@config_option
@click.pass_obj
def command(session: Session, action_id: str) -> None:
    """Stop a run; or see to it that an action that still waits never starts.

    Either way it gets a result with the verdict 'cancelled', written by 'disinto serve', and
    its id is spent. A run that ends by itself before it is stopped keeps its own verdict.
    """
    from dispatcher.assembly import build_parts
    from dispatcher.ops_repo import Tree
    from dispatcher.service import bell, status_file
    from dispatcher.service.cancellation import Cancellation, What

    parts = build_parts(session.settings)
    tree = Tree()
    parts.repo.advance(tree, parts.repo.fetch().commit)
    cancelled = Cancellation(
        ledger=parts.ledger,
        scheduler=parts.scheduler,
        audit=parts.audit,
        tree=tree,
        who=console.person(),
    ).cancel(action_id)
    bell.ring(session.settings.state_dir)
    if cancelled is What.RUN:
        console.say(f"{action_id}: stop requested")
    else:
        console.say(f"{action_id}: it will not start")
    seen = status_file.read(session.settings.state_dir)
    if seen is None or not seen.fresh:
        console.note(
            "no dispatcher seems to run: the result is written at the next 'disinto serve'"
        )
