"""``disinto cancel``: stop a run, or an action that still waits."""

from __future__ import annotations

import click

from dispatcher.cli import console
from dispatcher.cli.complete import open_ids
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit


@click.command("cancel")
@click.argument("action_id", metavar="ID", shell_complete=open_ids)
@click.option(
    "--reason", default="", metavar="TEXT", help="Reason, recorded in the request and the result."
)
@click.option("--sign", is_flag=True, help="On an author client: sign the request with your git.")
@click.option(
    "--request", is_flag=True, help="Request it through the ops repo, as an author client does."
)
@config_option
@click.pass_obj
def command(session: Session, action_id: str, *, reason: str, sign: bool, request: bool) -> int:
    """Stop a run, or keep a waiting action from starting.

    Either way it gets a result with the verdict 'cancelled', written by 'disinto serve', and
    its id is used up. A run that ends by itself before it is stopped keeps its own verdict.

    On an author client, and with --request, nothing is stopped yet: a request goes to the ops repo
    the same way as the action did, and takes effect once it is approved as the action has to be.
    This then exits with 75.
    """
    if session.is_author or request or sign:
        return _ask(session, action_id, reason=reason, sign=sign)
    _cancel(session, action_id, reason=reason)
    return Exit.OK


def _ask(session: Session, action_id: str, *, reason: str, sign: bool) -> int:
    from dispatcher.cli.following import open_client
    from dispatcher.operate.request_cancel import ask_to_cancel

    request = ask_to_cancel(open_client(session), action_id, reason=reason, sign=sign)
    console.note(request.summary)
    console.note(
        f"{action_id} is not cancelled yet: 'disinto status {action_id}' shows its progress"
    )
    return Exit.TEMPFAIL


def _cancel(session: Session, action_id: str, *, reason: str) -> None:
    from dispatcher.assembly import build_components
    from dispatcher.errors import Dependency, Unavailable
    from dispatcher.loop.nudge import nudge
    from dispatcher.operate.cancel import Cancellation, What
    from dispatcher.ops_repo import Tree
    from dispatcher.status import status_file

    parts = build_components(session.settings)
    try:
        parts.leadership.check()
    except Unavailable as elsewhere:
        if elsewhere.dependency is not Dependency.LEAD:
            raise
        # Our ledger has none of its runs: a claim in it would stop nothing.
        raise Unavailable(
            Dependency.LEAD,
            elsewhere.what,
            remedy="Run this on the leading dispatcher's host, or request it through the ops "
            f"repo: disinto cancel --request {action_id}",
        ) from None
    tree = Tree()
    parts.repo.advance(tree, parts.repo.fetch().commit)
    who = console.person()
    cancelled = Cancellation(
        ledger=parts.ledger,
        scheduler=parts.scheduler,
        audit=parts.audit,
        tree=tree,
        who=f"{who}: {reason}" if reason else who,
    ).cancel(action_id)
    nudge(session.settings.state_dir)
    if cancelled is What.RUN:
        console.say(f"{action_id}: stop requested")
    else:
        console.say(f"{action_id}: it will not start")
    status = status_file.read(session.settings.state_dir)
    if status is None or not status.fresh:
        console.note(
            "no dispatcher seems to be running; the next 'disinto serve' writes the result"
        )
