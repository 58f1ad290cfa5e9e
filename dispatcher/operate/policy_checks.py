"""The checks of ``disinto doctor`` for the policy. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dispatcher.decide.policy import Policy
from dispatcher.model.checks import Check
from dispatcher.model.run import Tier


def check_policy(policy: Policy, file: Path | None) -> Iterator[Check]:
    """The policy itself, and what it leaves open.

    Without a table for secrets or mounts, anybody who may push an action can pass any of them to a
    formula below tier high. Such a policy keeps its meaning; a warning asks to make it explicit.
    """
    if file is None:
        yield Check(name="policy", ok=True, detail="none: all formulas are high")
        return
    below_high = sorted(n for n in policy.named() if policy.formula_tier(n) is not Tier.HIGH)
    count = len(policy.named())
    yield Check(name="policy", ok=True, detail=f"{file} names {count} formulas")
    if not below_high:
        return
    if not policy.judges_secrets:
        yield _silent("secrets", 'DEPLOY_TOKEN" or "DEPLOY_*', file, below_high)
    if not policy.judges_mounts:
        yield _silent("mounts", "ssh", file, below_high)


def _silent(table: str, example: str, file: Path, formulas: list[str]) -> Check:
    formula = formulas[0]
    others = f" and {len(formulas) - 1} more" if len(formulas) > 1 else ""
    return Check(
        name=f"policy: {table}",
        ok=True,
        detail=f"{file} has no table [{table}]: an action may pass any of the {table} to "
        f"{formula}{others} without raising its tier",
        remedy=f"Add the line [{table}], which makes each of them high, and name what a "
        f'formula is trusted with: [formulas.{formula}] {table} = [...], such as "{example}".',
    )
