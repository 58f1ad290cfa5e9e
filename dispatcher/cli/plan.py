"""``disinto plan``: what the next tick would do, and what each action waits for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.status_screen import show_cancels, show_foreign
from dispatcher.cli.tables import table

if TYPE_CHECKING:
    from dispatcher.errors import DisintoError
    from dispatcher.model.checks import Change
    from dispatcher.operate.forecast import Forecast
    from dispatcher.status.action_record import ActionRecord


@click.command("plan")
@json_option
@config_option
@click.pass_obj
def command(session: Session, *, as_json: bool) -> None:
    """Show what the next tick of 'disinto serve' would do, and why each action waits.

    Queries what serve would query: remote, Vault, gate, ledger and engine, with the same
    permissions. Starts nothing and writes nothing. With Nomad it also reports where jobs differ
    from what 'disinto apply' would write, and, if the token may read them, ACL policies.
    """
    from dispatcher.assembly import build_components, build_view, proposals
    from dispatcher.operate.forecast import forecast
    from dispatcher.operate.proposed import unmerged

    parts = build_components(session.on_host("plan"))
    planned = forecast(parts, build_view(parts))
    drift, trouble = _drift(session, planned)
    proposed, unknown = proposals(session.settings, os.environ)
    tree = planned.view.tree
    actions = {i for i in (p.action_id for p in proposed) if i in tree.open or tree.has_result(i)}
    pending = unmerged(proposed, actions=actions, cancels=tree.cancels)
    if as_json:
        from dispatcher.status.action_record import of_open

        rows = [of_open(each.row()).to_json() for each in pending]
        about_engine = {_engine_key(session): _plain_drift(drift, trouble)}
        console.emit({**_plain(planned), **about_engine, "proposed": rows})
        return
    _show(session, planned, drift, trouble)
    if unknown:
        console.say(f"\n{unknown}")
    if pending:
        console.say("\nProposed by open pull requests; nothing happens until they are merged:")
        table(("ID", "WHY"), [(row.id, row.reason) for row in (p.row() for p in pending)], indent=2)


def _drift(session: Session, planned: Forecast) -> tuple[tuple[Change, ...], DisintoError | None]:
    """The drift at the engine, or why it cannot be determined."""
    from dispatcher.engines import registry
    from dispatcher.errors import DisintoError

    settings = session.settings
    in_use = {frozenset(c.action.mounts) for c in planned.candidates.values() if c.action}
    try:
        return registry.get(settings.scheduler).drift(settings, os.environ, in_use), None
    except DisintoError as error:
        return (), error


def _engine_key(session: Session) -> str:
    """The name of the engine if 'disinto apply' writes anything to it; else ``nomad``, as ever."""
    from dispatcher.engines import registry

    engine = registry.get(session.settings.scheduler)
    return engine.name if engine.administers else "nomad"


def _plain_drift(drift: tuple[Change, ...], trouble: DisintoError | None) -> dict[str, object]:
    return {
        "drift": [asdict(change) for change in drift],
        "error": str(trouble) if trouble else "",
    }


def _plain(planned: Forecast) -> dict[str, object]:
    return {
        "head": planned.head.commit if planned.head else "",
        "rewritten": planned.head.rewritten if planned.head else False,
        "steps": _steps(planned),
        "waits": _waits(planned),
        "warnings": list(planned.view.warnings),
        "foreign": [asdict(record) for record in planned.foreign],
        "cancels": [asdict(record) for record in planned.cancels],
        "down": {str(dependency): reason for dependency, reason in planned.outages.items()},
    }


def _steps(planned: Forecast) -> list[dict[str, Any]]:
    """What the next tick does, each the action's record with ``step``, ``does`` and ``gate``."""
    from dispatcher.operate.forecast import in_words, subject_of

    records = _records(planned)
    steps = []
    for step in planned.plan.steps:
        action_id, reason = subject_of(step)
        about = {
            "reason": planned.obstacles.get(action_id, reason) or None,
            "step": type(step).__name__.lower(),
            "does": in_words(step),
            "gate": planned.gates.get(action_id),
        }
        steps.append({**_of(records, action_id), **about})
    return steps


def _waits(planned: Forecast) -> list[dict[str, Any]]:
    """What waits, each the action's record with ``gate``."""
    records = _records(planned)
    return [
        {
            **_of(records, wait.action_id),
            "reason": wait.reason or wait.run,
            "waiting_for": wait.waiting_for.value,
            "gate": planned.gates.get(wait.action_id),
        }
        for wait in planned.plan.waits
    ]


def _records(planned: Forecast) -> dict[str, ActionRecord]:
    from dispatcher.status.action_record import of_open

    return {action.id: of_open(action) for action in planned.actions()}


def _of(records: Mapping[str, ActionRecord], action_id: str) -> dict[str, Any]:
    from dispatcher.status.action_record import undecided

    return (records.get(action_id) or undecided(action_id)).to_json()


def _show(
    session: Session,
    planned: Forecast,
    drift: tuple[Change, ...],
    trouble: DisintoError | None,
) -> None:
    from dispatcher.engines import registry

    repo = session.settings.ops_repo
    head = planned.head
    console.say(f"{repo.branch} of {repo.remote} at {head.commit[:12] if head else '(unknown)'}")
    if head is not None and head.rewritten:
        console.say("the history was rewritten since the last poll; no id runs a second time")
    for dependency, reason in planned.outages.items():
        console.say(f"{dependency} is unavailable: {reason}")
    for warning in planned.view.warnings:
        console.say(f"{console.styled('warning', 'yellow')}  {warning}")
    show_foreign(planned.foreign)
    show_cancels(planned.cancels)
    steps, waits = _steps(planned), _waits(planned)
    taken = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    console.say(f"\nThe next tick takes {taken}:" if steps else "\nNothing to do.")
    table(
        ("ID", "TIER", "GATE", "STEP"),
        [
            (
                s["id"],
                s["tier"] or "",
                s["gate"] or "",
                f"{s['does']}: {s['reason']}" if s["reason"] else s["does"],
            )
            for s in steps
        ],
        indent=2,
    )
    if waits:
        console.say(f"\n{len(waits)} wait:")
    table(
        ("ID", "TIER", "GATE", "WAITS FOR", "WHY"),
        [
            (w["id"], w["tier"] or "", w["gate"] or "", w["waiting_for"], w["reason"] or "")
            for w in waits
        ],
        indent=2,
    )
    title = registry.get(session.settings.scheduler).title
    if trouble is not None:
        console.say(f"\ncannot compare {title}'s jobs: {trouble}")
    if drift:
        console.say(f"\n{title} differs from the settings; 'disinto apply' shows and fixes it:")
        table(("WHAT", "NAME", "STEP"), [(c.kind, c.name, c.step.value) for c in drift], indent=2)
