"""``disinto archive``: finished actions move to ``vault/done/``."""

from __future__ import annotations

import os
import time

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session


@click.command("archive")
@click.option(
    "--after-days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Move results older than this; default: [archive] after_days.",
)
@click.option("--dry-run", is_flag=True, help="List what would move; move nothing.")
@json_option
@config_option
@click.pass_obj
def command(session: Session, after_days: float | None, *, dry_run: bool, as_json: bool) -> None:
    """Move finished actions of a set age to vault/done/YYYY-MM/, up to 2,000 per commit.

    From the 10,000th action of a month on they go to its days, vault/done/YYYY-MM-DD/.

    'disinto serve' does the same automatically. History is kept, 'status' and 'logs' still find
    what was moved, and an archived id never runs again.
    """
    from dispatcher.assembly import open_ledger, open_repo
    from dispatcher.loop.archive import Archive
    from dispatcher.ops_repo import Tree

    settings = session.on_host("archive")
    repo = open_repo(settings, os.environ)
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    days = settings.archive.after_days if after_days is None else after_days
    archive = Archive(repo, after_days=days)
    # A claim that is still open needs its result where it is.
    keep = {claim.key.action_id for claim in open_ledger(settings, os.environ).open_runs()}
    due = archive.due(tree, now=time.time(), keep=keep)
    moved = [(entry.pair.action.id, entry.folder) for entry in due]
    commits = [] if dry_run else [published.commit for published in archive.move(due)]
    if as_json:
        console.emit(
            {
                "moved": [{"id": action_id, "folder": folder} for action_id, folder in moved],
                "commits": commits,
                "dry_run": dry_run,
            }
        )
        return
    if dry_run:
        for action_id, folder in moved:
            console.say(f"{folder}/{action_id}.toml")
    verb = "would move" if dry_run else "moved"
    console.note(f"{verb} {len(moved)} of {len(tree.finished)} finished actions")
