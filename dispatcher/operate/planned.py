"""What ``disinto plan`` shows: worked out here, or asked of a ``serve`` that leads here.

A ``serve`` answers only if its last round is the whole truth: it leads and runs rounds, does nothing about
any action just then, has loaded the present files of rules, and the remote, asked at once, is where
that round left it. It fetches nothing for the answer and so starts nothing. In any other case, such as
right after a push, the command queries everything itself. That takes longer and shows the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dispatcher.model.times import known_time

if TYPE_CHECKING:
    from dispatcher.decide.steps import Wait
    from dispatcher.loop.components import Components
    from dispatcher.model.job_class import JobVariant
    from dispatcher.operate.forecast import Forecast
    from dispatcher.operate.proposed import Proposed
    from dispatcher.settings import Settings
    from dispatcher.status.action_record import ActionRecord
    from dispatcher.status.tracker import Status

REMOTE_S = 5.0
"""Seconds within which the remote must report its head for an answer of ``serve``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A plan, ready to be shown.

    Attributes:
        at: when its facts were found, seconds since the epoch.
        leader: the ``serve`` whose last round it is; "" if everything was queried for it.
        remote, branch: of the ops repo.
        engine: key of the engine's drift in ``plain``.
        title: the engine's name for people.
        plain: what ``--json`` prints.
        unknown: why open pull requests cannot be listed; "" if they can.
    """

    at: float
    leader: str
    remote: str
    branch: str
    engine: str
    title: str
    plain: Mapping[str, Any]
    unknown: str = ""


def of_forecast(
    planned: Forecast,
    settings: Settings,
    environ: Mapping[str, str],
    proposals: tuple[tuple[Proposed, ...], str] = ((), ""),
) -> Planned:
    """A plan for which everything was queried. Asks the engine for its drift.

    Args:
        environ: for tokens.
        proposals: see ``assembly.proposals``.
    """
    from dispatcher.operate.proposed import unmerged
    from dispatcher.status.action_record import of_open

    proposed, unknown = proposals
    tree = planned.view.tree
    actions = {i for i in (p.action_id for p in proposed) if i in tree.open or tree.has_result(i)}
    pending = unmerged(proposed, actions=actions, cancels=tree.cancels)
    records = {action.id: of_open(action) for action in planned.actions()}
    gates = {i: c.gate for i, c in planned.candidates.items() if c.gate}
    in_use = {c.placing.variant for c in planned.candidates.values() if c.action}
    plain = {
        "head": planned.head.commit if planned.head else "",
        "rewritten": planned.head.rewritten if planned.head else False,
        "steps": _steps(planned, records, gates),
        "waits": _waits(planned.plan.waits, records, gates),
        "warnings": list(planned.warnings),
        "foreign": [asdict(record) for record in planned.foreign],
        "cancels": [asdict(record) for record in planned.cancels],
        "down": {str(dependency): reason for dependency, reason in planned.outages.items()},
        "proposed": [of_open(each.row()).to_json() for each in pending],
    }
    return _planned(plain, settings, environ, in_use, at=planned.at, unknown=unknown)


def of_status(
    status: Status | None, components: Components, environ: Mapping[str, str]
) -> Planned | None:
    """The plan that the last round of this ``serve`` leaves; None if it is not the whole truth.

    Asks the remote for its head, and the engine for its drift; fetches nothing.

    Args:
        status: of that round; None if there is no recent one.
        environ: for tokens.
    """
    from dispatcher.errors import DisintoError
    from dispatcher.loop.rule_files import superseded, watched
    from dispatcher.settings import GateKind
    from dispatcher.status.action_record import of_open
    from dispatcher.status.overview import LISTED, open_actions, with_failures

    settings = components.settings
    if status is None or not status.quiet or settings.policy.gate is GateKind.FORGEJO:
        return None  # open pull requests would have to be listed as well
    if superseded(status.rules, watched(settings)):
        return None
    try:
        if not components.repo.unmoved(status.head, timeout_s=REMOTE_S):
            return None
    except DisintoError:
        return None
    plan = with_failures(status.plan, status.failures)
    candidates = status.candidates.values()
    actions = open_actions(
        plan, status.claims, observations=status.observations, candidates=status.candidates
    )
    gates = {c.key.action_id: c.gate for c in candidates if c.gate}
    plain = {
        "head": status.head,
        "rewritten": False,
        "steps": [],
        "waits": _waits(plan.waits, {action.id: of_open(action) for action in actions}, gates),
        "warnings": [*components.warnings(), *status.warnings],
        "foreign": [asdict(record) for record in status.foreign],
        "cancels": [asdict(record) for record in status.cancels[:LISTED]],
        "down": {str(d): outage.error for d, outage in status.outages.items()},
        "proposed": [],
    }
    in_use = {c.placing.variant for c in candidates if c.action}
    return _planned(plain, settings, environ, in_use, at=status.round_at, leader=status.leader)


def _planned(
    plain: dict[str, Any],
    settings: Settings,
    environ: Mapping[str, str],
    in_use: set[JobVariant],
    *,
    at: float,
    leader: str = "",
    unknown: str = "",
) -> Planned:
    """The plan, with the engine's drift or why that cannot be determined."""
    from dispatcher.engines import registry
    from dispatcher.errors import DisintoError

    engine = registry.get(settings.scheduler)
    key = engine.name if engine.administers else "nomad"  # as ever
    drift: dict[str, object] = {"drift": [], "error": ""}
    try:
        drift["drift"] = [asdict(change) for change in engine.drift(settings, environ, in_use)]
    except DisintoError as error:
        drift["error"] = str(error)
    return Planned(
        at=at,
        leader=leader,
        remote=settings.ops_repo.remote,
        branch=settings.ops_repo.branch,
        engine=key,
        title=engine.title,
        plain={"at": known_time(at), "leader": leader, **plain, key: drift},
        unknown=unknown,
    )


def _steps(
    planned: Forecast, records: Mapping[str, ActionRecord], gates: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What the next tick does, each the action's record with ``step``, ``does`` and ``gate``."""
    from dispatcher.operate.forecast import in_words, subject_of

    steps = []
    for step in planned.plan.steps:
        action_id, reason = subject_of(step)
        about = {
            "reason": planned.obstacles.get(action_id, reason) or None,
            "step": type(step).__name__.lower(),
            "does": in_words(step),
            "gate": gates.get(action_id),
        }
        steps.append({**_of(records, action_id), **about})
    return steps


def _waits(
    waits: tuple[Wait, ...], records: Mapping[str, ActionRecord], gates: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What waits, each the action's record with ``gate``."""
    return [
        {
            **_of(records, wait.action_id),
            "reason": wait.reason or wait.run,
            "waiting_for": wait.waiting_for.value,
            "gate": gates.get(wait.action_id),
        }
        for wait in waits
    ]


def _of(records: Mapping[str, ActionRecord], action_id: str) -> dict[str, Any]:
    from dispatcher.status.action_record import undecided

    return (records.get(action_id) or undecided(action_id)).to_json()
