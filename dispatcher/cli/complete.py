"""Completion of action ids, from the status file: fast, and silent where there is none."""

from __future__ import annotations

import click

from dispatcher.cli.session import Session


def action_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of open actions that begin so."""
    from dispatcher.errors import DisintoError
    from dispatcher.service import status_file

    session = ctx.find_object(Session) or Session()
    try:
        seen = status_file.read(session.settings.state_dir)
    except DisintoError:
        return []
    ids = [action.id for action in seen.overview.open] if seen is not None else []
    return [action_id for action_id in ids if action_id.startswith(incomplete)]
