"""The checks of ``disinto doctor`` for the schedules of the ops repo."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dispatcher.decide.placing import claimed, place
from dispatcher.decide.policy import Policy
from dispatcher.decide.tiers import TierDecision, effective_tier
from dispatcher.gate.base import Gate
from dispatcher.model.action import Action
from dispatcher.model.checks import Check
from dispatcher.model.sure_time import SureTime
from dispatcher.operate.schedules import no_secret
from dispatcher.ops_repo import Formulas, OpsRepo
from dispatcher.settings import Settings
from dispatcher.settings.dynamic import variables_of
from dispatcher.settings.jobs import job_classes
from dispatcher.sources import Look, SourceState
from dispatcher.sources.schedules import Schedules


def check_schedules(
    settings: Settings, repo: OpsRepo, *, commit: str, policy: Policy, gate: Gate
) -> Iterator[Check]:
    """Whether each schedule is valid and approved.

    Args:
        commit: the branch's head (hex).
    """
    classes, variables = job_classes(settings), variables_of(settings.vault)

    def tier_of(action: Action) -> TierDecision:
        source = claimed(action)
        placing = place(classes, action, path="", source=source, variables=variables)
        return effective_tier(policy, action, placing)

    look = Look(
        now=time.time(),
        commit=commit,
        tier_of=tier_of,
        formulas=Formulas(commit=commit, formulas={}),
        marks={},
        down=(),
        is_open=lambda _id: False,
        is_used=lambda _id: False,
        ended=lambda _id: None,
        check=gate.check,
        ids=frozenset,
        written=lambda _id: None,
        problems=lambda *_: (),  # ``plan`` and ``status`` have them
        sure=lambda: SureTime(now=0.0),
        result_file=lambda _id: None,
        kept_results=dict,
    )
    limit = settings.limits.max_action_bytes
    notes = Schedules(repo, limit=limit, secret=no_secret).look(look).notes
    if notes and not settings.attestation.enabled:
        yield Check(
            name="schedules",
            ok=False,
            detail=f"{len(notes)} schedules start nothing, because nothing is signed",
            remedy="Set [attestation] enabled = true.",
        )
    for note in notes:
        if note.state is SourceState.ACTIVE:
            continue
        yield Check(
            name=f"schedule: {note.name}",
            ok=note.state is SourceState.WAITING,
            detail=note.warning,
            remedy="Fix the file, or delete it."
            if note.state is SourceState.BROKEN
            else "Approve its last change, or delete it.",
        )
    active = sum(note.state is SourceState.ACTIVE for note in notes)
    if active:
        yield Check(name="schedules", ok=True, detail=f"{active} active")
