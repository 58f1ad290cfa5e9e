"""``disinto dispatch``: send an action and follow it to its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from dispatcher.cli import console
from dispatcher.cli.complete import open_ids
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.errors import DisintoError, Exit, NotFound

if TYPE_CHECKING:
    from dispatcher.cli.live import Line
    from dispatcher.schedulers.base import LogChunk
    from dispatcher.service.desk import Desk, Sent
    from dispatcher.service.follow import Followed

T = TypeVar("T")


@click.command("dispatch")
@click.argument("target", metavar="FILE|ID", shell_complete=open_ids)
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
    """Send an action file to the ops repo; or take up an ID that is there already.

    The file is checked first, with all its problems, then committed and pushed. What needs an
    approval goes there as a pull request if a forge is configured; as nothing has run then, this
    exits with 75, unless --wait-merge waits for the merge or --no-follow asks for no more.

    Follows it with the run's output and exits with the action's own exit code; codes of other
    verdicts: 'disinto help exit-codes'. Ctrl-C leaves the action as it is.
    """
    of_file = is_file(target)
    sent: Sent | None = None
    if not of_file and (sign or not follow):
        raise click.UsageError(f"--sign and --no-follow go with a file; {target} is an id.")
    desk = open_desk(session)
    action_id = target
    if of_file:
        sent = desk.send(Path(target), sign=sign)
        action_id = sent.action_id
        console.note(sent.told)
        unmerged = sent.request is not None and not wait_merge
        if not follow or unmerged or sent.stuck:
            if follow and unmerged:
                console.note(
                    f"{action_id} has not run: 'disinto dispatch --wait-merge {action_id}' follows "
                    "it from here to its end"
                )
            if as_json:
                console.emit({**_plain(sent), "followed": False})
            # Whoever only sends is done; whoever wants it run is not.
            return Exit.TEMPFAIL if follow else Exit.OK
    session.on_interrupt = (
        f"{action_id} keeps running: 'disinto dispatch {action_id}' follows it again, "
        f"'disinto cancel {action_id}' stops it"
    )
    followed = _follow(desk, action_id, wait_merge=wait_merge, as_json=as_json)
    if as_json:
        result = followed.result.model_dump(mode="json")
        known = _plain(sent) if sent else {"request": None}
        console.emit({**known, **result, "state": followed.result.verdict, "followed": True})
    return followed.exit_code


def _plain(sent: Sent) -> dict[str, object]:
    request = sent.request
    return {
        "id": sent.action_id,
        "state": sent.state,
        "tier": sent.tier,
        "commit": sent.commit,
        "request": {"number": request.number, "url": request.url} if request else None,
    }


def open_desk(session: Session) -> Desk:
    """What can be reached from here."""
    from dispatcher import assembly
    from dispatcher.gate.forgejo import Approvers
    from dispatcher.grants import Grants
    from dispatcher.ops_repo.person import identity
    from dispatcher.service.desk import Desk
    from dispatcher.service.formulas import FormulaShelf

    settings = session.settings
    if person := identity():
        author = {"author_name": person[0], "author_email": person[1]}
        own = settings.ops_repo.model_copy(update=author)
        settings = settings.model_copy(update={"ops_repo": own})
    vault = assembly.open_vault(settings, os.environ)
    repo = assembly.open_repo(settings, os.environ, vault)
    return Desk(
        settings=settings,
        repo=repo,
        shelf=FormulaShelf(folder=settings.formulas.path, repo=repo),
        policy=assembly.open_policy(settings),
        secrets=Grants(vault, settings).secret_names,
        ledger=_reachable(lambda: assembly.open_ledger(settings, os.environ)),
        scheduler=_reachable(lambda: assembly.open_scheduler(settings, os.environ)),
        approvers=str(
            Approvers(logins=settings.forge.approvers, team=settings.forge.approver_team)
        ),
        forge=lambda: assembly.open_forge(settings, os.environ, vault),
    )


def _reachable(opened: Callable[[], T]) -> T | None:
    try:
        return opened()
    except DisintoError:
        return None


def is_file(target: str) -> bool:
    """Whether a file is meant and not an id: ids hold neither dot nor slash."""
    if "/" in target or "." in target:
        return True
    if os.path.isfile(target):  # noqa: PTH113 - False too where we may not look
        raise NotFound(f"{target} is a file without .toml", remedy=f"Call it {target}.toml.")
    return False


def _follow(desk: Desk, action_id: str, *, wait_merge: bool, as_json: bool) -> Followed:
    viewer = Viewer(action_id, quiet=as_json)
    with viewer:
        followed = desk.follower(viewer, wait_merge=wait_merge).follow(action_id)
    if not as_json:
        _show_end(followed)
    return followed


def _show_end(followed: Followed) -> None:
    result = followed.result
    if not followed.streamed and result.logs:
        click.echo(console.clean(result.logs), nl=not result.logs.endswith("\n"))
    took = "" if result.duration_s is None else f" after {result.duration_s:.1f} s"
    verdict = console.styled(result.verdict.value, console.STYLES.get(result.verdict.value, ""))
    console.note(f"{result.id}: {verdict}{took}, exit code {followed.exit_code}")
    if result.error:
        console.note(f"  {result.error}")


class Viewer:
    """Shows where a followed action stands: one line that changes on a terminal, else lines.

    Standard output is for the run's own; everything else goes to standard error.
    """

    def __init__(self, action_id: str, *, quiet: bool) -> None:
        self._action_id = action_id
        self._quiet = quiet
        self._line: Line | None = None

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.clear()

    def standing(self, text: str) -> None:
        """Where it stands now."""
        from dispatcher.cli.live import Line

        if not console.interactive(sys.stderr):
            console.note(f"{self._action_id}: {text}")
            return
        self._line = self._line or Line()
        self._line.show(f"{self._action_id}: {text}")

    def output(self, chunk: LogChunk) -> None:
        """A piece of the run's output."""
        from dispatcher.cli.logs import write

        if self._quiet:
            return
        if self._line is not None:
            self._line.clear()
        write(chunk)
