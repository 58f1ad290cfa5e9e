"""``disinto sidecar``: which issues of projects start runs."""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table

if TYPE_CHECKING:
    from dispatcher.loop.components import Components
    from dispatcher.loop.view import View
    from dispatcher.operate.sidecars import Reads, Row


@click.group("sidecar")
def command() -> None:
    """Issues of projects that start runs, by the rules of sidecars.toml."""


@command.command("plan")
@click.argument("project", metavar="[PROJECT]", required=False, default="")
@json_option
@config_option
@click.pass_obj
def plan(session: Session, project: str, *, as_json: bool) -> int:
    """Show which rule applies to each open issue, or why none does.

    Reads the projects' issues and the ops repo, and changes nothing. Exits with 69 if the issues of a
    project could not be read.
    """
    from dispatcher.errors import Exit
    from dispatcher.operate import sidecars

    components, view, reads = _opened(session)
    planned = sidecars.plan(components, view, reads, project=project)
    if as_json:
        rows = [row.as_json() for row in planned.rows]
        console.emit({"issues": rows, "problems": planned.problems})
    else:
        table(("PROJECT", "ISSUE", "RULE", "WHY"), list(_lines(planned.rows)))
        if not planned.rows and not planned.problems:
            console.note("no open issues")
    for name, problem in planned.problems.items():
        console.note(f"{name}: {problem}")
    return Exit.UNAVAILABLE if planned.problems else Exit.OK


@command.command("dispatch")
@click.argument("project")
@click.argument("issue", type=click.IntRange(1, 2**31 - 1))
@click.argument("rule")
@json_option
@config_option
@click.pass_obj
def dispatch(session: Session, project: str, issue: int, rule: str, *, as_json: bool) -> None:
    """Start a run of RULE on an issue by hand.

    Labels, condition, cool-down and budgets do not count, nor who set the labels; what would keep the
    rule from starting it is shown. An open run of the rule on the issue does count. 'disinto serve' on
    this host writes the action, as for the rule: it needs the same approval.

    Exits with 75 if a run of the rule is open on the issue.
    """
    from dispatcher.operate import sidecars

    components, view, reads = _opened(session)
    made = sidecars.dispatch(components, view, reads, project=project, number=issue, rule=rule)
    if as_json:
        console.emit(
            {"action": made.action, "despite": made.despite or None, "served": made.served}
        )
        return
    console.say(f"requested {made.action}")
    if made.despite:
        console.note(f"by itself, rule {rule} would not start it: {made.despite}")
    if made.served:
        console.note(f"'disinto serve' starts it. Follow it: disinto watch {made.action}")
    else:
        console.note("nothing will happen until 'disinto serve' runs on this host")


def _opened(session: Session) -> tuple[Components, View, Reads]:
    from dispatcher.assembly import build_components, build_view, open_issues

    settings = session.on_host("sidecar")
    components = build_components(settings, environ=os.environ)
    return components, build_view(components), open_issues(settings, os.environ)


def _lines(rows: tuple[Row, ...]) -> list[tuple[str, str, str, str]]:
    """One line for each rule whose labels fit; one for an issue that none fits."""
    lines = []
    for (project, issue), of_issue in groupby(rows, key=lambda row: (row.project, row.issue)):
        all_rows = list(of_issue)
        fitting = [row for row in all_rows if row.why != "labels"]
        for row in fitting:
            what = f"starts {row.action}" if row.why == "start" else row.reason
            lines.append((project, f"#{issue}", row.rule, what))
        if not fitting:
            reasons = "; ".join(f"{row.rule}: {row.reason}" for row in all_rows)
            lines.append((project, f"#{issue}", "-", reasons or "no rules"))
    return lines
