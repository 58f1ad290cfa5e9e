"""Works out from the policy which approvals an action needs. Pure.

Rules add up and never replace each other: an action chooses its formula and secrets and may raise its
own tier, and none of that may lead to fewer approvals.
"""

from __future__ import annotations

from dataclasses import replace

from dispatcher.decide.policy import Policy
from dispatcher.decide.policy_approval import ApprovalRule
from dispatcher.model.approval_need import Need, People, Rule, Team
from dispatcher.model.run import Tier


def need_of(policy: Policy, tier: Tier, formula: str) -> Need:
    """What an action of a tier needs that runs a formula: the tier's rule, and the formula's.

    A formula of the ops repo needs the same at tier high.
    """
    people = People(named=tuple(policy.people.items()))
    of_tier = tier_rule(policy, tier)
    entry = policy.formulas.get(formula)
    if entry is None or entry.approval is None:
        return Need(rules=(of_tier,), people=people)
    source = f"[formulas.{formula}.approval]"
    own = _with(of_tier, entry.approval, policy, source=source)
    if own.teams != of_tier.teams:
        return Need(rules=(of_tier, own), people=people)
    both = replace(
        own,
        approvals=max(of_tier.approvals, own.approvals),
        author_may_sign=of_tier.author_may_sign and own.author_may_sign,
        source=own.source if own.approvals >= of_tier.approvals else of_tier.source,
    )
    return Need(rules=(both,), people=people)


def tier_rule(policy: Policy, tier: Tier) -> Rule:
    """The rule of a tier. What it does not set, it takes from the tier below: otherwise an action
    could get by with less if it asked for a higher tier.
    """
    rule = Rule()
    for each in (Tier.MEDIUM, Tier.HIGH):
        table = policy.approval.get(each)
        if each.rank <= tier.rank and table is not None:
            rule = _with(rule, table, policy, source=f"[approval.{each}]")
    return rule


def _with(rule: Rule, table: ApprovalRule, policy: Policy, *, source: str) -> Rule:
    """A rule, as far as a table does not set it otherwise."""
    author = table.author_may_sign
    return Rule(
        approvals=rule.approvals if table.approvals is None else table.approvals,
        teams=rule.teams
        if table.teams is None
        else tuple(_team(policy, name) for name in table.teams),
        author_may_sign=rule.author_may_sign if author is None else author,
        source=source,
    )


def _team(policy: Policy, name: str) -> Team:
    return Team(name=name, members=policy.teams.get(name))
