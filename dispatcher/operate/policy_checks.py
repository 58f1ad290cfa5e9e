"""The checks of ``disinto doctor`` for the policy. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dispatcher.decide.policy import Policy
from dispatcher.model.checks import Check
from dispatcher.model.run import Tier
from dispatcher.toml.explain import did_you_mean


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


def check_names(policy: Policy, file: Path, known: Collection[str]) -> Iterator[Check]:
    """Warnings about controls of formulas that do not exist: they hold nothing back.

    Nothing is said of ``[tiers]``: a formula whose name is misspelt there is of tier high.

    Args:
        known: names of the formulas that there are.
    """
    for place, names in _controlled(policy):
        unknown = [name for name in names if name not in known]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            yield Check(
                name=f"policy: {place}",
                ok=True,
                detail=f"{file} names the formula {unknown[0]}{more} in {place}, and there is no such "
                "formula, so the entry has no effect",
                remedy=did_you_mean(unknown[0], sorted(known))
                or "Correct the name, add the formula, or remove the entry.",
            )


def _controlled(policy: Policy) -> Iterator[tuple[str, Iterable[str]]]:
    """Where the policy names formulas that it holds back or asks more for, and which."""
    for name, window in policy.freeze.windows.items():
        yield f"freeze.windows.{name}.formulas", window.formulas
        yield f"freeze.windows.{name}.exempt", window.exempt
    for name, entry in policy.formulas.items():
        if entry.lock:
            yield f"formulas.{name}.lock", (name,)
        if entry.approval is not None:
            yield f"formulas.{name}.approval", (name,)


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
