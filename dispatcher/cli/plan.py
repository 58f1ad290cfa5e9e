"""``disinto plan``: what the next tick would do, and what each action waits for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.status_screen import show_cancels, show_foreign
from dispatcher.cli.tables import table
from dispatcher.model.cancel_request import CancelNote
from dispatcher.model.health import ForeignResult
from dispatcher.operate.planned import Planned
from dispatcher.status.questions import Question

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@click.command("plan")
@click.option("--fresh", is_flag=True, help="Query everything, also beside a running 'serve'.")
@json_option
@config_option
@click.pass_obj
def command(session: Session, *, fresh: bool, as_json: bool) -> None:
    """Show what the next tick of 'disinto serve' would do, and why each action waits.

    Queries what serve would query: remote, Vault, gate, ledger and engine, with the same
    permissions. Starts nothing and writes nothing. With Nomad it also reports where jobs differ
    from what 'disinto apply' would write, and, if the token may read them, ACL policies.

    A running 'disinto serve' with the same settings that has nothing to do answers itself: it
    checks that the remote has not moved, and shows what its last round left. The answer names
    its age. With --fresh, and in any other case, such as right after a push, everything is queried.
    """
    planned = (None if fresh else _of_serve(session)) or _worked_out(session)
    if as_json:
        console.emit(planned.plain)
    else:
        _show(planned)


def _of_serve(session: Session) -> Planned | None:
    answer = session.asked(Question.PLAN)
    try:
        return None if answer is None else Planned.from_json(answer)
    except (TypeError, KeyError, ValueError):
        return None


def _worked_out(session: Session) -> Planned:
    from dispatcher.assembly import build_components, build_view, proposals
    from dispatcher.operate.forecast import forecast
    from dispatcher.operate.planned import of_forecast

    components = build_components(session.on_host("plan"))
    planned = forecast(components, build_view(components))
    settings = components.settings
    return of_forecast(planned, settings, os.environ, proposals(settings, os.environ))


def _show(planned: Planned) -> None:
    plain = planned.plain
    head = plain["head"]
    console.say(f"{planned.branch} of {planned.remote} at {head[:12] or '(unknown)'}")
    if planned.leader:
        console.say(
            f"from {planned.leader}, last round {console.ago(planned.at)} ago; the remote has not "
            "moved. 'disinto plan --fresh' queries everything"
        )
    if plain["rewritten"]:
        console.say("the history was rewritten since the last poll; no id runs a second time")
    for dependency, reason in plain["down"].items():
        console.say(f"{dependency} is unavailable: {reason}")
    for warning in plain["warnings"]:
        console.say(f"{console.styled('warning', 'yellow')}  {warning}")
    show_foreign(tuple(ForeignResult(**record) for record in plain["foreign"]))
    show_cancels(tuple(CancelNote(**record) for record in plain["cancels"]))
    steps, waits = plain["steps"], plain["waits"]
    taken = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    console.say(f"\nThe next tick takes {taken}:" if steps else "\nNothing to do.")
    table(("ID", "TIER", "GATE", "STEP"), [_step(step) for step in steps], indent=2)
    if waits:
        console.say(f"\n{len(waits)} wait:")
    table(("ID", "TIER", "GATE", "WAITS FOR", "WHY"), [_wait(wait) for wait in waits], indent=2)
    _show_drift(planned)
    if planned.unknown:
        console.say(f"\n{planned.unknown}")
    if plain["proposed"]:
        console.say("\nProposed by open pull requests; nothing happens until they are merged:")
        table(("ID", "WHY"), [(r["id"], r["reason"] or "") for r in plain["proposed"]], indent=2)


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


def _show_drift(planned: Planned) -> None:
    engine = planned.plain[planned.engine]
    if engine["error"]:
        console.say(f"\ncannot compare {planned.title}'s jobs: {engine['error']}")
    if engine["drift"]:
        console.say(
            f"\n{planned.title} differs from the settings; 'disinto apply' shows and fixes it:"
        )
        changes = [(c["kind"], c["name"], str(c["step"])) for c in engine["drift"]]
        table(("WHAT", "NAME", "STEP"), changes, indent=2)
