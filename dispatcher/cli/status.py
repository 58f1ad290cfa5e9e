"""``disinto status``: what runs, what waits and why, what is down, and what ended."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.complete import known_ids
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table

if TYPE_CHECKING:
    from dispatcher.ops_repo import OpsRepo, Tree
    from dispatcher.result import Result
    from dispatcher.service.foreign import ForeignResult
    from dispatcher.service.lookup import Account
    from dispatcher.service.overview import OpenAction, Overview

LAST = 10


@click.command("status")
@click.argument("action_id", metavar="[ID]", required=False, shell_complete=known_ids)
@click.option(
    "-n",
    "--last",
    type=click.IntRange(min=0),
    default=LAST,
    show_default=True,
    help="Results to list.",
)
@json_option
@config_option
@click.pass_obj
def command(session: Session, action_id: str | None, last: int, *, as_json: bool) -> None:
    """Show what runs, what waits and why, what is down, and the last results.

    With an ID, everything about that action. While 'disinto serve' runs here, this shows what it
    knows; otherwise it is worked out from git, ledger and engine; on an author's desk from git and
    the forge alone. Open pull requests of 'disinto dispatch' are listed as proposed.
    """
    gathered = gather(session)
    overview = with_proposed(session, gathered.overview)
    if action_id is not None:
        from dispatcher.service.lookup import look_up

        account = look_up(
            action_id,
            repo=gathered.repo,
            tree=gathered.tree_of(action_id),
            standing=overview.find(action_id),
        )
        if as_json:
            console.emit(plain_account(account))
        else:
            show_account(account)
        return
    results = gathered.last_results(last)
    if as_json:
        console.emit(
            {
                **_shown(overview),
                "results": [r.model_dump(mode="json") for r in results],
                "role": session.settings.role,
            }
        )
    else:
        show_overview(overview, results, desk=session.is_desk)


@dataclass(kw_only=True)
class Gathered:
    """What there is to show.

    A living ``serve`` has looked through the whole tree. This process then reads no more of it than
    it is asked for: with 100,000 finished actions all of it takes many seconds.

    Attributes:
        overview: from a living ``serve``, or worked out.
        repo: the clone that it is about.
        head: commit of the clone; "" where there is none.
    """

    overview: Overview
    repo: OpsRepo
    head: str
    _tree: Tree | None = None

    def tree_of(self, action_id: str) -> Tree:
        """A tree that holds this action at least."""
        return self._tree or self.repo.tree_of(self.head, action_id)

    def last_results(self, count: int) -> list[Result]:
        """The newest results, the newest first."""
        from dispatcher.archive import NEWEST
        from dispatcher.ops_repo import Tree
        from dispatcher.service.lookup import last_results, newest_of

        newest = self.overview.newest
        if self._tree is None and newest is not None and count <= NEWEST:
            return newest_of(self.repo, newest, count=count)
        if self._tree is None:
            self._tree = Tree()
            self.repo.advance(self._tree, self.head)
        return last_results(self.repo, self._tree, count=count) if self.head else []


def gather(session: Session) -> Gathered:
    """The overview, from a living ``serve`` or worked out; with the clone it is about."""
    from dispatcher.assembly import build_parts, build_view, open_repo
    from dispatcher.service import status_file
    from dispatcher.service.rule_files import superseded

    settings = session.settings
    if session.is_desk:
        from dispatcher.assembly import build_desk_view

        repo = open_repo(settings, os.environ)
        overview, tree = build_desk_view(settings, os.environ, repo).look()
        return Gathered(overview=overview, repo=repo, head=tree.commit, _tree=tree)
    seen = status_file.read(settings.state_dir)
    if seen is not None and seen.fresh and seen.overview.head:
        repo = open_repo(settings, os.environ)
        head = repo.local_head()
        if head is not None:
            older = superseded(seen.overview.rules, settings)
            overview = replace(seen.overview, warnings=(*seen.overview.warnings, *older))
            return Gathered(overview=overview, repo=repo, head=head.commit)
    from dispatcher.service.forecast import forecast

    parts = build_parts(settings)
    found = forecast(parts, build_view(parts))
    overview = found.overview(settings)
    if seen is not None and seen.fresh:  # it runs, and has not seen the ops repo
        overview = replace(overview, leader=seen.overview.leader)
    tree = found.view.tree
    return Gathered(overview=overview, repo=parts.repo, head=tree.commit, _tree=tree)


def with_proposed(session: Session, overview: Overview) -> Overview:
    """The overview with what only pull requests hold yet."""
    from dispatcher.assembly import proposals

    found, unknown = proposals(session.settings, os.environ)
    rows = tuple(each.row() for each in found)
    note = (unknown,) if unknown else ()
    return replace(overview, open=(*overview.open, *rows), warnings=(*overview.warnings, *note))


def _shown(overview: Overview) -> dict[str, Any]:
    """As plain data, without what only finds the results that stand beside it."""
    return {key: value for key, value in overview.to_json().items() if key != "newest"}


def show_overview(overview: Overview, results: list[Result], *, desk: bool = False) -> None:
    """The overview for people."""
    now = time.time()
    if desk:
        console.say(
            "an author's desk: what git and the forge show; what has started or waits for a place "
            "is known on the dispatcher's host alone"
        )
    elif overview.leader:
        console.say(f"served by {overview.leader}, last round {console.ago(overview.at)} ago")
    else:
        console.say("no dispatcher runs here: 'disinto serve' starts one")
    console.say(
        f"head {overview.head[:12] or '(not known)'}; {overview.open_actions} open, "
        f"{overview.finished_actions} finished, {overview.archived_actions} archived"
    )
    for entry in overview.dependencies:
        if not entry.up:
            since = f" for {console.ago(entry.since, now=now)}" if entry.since else ""
            console.say(
                f"{console.styled('down', 'red')}  {entry.dependency}{since}: {entry.error}"
            )
    for warning in overview.warnings:
        console.say(f"{console.styled('warning', 'yellow')}  {warning}")
    show_foreign(overview.foreign)
    if overview.open:
        console.say()
    table(
        ("ID", "STATE", "FOR", "FORMULA", "TIER", "REASON"),
        [
            (
                action.id,
                action.state.value,
                console.ago(action.since, now=now) if action.since else "",
                action.formula,
                action.tier,
                action.reason or _place(action),
            )
            for action in overview.open
        ],
    )
    hidden = sum(overview.waiting.values()) - sum(a.state == "waiting" for a in overview.open)
    if hidden > 0:
        console.say(f"… and {hidden} more that wait")
    if results:
        console.say("\nlast results:")
    table(
        ("ID", "VERDICT", "EXIT", "TOOK", "WHEN", "ERROR"),
        [
            (
                r.id,
                r.verdict.value,
                str(r.exit_code),
                "" if r.duration_s is None else f"{r.duration_s:.1f} s",
                r.timestamp[:19].replace("T", " "),
                r.error.partition("\n")[0],
            )
            for r in results
        ],
    )


def _place(action: OpenAction) -> str:
    return f"{action.engine_id} on {action.node}" if action.node else action.engine_id


def show_foreign(foreign: tuple[ForeignResult, ...]) -> None:
    """Results that this dispatcher did not sign, and what to do about them."""
    from dispatcher.service.foreign import REMEDY

    for each in foreign:
        console.say(
            f"{console.styled('foreign result', 'yellow')}  {each.path}, brought by commit "
            f"{each.commit[:12]}: {each.reason}"
        )
    if foreign:
        console.say(f"{REMEDY}.")


def plain_account(account: Account) -> dict[str, Any]:
    """An account as plain data."""
    from dataclasses import asdict

    return {
        **{key: value for key, value in asdict(account).items() if key != "result"},
        "result": account.result.model_dump(mode="json") if account.result else None,
    }


def show_account(account: Account) -> None:
    """An account for people: facts line by line, then the end of the output."""
    for name, value in _facts(account):
        console.say(f"{name:<12}{value}")
    for problem in account.problems:
        console.say(str(problem))
    result = account.result
    if result is not None and result.logs:
        console.say("\noutput (its last 1,000 characters):")
        for line in result.logs.rstrip("\n").split("\n"):
            console.say(f"  {line}")


def _facts(account: Account) -> list[tuple[str, str]]:
    action, standing, result = account.action, account.standing, account.result
    facts = [("id", account.id), ("state", account.state)]
    if standing is not None:
        facts += [
            ("reason", standing.reason),
            ("run", standing.engine_id),
            ("node", standing.node),
            ("approved by", ", ".join(standing.approved_by)),
        ]
    if result is not None:
        facts += [
            ("exit code", str(result.exit_code)),
            ("error", result.error),
            ("started", result.started_at or ""),
            ("finished", result.finished_at or result.timestamp),
            ("took", "" if result.duration_s is None else f"{result.duration_s} s"),
            ("approved by", ", ".join(result.approved_by)),
            ("engine", " ".join(part for part in result.engine.model_dump().values() if part)),
            ("outputs", ", ".join(result.outputs)),
        ]
    tier = (standing.tier if standing else "") or (result.tier if result else "") or ""
    if action is not None:
        facts += [
            ("formula", action.formula),
            ("tier", tier),
            ("secrets", ", ".join(action.secrets)),
            ("mounts", ", ".join(action.mounts)),
            ("timeout", f"{action.timeout_minutes} min"),
            ("context", action.context.strip()),
        ]
    facts += [("file", account.path), ("result", account.result_path)]
    return [(name, value.replace("\n", "\n" + " " * 12)) for name, value in facts if value]
