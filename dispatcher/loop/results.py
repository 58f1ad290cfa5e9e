"""Builds the results of actions, for every way in which an action can end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from dispatcher.decide.steps import Reject
from dispatcher.errors import Problem
from dispatcher.model.inventory_entry import declared_change
from dispatcher.model.result import (
    LOGS_LIMIT,
    LONGEST_S,
    Result,
    ResultEngine,
    ResultFormula,
    ResultInput,
    ResultInventory,
    ResultOutput,
)
from dispatcher.model.run import Claim, Outcome, Phase, Placement, RunKey
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict


def of_run(
    claim: Claim,
    outcome: Outcome,
    engine: Placement,
    *,
    now: float,
    output: ResultOutput | None = None,
    sequence: int = 0,
) -> Result:
    """The result of a claimed run that has ended.

    Args:
        sequence: of what it does to the inventory; see ``ResultInventory``.
    """
    ran = outcome.started_at > 0 and outcome.finished_at >= outcome.started_at
    inventory, trouble = _inventory(claim, outcome, sequence)
    outputs = outcome.outputs
    if inventory is not None:
        outputs = {name: value for name, value in outputs.items() if name != "inventory"}
    return Result(
        id=claim.key.action_id,
        verdict=outcome.verdict,
        exit_code=_exit_code(outcome.verdict, outcome.exit_code),
        timestamp=rfc3339(now),
        logs=outcome.logs[-LOGS_LIMIT:],
        error="; ".join(part for part in (outcome.error, trouble) if part),
        started_at=rfc3339(outcome.started_at) if ran else None,
        finished_at=rfc3339(outcome.finished_at) if ran else None,
        duration_s=_duration_s(outcome) if ran else None,
        approved_by=claim.approved_by,
        tier=claim.tier,
        commit=claim.commit,
        blob=claim.key.blob,
        formula=(
            ResultFormula(
                name=claim.formula.name,
                sha256=claim.formula.sha256,
                inputs=tuple(
                    ResultInput(name=each.name, sha256=each.sha256) for each in claim.formula.inputs
                ),
            )
            if claim.formula
            else None
        ),
        engine=ResultEngine.model_validate(
            {"kind": engine.kind, "job": engine.job, "alloc": engine.alloc, "node": engine.node}
        ),
        emergency=claim.emergency,
        again_of=claim.again_of,
        outputs=outputs,
        inventory=inventory,
        output=output,
    )


def _inventory(claim: Claim, outcome: Outcome, sequence: int) -> tuple[ResultInventory | None, str]:
    """What the run did to the inventory, and what is wrong with that."""
    if claim.declares is None or not outcome.formula_started:
        return None, ""
    made, trouble = declared_change(
        claim.declares,
        outcome.outputs,
        action_id=claim.key.action_id,
        succeeded=outcome.verdict.success,
    )
    if made is None:
        return None, trouble
    sequences = {"sequence": sequence, "claim_sequence": claim.claim_sequence}
    return ResultInventory.model_validate({**made, **sequences}), trouble


def cancelled_before_start(key: RunKey, *, by: str, commit: str) -> Claim:
    """The claim of an action that was cancelled before it started, with its result.

    Args:
        by: who cancelled it, in words.
        commit: the head at which it was open (hex).
    """
    now = time.time()
    claim = Claim(key=key, phase=Phase.ENDED, commit=commit, revoked=True, claimed_at=now)
    outcome = Outcome(
        verdict=Verdict.CANCELLED,
        exit_code=Verdict.CANCELLED.exit_code,
        error=f"cancelled by {by}, before it started",
    )
    return replace(claim, result=of_run(claim, outcome, Placement(kind=""), now=now).to_json())


def of_rejection(step: Reject, *, now: float) -> Result:
    """The result of an action that never runs."""
    candidate, action = step.candidate, step.candidate.action
    return Result(
        id=candidate.key.action_id,
        verdict=step.verdict,
        exit_code=step.verdict.exit_code,
        timestamp=rfc3339(now),
        error=step.reason,
        tier=candidate.tier,
        commit=step.commit,
        blob=candidate.key.blob,
        formula=ResultFormula(name=action.formula) if action else None,
        again_of=(action.again_of if action else None) or "",
    )


def in_words(problems: Sequence[Problem]) -> str:
    """Problems as the ``error`` of a result, one per line."""
    return "\n".join(str(p) for p in problems)


def _duration_s(outcome: Outcome) -> float | None:
    """None if a clock that was set makes it absurd."""
    seconds = round(outcome.finished_at - outcome.started_at, 3)
    return seconds if seconds <= LONGEST_S else None


def _exit_code(verdict: Verdict, exit_code: int) -> int:
    """0 goes with a success and with nothing else."""
    if verdict.success:
        return 0
    return exit_code if exit_code and abs(exit_code) < 2**31 else verdict.exit_code
