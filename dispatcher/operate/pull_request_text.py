"""Renders the pull request that ``disinto dispatch`` opens, for its reviewer."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.decide.tiers import Item, TierDecision
from dispatcher.gate.markdown import render
from dispatcher.model.action import Action
from dispatcher.model.run import FormulaRef

TEXT_LIMIT = 40_000
"""Characters of the action and of the formula that are shown; forges cut bodies at 65,535."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PullRequestText:
    """Title and body of a pull request."""

    title: str
    body: str


def pull_request_text(
    *,
    action: Action,
    path: str,
    action_text: str,
    tier: TierDecision,
    formula: FormulaRef,
    formula_path: str,
    formula_text: str,
    approvers: str = "an administrator",
) -> PullRequestText:
    """The text for a reviewer: tier, secrets, mounts, and the exact text and digest of the formula.

    Args:
        action, path, action_text: the action, its file's path, and that file's text.
        tier: the approval it needs, and why.
        formula, formula_path, formula_text: the formula, its path in the ops repo ("" for the
            operator's own directory), and its text.
        approvers: who may approve, for people (``str(Approvers(…))``).
    """
    source = (
        f"`{formula_path}` of this repository" if formula_path else "the operator's own directory"
    )
    body = render(
        "actions/pull_request.md.j2",
        action=action,
        path=path,
        action_text=_cut(action_text),
        tier=tier,
        secret_tiers=tier.of(Item.SECRET),
        mount_tiers=tier.of(Item.MOUNT),
        formula=formula,
        formula_source=source,
        formula_text=_cut(formula_text),
        approvers=approvers,
    )
    return PullRequestText(title=f"Run {action.id} ({formula.name}, tier {tier.tier})", body=body)


def _cut(text: str) -> str:
    if len(text) <= TEXT_LIMIT // 2:
        return text
    return f"{text[: TEXT_LIMIT // 2]}\n… {len(text) - TEXT_LIMIT // 2} more characters"
