"""The record of an action that every command prints with ``--json``.

``docs/json.md`` documents it, and a test compares the two. ``state`` is where an action is, ``verdict``
how its run ended; times are RFC 3339. Unknown values are null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dispatcher.model.times import known_time

if TYPE_CHECKING:
    from dispatcher.model.result import Result
    from dispatcher.status.overview import OpenAction

FINISHED = "finished"
"""The state of an action whose result is in git; before that see ``overview.State``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionRecord:
    """One action.

    Attributes:
        state: a value of ``overview.State``, or ``FINISHED``.
        verdict, exit_code: once they are known.
        reason: why it is in that state, or the result's error.
        waiting_for: the kind of reason.
        since: when it was opened, claimed or finished.
        until: when the reason to wait ends by itself.
        formula, tier: what runs, and under which tier.
        approved_by: who approved.
        engine_id, node: the engine's name of the run, and where it runs.
        commit: of a finished action, the head at which its run was decided; of one that was just
            sent, the commit that added it.
        request: the pull request that contains it: ``number`` and ``url``.
        lock: ``name``, ``holder``, ``first`` and ``ahead`` of the lock that it has or waits for.
        again_of: id of the action that it repeats.
        progress: what its run last reported: ``stage``, ``percent``, ``detail``, ``at``.
        job_class, bot: where it runs, and the name of the bot whose token it gets; while it is open.
        result: the result file.
    """

    id: str
    state: str
    verdict: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    waiting_for: str | None = None
    since: str | None = None
    until: str | None = None
    formula: str | None = None
    tier: str | None = None
    approved_by: tuple[str, ...] = ()
    engine_id: str | None = None
    node: str | None = None
    commit: str | None = None
    request: Mapping[str, object] | None = None
    lock: Mapping[str, object] | None = None
    again_of: str | None = None
    progress: Mapping[str, object] | None = None
    job_class: str | None = None
    bot: str | None = None
    result: Mapping[str, object] | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as plain data, the keys in the order above."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ActionRecord:
        """The reverse of ``to_json``.

        Raises:
            TypeError, KeyError: the data is something else.
        """
        return cls(**{**data, "approved_by": tuple(data["approved_by"])})


def of_open(action: OpenAction) -> ActionRecord:
    """The record of an action without a result in git."""
    return ActionRecord(
        id=action.id,
        state=action.state.value,
        verdict=action.verdict or None,
        reason=action.reason or None,
        waiting_for=action.waiting_for.value if action.waiting_for else None,
        since=known_time(action.since),
        until=known_time(action.until),
        formula=action.formula or None,
        tier=str(action.tier) or None,
        approved_by=action.approved_by,
        engine_id=action.engine_id or None,
        node=action.node or None,
        request=action.request,
        lock=asdict(action.lock) if action.lock else None,
        again_of=action.again_of or None,
        progress=action.progress,
        job_class=action.job_class or None,
        bot=action.bot or None,
    )


def of_result(result: Result) -> ActionRecord:
    """The record of an action whose result is in git."""
    return ActionRecord(
        id=result.id,
        state=FINISHED,
        verdict=result.verdict.value,
        exit_code=result.exit_code,
        reason=result.error or None,
        since=result.finished_at or result.timestamp,
        formula=result.formula.name if result.formula else None,
        tier=result.tier.value if result.tier else None,
        approved_by=result.approved_by,
        engine_id=result.engine.alloc or result.engine.job or None,
        node=result.engine.node or None,
        commit=result.commit or None,
        again_of=result.again_of or None,
        result=json.loads(result.to_json()),
    )


def undecided(action_id: str) -> ActionRecord:
    """The record of an action in the ops repo whose state is not known yet."""
    return ActionRecord(id=action_id, state="waiting")
