"""``disinto plan``: what the next tick would do, and what each action waits for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.screen import Screen
from dispatcher.cli.session import Session
from dispatcher.cli.status_screen import cancel_lines, foreign_lines
from dispatcher.cli.tables import table_lines
from dispatcher.model.cancel_request import CancelNote
from dispatcher.model.health import ForeignResult

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dispatcher.operate.planned import Planned


@click.command("plan")
@click.option(
    "--fresh",
    is_flag=True,
    expose_value=False,
    help="Query everything, also beside a running 'serve'.",
)
@json_option
@config_option
@click.pass_obj
def command(session: Session, *, as_json: bool) -> None:
    """Show what the next tick of 'disinto serve' would do, and why each action waits.

    Queries what serve would query: remote, Vault, gate, ledger and engine, with the same
    permissions. Starts nothing and writes nothing. With Nomad it also reports where jobs differ
    from what 'disinto apply' would write, and, if the token may read them, ACL policies.

    A running 'disinto serve' with the same settings that has nothing to do answers itself: it
    checks that the remote has not moved, and shows what its last round left. The answer names
    its age. With --fresh, and in any other case, such as right after a push, everything is queried.
    """
    # Without --fresh ``by_serve`` has asked ``serve`` before.
    planned = _worked_out(session)
    if as_json:
        console.emit(planned.plain)
    else:
        for line in plan_lines(planned, Screen.here()):
            console.say(line)


def _worked_out(session: Session) -> Planned:
    from dispatcher.assembly import build_components, build_view, proposals
    from dispatcher.operate.forecast import forecast
    from dispatcher.operate.planned import of_forecast

    components = build_components(session.on_host("plan"))
    planned = forecast(components, build_view(components))
    settings = components.settings
    return of_forecast(planned, settings, os.environ, proposals(settings, os.environ))


def plan_lines(planned: Planned, screen: Screen) -> list[str]:
    """A plan for people."""
    plain = planned.plain
    lines = [f"{planned.branch} of {planned.remote} at {plain['head'][:12] or '(unknown)'}"]
    if planned.leader:
        lines.append(
            f"from {planned.leader}, last round {console.ago(planned.at)} ago; the remote has not "
            "moved. 'disinto plan --fresh' queries everything"
        )
    if plain["rewritten"]:
        lines.append("the history was rewritten since the last poll; no id runs a second time")
    lines += [f"{name} is unavailable: {reason}" for name, reason in plain["down"].items()]
    lines += [f"{console.styled('warning', 'yellow')}  {each}" for each in plain["warnings"]]
    lines += foreign_lines(tuple(ForeignResult(**record) for record in plain["foreign"]))
    lines += cancel_lines(tuple(CancelNote(**record) for record in plain["cancels"]), screen)
    steps, waits = plain["steps"], plain["waits"]
    taken = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    lines.append(f"\nThe next tick takes {taken}:" if steps else "\nNothing to do.")
    step_columns, wait_columns = (
        ("ID", "TIER", "GATE", "STEP"),
        ("ID", "TIER", "GATE", "WAITS FOR", "WHY"),
    )
    lines += table_lines(step_columns, [_step(step) for step in steps], screen, indent=2)
    if waits:
        lines.append(f"\n{len(waits)} wait:")
    lines += table_lines(wait_columns, [_wait(wait) for wait in waits], screen, indent=2)
    lines += _drift_lines(planned, screen)
    if planned.unknown:
        lines.append(f"\n{planned.unknown}")
    if plain["proposed"]:
        lines.append("\nProposed by open pull requests; nothing happens until they are merged:")
    proposed = [(each["id"], each["reason"] or "") for each in plain["proposed"]]
    return [*lines, *table_lines(("ID", "WHY"), proposed, screen, indent=2)]


def _step(step: Mapping[str, Any]) -> tuple[str, ...]:
    does = f"{step['does']}: {step['reason']}" if step["reason"] else step["does"]
    return step["id"], step["tier"] or "", step["gate"] or "", does


def _wait(wait: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        wait["id"],
        wait["tier"] or "",
        wait["gate"] or "",
        wait["waiting_for"],
        wait["reason"] or "",
    )


def _drift_lines(planned: Planned, screen: Screen) -> list[str]:
    engine, lines = planned.plain[planned.engine], []
    if engine["error"]:
        lines.append(f"\ncannot compare {planned.title}'s jobs: {engine['error']}")
    if engine["drift"]:
        lines.append(
            f"\n{planned.title} differs from the settings; 'disinto apply' shows and fixes it:"
        )
    changes = [(c["kind"], c["name"], str(c["step"])) for c in engine["drift"]]
    return [*lines, *table_lines(("WHAT", "NAME", "STEP"), changes, screen, indent=2)]
