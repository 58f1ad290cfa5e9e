"""``disinto logs``: the output of a run."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console, run_output
from dispatcher.cli.complete import known_ids
from dispatcher.cli.options import Moment, config_option
from dispatcher.cli.run_output import show_end
from dispatcher.cli.session import Session
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatcher.engines.base import LogChunk, Stream
    from dispatcher.errors import DisintoError
    from dispatcher.model.result import Result
    from dispatcher.model.run import Claim
    from dispatcher.ops_repo import OpsRepo


@click.command("logs")
@click.argument("action_id", metavar="ID", shell_complete=known_ids)
@click.option("-f", "--follow", is_flag=True, help="Continue until the run ends.")
@click.option(
    "--tail",
    "lines",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only the last N lines of each stream, then new ones.",
)
@click.option(
    "--since",
    type=Moment(),
    metavar="TIME",
    help="Only output written at or after this time, to the second: 10m ago, or "
    "2026-03-01T12:00:00Z.",
)
@config_option
@click.pass_obj
def command(
    session: Session, action_id: str, *, follow: bool, lines: int | None, since: float | None
) -> int:
    """Show the output of a run, with secrets redacted.

    The full log while the engine has the run, and afterwards for as long as the log is kept: its
    standard output on standard output, its standard error on standard error. Then what the ops
    repository keeps on refs/disinto/logs ([output]), of which only this run's is fetched. Else the
    last 1,000 characters, from the result. For a run that has ended, a last line on standard error
    names the source and what is missing.

    On an author client, from the ops repository and the result, once the result is in git.

    Only full logs record when output was written: with --since, the command fails with exit code
    66 if only the result has output.

    The local engine keeps full logs for [local] keep_logs_s, on the dispatcher's host; Nomad
    keeps finished jobs for [nomad] keep_finished_s.
    """
    part = _Part(lines=lines, since=since)
    if session.is_author:
        return _from_result(session, action_id, part, open_claim=None, trouble=None)
    from dispatcher.assembly import open_ledger
    from dispatcher.errors import Denied, TemporaryError

    session.on_interrupt = f"the run keeps running; stop it with 'disinto cancel {action_id}'"
    claim, trouble = None, None
    try:
        claim = open_ledger(session.settings, os.environ).get(action_id)
    except (TemporaryError, Denied) as error:
        trouble = error  # a run that has ended may be found nevertheless
    if claim is not None and _stream(session, claim, part, follow=follow):
        return Exit.OK
    return _from_result(session, action_id, part, open_claim=claim, trouble=trouble)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The requested part of the output; None for no limit.

    Attributes:
        lines: the last ones of each stream.
        since: seconds since the epoch.
    """

    lines: int | None
    since: float | None


def _stream(session: Session, claim: Claim, part: _Part, *, follow: bool) -> bool:
    """Print the engine's log; False if it has none."""
    from dispatcher.assembly import open_scheduler
    from dispatcher.cli.log_tail import tail

    scheduler = open_scheduler(session.settings, os.environ)
    offsets: dict[Stream, int] = {}
    if part.since is not None:
        offsets.update(scheduler.offsets_since(claim, part.since))
    some = any(offsets.values())
    if part.lines is not None:
        for chunk in tail(scheduler.logs(claim, offsets=offsets), part.lines):
            some = True
            offsets[chunk.stream] = chunk.offset
            write(chunk)
        if not follow:
            return some
    for chunk in scheduler.logs(claim, follow=follow, offsets=offsets):
        some = True
        write(chunk)
    return some


def _from_result(
    session: Session,
    action_id: str,
    part: _Part,
    *,
    open_claim: Claim | None,
    trouble: DisintoError | None,
) -> int:
    from dispatcher.assembly import open_repo, open_vault
    from dispatcher.errors import NotFound, TemporaryError
    from dispatcher.model.result import Result
    from dispatcher.operate.lookup import look_up
    from dispatcher.ops_repo import Tree

    vault = open_vault(session.settings, os.environ)
    repo = open_repo(session.settings, os.environ, vault)
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    if trouble is not None and not tree.has_result(action_id):
        raise trouble
    if open_claim is not None and open_claim.result and not tree.has_result(action_id):
        _show_ended(session, Result.model_validate_json(open_claim.result), part, repo)
        return Exit.OK
    if open_claim is not None and not tree.has_result(action_id):
        console.note(f"action {action_id} has no output yet")
        return Exit.OK
    account = look_up(action_id, repo=repo, tree=tree)
    if account.result is None and session.is_author:
        raise TemporaryError(
            f"action {action_id} has no result yet, and live output is available only on the "
            "dispatcher's host",
            remedy=f"'disinto watch {action_id}' waits here for its result.",
        )
    if account.result is None:
        raise NotFound(
            f"action {action_id} has not started, so it has no log",
            remedy=f"'disinto status {action_id}' shows what it waits for.",
        )
    unproven = ""
    if account.result.output is not None and not session.is_author:
        from dispatcher.loop.signing import result_verifier
        from dispatcher.model.result import RESULT_LIMIT
        from dispatcher.operate.kept_output import unproven as why_unproven

        data = repo.read_file(tree.commit, account.result_path, limit=RESULT_LIMIT)
        verifier = result_verifier(session.settings, vault)
        if isinstance(data, bytes):
            unproven = why_unproven(data, account.result, verifier)
    _show_ended(session, account.result, part, repo, unproven=unproven)
    return Exit.OK


def _show_ended(
    session: Session, result: Result, part: _Part, repo: OpsRepo, *, unproven: str = ""
) -> None:
    from dispatcher.assembly import open_scheduler
    from dispatcher.operate.ended_output import ended_output, from_repository, never_started
    from dispatcher.operate.kept_output import kept_chunks

    output = result.output
    kept = (lambda: kept_chunks(repo, output)) if output is not None else None
    if session.is_author:
        _refuse_since(part, result, "the full log is on the dispatcher's host")
        why = "the full log is kept for a while on the dispatcher's host"
        if kept is not None:
            whole = from_repository(result, kept)
            if _show_chunks(whole.chunks, part):
                console.note(f"{whole.source}; the result's signature is not checked here")
                return
            why = f"{whole.source}; {why}"
        _show_end(result.logs, part, f"from the result, its last 1,000 characters; {why}")
        return
    if never := never_started(result):
        console.note(never)
        return
    settings = session.settings
    ended = ended_output(
        result,
        lambda: open_scheduler(settings, os.environ),
        settings,
        since=part.since,
        kept=kept,
        unproven=unproven,
    )
    if _show_chunks(ended.chunks, part):
        console.note(ended.source)
    else:
        _refuse_since(part, result, ended.source)
        _show_end(result.logs, part, ended.source)


def _show_chunks(chunks: Iterator[LogChunk] | None, part: _Part) -> bool:
    """Print the requested part of a full log; False if there is none."""
    if chunks is None:
        return False
    from dispatcher.cli.log_tail import tail

    for chunk in chunks if part.lines is None else tail(chunks, part.lines):
        write(chunk)
    return True


def _show_end(end: str, part: _Part, source: str) -> None:
    """The end of the output, from a result, and the source."""
    show_end(end, lines=part.lines, coloured=console.coloured())
    console.note(source)


def _refuse_since(part: _Part, result: Result, why: str) -> None:
    """A result does not record when its characters were written."""
    if part.since is not None and result.logs:
        from dispatcher.engines.base import TimesNotKept

        raise TimesNotKept("the output in the result", why)


def write(chunk: LogChunk) -> None:
    """Print a piece of a log, to a terminal without control characters."""
    from dispatcher.engines.base import Stream

    run_output.write(sys.stdout if chunk.stream is Stream.STDOUT else sys.stderr, chunk.data)
