"""``disinto status``: what runs, what waits and why, what is down, and what ended."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.complete import known_ids
from dispatcher.cli.listing import LAST, Listing, written
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.screen import Screen
from dispatcher.cli.session import Session
from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from dispatcher.model.result import Result
    from dispatcher.ops_repo import OpsRepo, Tree
    from dispatcher.status.overview import OpenAction, Overview

STATES = (
    "proposed", "open", "approved", "waiting", "starting", "pending", "running", "ended", "finished",
)  # fmt: skip
"""States of an action, for the option: ``overview.State`` takes long to load."""


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
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), metavar="STATE",
    help="Only actions in this state; may be repeated.",
)  # fmt: skip
@click.option(
    "--verdict", "verdicts", multiple=True, type=click.Choice([v.value for v in Verdict]), metavar="VERDICT",
    help="Only actions with this verdict; may be repeated.",
)  # fmt: skip
@click.option("--formula", metavar="NAME", help="Only actions with this formula.")
@click.option("--match", metavar="TEXT", help="Only actions with this in id or reason.")
@click.option("-w", "--watch", is_flag=True, help="Refresh until Ctrl-C.")
@json_option
@config_option
@click.pass_obj
def command(
    session: Session,
    action_id: str | None,
    *,
    last: int,
    states: tuple[str, ...],
    verdicts: tuple[str, ...],
    formula: str | None,
    match: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Show what runs, what waits and why, what is down, and the last results.

    With an ID, everything about that action. While 'disinto serve' runs here, this shows its state;
    otherwise the state is computed from git, ledger and engine; on an author client, from git and
    the forge only. Open pull requests of 'disinto dispatch' are listed as proposed.

    STATE is one of proposed, waiting, starting, pending, running, ended (its result is on the way
    to git) and finished, on an author client also open and approved; VERDICT is how a run ended:
    'disinto help exit-codes' lists them. With --verdict, --formula or --match, the last 100 results
    are searched.
    """
    wanted = Wanted(states=states, verdicts=verdicts, formula=formula or "", text=match or "")
    if action_id is not None and (wanted or watch):
        other = "'disinto watch' follows one action" if watch else "filters apply only to lists"
        raise click.UsageError(f"{other}; leave it out, or the ID.")
    if watch and (as_json or not console.interactive()):
        raise click.UsageError("--watch needs a terminal, and no --json.")
    if watch:
        from dispatcher.cli.redraw import redraw

        redraw(lambda: _overview(session, last, wanted, as_json=False))
    if action_id is None:
        _overview(session, last, wanted, as_json=as_json)
    else:
        _account(session, action_id, as_json=as_json)


def _overview(session: Session, last: int, wanted: Wanted, *, as_json: bool) -> None:
    listing = _written(session, last, wanted) or _gathered(session, last, wanted)
    overview = listing.overview
    if wanted:
        kept = tuple(action for action in overview.open if wanted.open(action))
        listing = replace(listing, overview=replace(overview, open=kept, waiting={}))
    if as_json:
        console.emit(listing.plain())
        return
    for line in listing.lines(Screen.here(), chosen=bool(wanted)):
        console.say(line)
    if wanted and not listing.overview.open and not listing.results:
        console.note("nothing matches")


def _written(session: Session, last: int, wanted: Wanted) -> Listing | None:
    """What a living ``serve`` with the same settings has written down, if it is all that is wanted.

    Neither the settings nor the ops repo are read for it, which takes most of the time of the
    other way. Both ways show the same.
    """
    status = None if wanted else session.beside_serve()
    return None if status is None else written(status, last)


def _gathered(session: Session, last: int, wanted: Wanted) -> Listing:
    """What git, ledger and engine say, or a living ``serve`` and git."""
    from dispatcher.status.action_record import of_result

    gathered = gather(session)
    overview = with_proposed(session, gathered.overview)
    results = [of_result(result) for result in gathered.last_results(last, wanted)]
    return Listing(overview=overview, results=results, role=session.settings.role.value)


def _account(session: Session, action_id: str, *, as_json: bool) -> None:
    from dispatcher.cli.status_screen import account_lines, plain_account
    from dispatcher.operate.lookup import look_up

    gathered = gather(session)
    account = look_up(
        action_id,
        repo=gathered.repo,
        tree=gathered.tree_of(action_id),
        standing=with_proposed(session, gathered.overview).find(action_id),
    )
    if as_json:
        console.emit(plain_account(account))
        return
    for line in account_lines(account):
        console.say(line)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which actions are to be listed; what is empty asks for nothing."""

    states: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    formula: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.states or self.verdicts or self.formula or self.text)

    def open(self, action: OpenAction) -> bool:
        """Whether an action without a result in git is wanted."""
        return self._fits(action.state, action.verdict, action.formula, action.id, action.reason)

    def finished(self, result: Result) -> bool:
        """Whether a result is wanted."""
        formula = result.formula.name if result.formula else ""
        return self._fits("finished", result.verdict, formula, result.id, result.error)

    def _fits(self, state: str, verdict: str, formula: str, *texts: str) -> bool:
        return (
            (not self.states or state in self.states)
            and (not self.verdicts or verdict in self.verdicts)
            and (not self.formula or formula == self.formula)
            and any(self.text.casefold() in text.casefold() for text in texts)
        )


@dataclass(kw_only=True)
class Gathered:
    """What there is to show.

    A living ``serve`` has looked through the whole tree. This process then reads no more of it than
    it is asked for: with 100,000 finished actions all of it takes many seconds.

    Attributes:
        overview: from a living ``serve``, or worked out.
        repo: the clone that it is about.
        head: commit of the clone; "" if there is none.
    """

    overview: Overview
    repo: OpsRepo
    head: str
    _tree: Tree | None = None

    def tree_of(self, action_id: str) -> Tree:
        """A tree that holds this action at least."""
        return self._tree or self.repo.tree_of(self.head, action_id)

    def last_results(self, count: int, wanted: Wanted) -> list[Result]:
        """The newest results, the newest first; with a filter, of the last ``NEWEST``."""
        from dispatcher.loop.archive import NEWEST

        if not wanted:
            return self._newest(count)
        if wanted.states and "finished" not in wanted.states:
            return []
        return [result for result in self._newest(NEWEST) if wanted.finished(result)][:count]

    def _newest(self, count: int) -> list[Result]:
        from dispatcher.loop.archive import NEWEST
        from dispatcher.operate.lookup import last_results, newest_of
        from dispatcher.ops_repo import Tree

        newest = self.overview.newest
        if self._tree is None and newest is not None and count <= NEWEST:
            return newest_of(self.repo, newest, count=count)
        if self._tree is None:
            self._tree = Tree()
            self.repo.advance(self._tree, self.head)
        return last_results(self.repo, self._tree, count=count) if self.head else []


def gather(session: Session) -> Gathered:
    """The overview, from a living ``serve`` or worked out; with the clone it is about."""
    from dispatcher.assembly import build_components, build_view, open_repo
    from dispatcher.loop.rule_files import superseded, watched
    from dispatcher.status import standby, status_file

    settings = session.settings
    if session.is_author:
        from dispatcher.assembly import build_author_view

        repo = open_repo(settings, os.environ)
        overview, tree = build_author_view(settings, os.environ, repo).look()
        return Gathered(overview=overview, repo=repo, head=tree.commit, _tree=tree)
    status = status_file.read(settings.state_dir)
    if status is not None and status.fresh and status.overview.head:
        repo = open_repo(settings, os.environ)
        head = repo.local_head()
        if head is not None:
            configured = watched(settings)
            older = superseded(status.overview.rules, configured, refused=status.overview.warnings)
            overview = replace(status.overview, warnings=(*status.overview.warnings, *older))
            return Gathered(overview=overview, repo=repo, head=head.commit)
    from dispatcher.operate.forecast import forecast

    parts = build_components(settings)
    planned = forecast(parts, build_view(parts))
    overview = planned.overview(settings)
    if status is not None and status.fresh:  # it runs, and has not seen the ops repo
        overview = replace(overview, leader=status.overview.leader)
    else:
        overview = replace(overview, standby=standby.read(settings.state_dir))
    tree = planned.view.tree
    return Gathered(overview=overview, repo=parts.repo, head=tree.commit, _tree=tree)


def with_proposed(session: Session, overview: Overview) -> Overview:
    """The overview with what only pull requests hold yet."""
    from dispatcher.assembly import proposals
    from dispatcher.operate.proposed import unmerged

    proposed, unknown = proposals(session.settings, os.environ)
    actions, cancels = {a.id for a in overview.open}, {note.id for note in overview.cancels}
    rows = tuple(each.row() for each in unmerged(proposed, actions=actions, cancels=cancels))
    note = (unknown,) if unknown else ()
    return replace(overview, open=(*overview.open, *rows), warnings=(*overview.warnings, *note))
