"""The tier of an action: the highest of its formula, what the action itself requests, and each secret
and mount that it passes to the formula. Pure.

The formula alone is not enough: an action chooses its secrets, so a harmless formula can be given a
dangerous one.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dispatcher.decide.approvals import need_of
from dispatcher.decide.placing import Placing
from dispatcher.decide.policy import FormulaPolicy, Policy
from dispatcher.model.action import Action
from dispatcher.model.approval_need import Need
from dispatcher.model.job_class import JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Tier
from dispatcher.toml.source import quoted

_NAMED = 3
"""Maximum number of items that a reason names, of those that raise a tier; the rest is counted."""

UNKNOWN = Tier.HIGH
"""The tier of a formula, and of a judged secret or mount, that the policy does not name."""


class Item(StrEnum):
    """What contributes to a tier."""

    FORMULA = "formula"
    ACTION = "action"
    SECRET = "secret"  # noqa: S105 - a kind of item
    MOUNT = "mount"
    LOCK = "lock"
    BOT = "bot"
    EMERGENCY = "emergency"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """The contribution of one item to an action's tier.

    Attributes:
        item: formula, action, secret, mount, lock, bot or emergency.
        name: of the formula, secret, mount, lock or bot; the id of the action for the others.
        tier: the tier that it requires.
        source: where that comes from, e.g. ``[secrets] PROD_*``; for people.
    """

    item: Item
    name: str
    tier: Tier
    source: str

    def __str__(self) -> str:
        if self.item in (Item.ACTION, Item.EMERGENCY):
            return f"the {self.item}"
        return f"{self.item} {self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TierDecision:
    """The tier that counts for an action, and why.

    Attributes:
        contributions: the formula first, then the action if it asks for a tier, then each secret
            and each mount that the policy judges.
        reason: one sentence for people.
        raised: the part of it that names what raises the tier above the formula's; "" if nothing
            does.
        need: how many approvals the action needs at that tier, and whose.
        formula_need: the same for its formula, if that is in the ops repo.
    """

    contributions: tuple[Contribution, ...]
    reason: str
    need: Need
    formula_need: Need
    raised: str = ""

    @property
    def tier(self) -> Tier:
        """The highest tier of all contributions."""
        return _highest(self.contributions)

    @property
    def without_emergency(self) -> Tier:
        """The tier that the action would have if it were no emergency; freezes go by it."""
        return _highest(c for c in self.contributions if c.item is not Item.EMERGENCY)

    def of(self, item: Item) -> dict[str, Tier]:
        """Tiers by name of the secrets or mounts that were judged."""
        return {c.name: c.tier for c in self.contributions if c.item is item}


def effective_tier(policy: Policy, action: Action, placing: Placing | None = None) -> TierDecision:
    """The highest tier of formula, action, secrets and mounts.

    Args:
        placing: what the action's job class adds; None if classes are not known.
    """
    placing = placing or Placing(variant=JobVariant(mounts=frozenset(action.mounts)))
    formula = _of_formula(policy, action)
    contributions = [formula]
    if action.blast_radius is not None:
        contributions.append(
            Contribution(
                item=Item.ACTION,
                name=action.id,
                tier=action.blast_radius,
                source="blast_radius",
            )
        )
    trust = policy.formulas.get(action.formula, FormulaPolicy())
    if policy.judges_secrets:
        secrets = placing.all_secrets(action)
        contributions += [_of_secret(policy, name, trust, formula) for name in secrets]
    if policy.judges_mounts:
        mounts = placing.all_mounts(action)
        contributions += [_of_mount(policy, mount, trust, formula) for mount in mounts]
    if action.lock and (lock := _of_lock(policy, action.lock)):
        contributions.append(lock)
    if placing.bot_tier is not None:
        source = f"[jobs.{placing.variant.job_class}] bot_tier"
        contributions.append(
            Contribution(item=Item.BOT, name=placing.bot, tier=placing.bot_tier, source=source)
        )
    if action.emergency and policy.freeze.covers(_highest(contributions), action.formula):
        contributions.append(_of_emergency(policy, action))
    raised = _raised(contributions, above=formula.tier)
    return TierDecision(
        contributions=tuple(contributions),
        reason=_reason(formula, action, raised),
        raised=raised,
        need=need_of(policy, _highest(contributions), action.formula),
        formula_need=need_of(policy, Tier.HIGH, action.formula),
    )


def _of_formula(policy: Policy, action: Action) -> Contribution:
    given = policy.formula_tier(action.formula)
    name = quoted(action.formula)
    source = (
        f"the policy gives {name} the tier {given}"
        if given
        else f"the policy does not name {name}, so it is {UNKNOWN}"
    )
    return Contribution(
        item=Item.FORMULA, name=action.formula, tier=given or UNKNOWN, source=source
    )


def _of_secret(
    policy: Policy, name: str, trust: FormulaPolicy, formula: Contribution
) -> Contribution:
    glob = _most_specific(name, trust.secrets)
    if glob is not None:
        source, tier = f"[formulas.{formula.name}] secrets {glob}", formula.tier
    else:
        source, tier = _in_secrets(policy.secrets or {}, name)
    return Contribution(item=Item.SECRET, name=name, tier=tier, source=source)


def _of_mount(
    policy: Policy, mount: Mount, trust: FormulaPolicy, formula: Contribution
) -> Contribution:
    tiers = policy.mounts or {}
    if mount in trust.mounts:
        source, tier = f"[formulas.{formula.name}] mounts", formula.tier
    elif mount in tiers:
        source, tier = f"[mounts] {mount}", tiers[mount]
    else:
        source, tier = "not named in [mounts]", UNKNOWN
    return Contribution(item=Item.MOUNT, name=mount.value, tier=tier, source=source)


def _of_lock(policy: Policy, name: str) -> Contribution | None:
    """What a lock asks for that the action chose; None if the policy does not mention it."""
    ordered = sorted(policy.locks, key=lambda glob: (-policy.locks[glob].rank, glob))
    glob = _most_specific(name, ordered)
    if glob is None:
        return None
    return Contribution(
        item=Item.LOCK, name=name, tier=policy.locks[glob], source=f"[locks] {glob}"
    )


def _of_emergency(policy: Policy, action: Action) -> Contribution:
    """What an action needs that may start in a freeze; at any time, because an approval has no time."""
    return Contribution(
        item=Item.EMERGENCY,
        name=action.id,
        tier=policy.freeze.emergency_tier,
        source="[freeze] emergency_tier",
    )


def _highest(contributions: Iterable[Contribution]) -> Tier:
    return max((c.tier for c in contributions), key=lambda tier: tier.rank)


def _in_secrets(tiers: Mapping[str, Tier], name: str) -> tuple[str, Tier]:
    """Source and tier of a secret. Of globs that are equally specific the higher tier counts."""
    ordered = sorted(tiers, key=lambda glob: (-tiers[glob].rank, glob))
    glob = _most_specific(name, ordered)
    return (
        ("not named in [secrets]", UNKNOWN) if glob is None else (f"[secrets] {glob}", tiers[glob])
    )


def _most_specific(name: str, globs: Iterable[str]) -> str | None:
    """The glob that matches a name most exactly, the first of equals; None if none matches."""
    matching = [glob for glob in globs if fnmatch.fnmatchcase(name, glob)]
    return max(matching, key=_specificity, default=None)


def _specificity(glob: str) -> tuple[bool, int]:
    """An exact name comes before a glob, a longer literal beginning before a shorter one."""
    literal = re.split(r"[*?]", glob, maxsplit=1)[0]
    return literal == glob, len(literal)


def _raised(contributions: Sequence[Contribution], *, above: Tier) -> str:
    """What raises the tier, as ``secret PROD_DB raises it to high``; "" if nothing does."""
    highest = _highest(contributions)
    if highest is above:
        return ""
    raising = [c for c in contributions if c.tier is highest]
    if len(raising) == 1:
        only = raising[0]
        source = "" if only.item is Item.ACTION else f" ({only.source})"
        return f"{only} raises it to {highest}{source}"
    return f"{_listed([str(c) for c in raising])} raise it to {highest}"


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_NAMED] if len(names) > _NAMED + 1 else list(names)
    rest = len(names) - len(shown)
    last = f"{rest} more" if rest else shown.pop()
    return f"{', '.join(shown)} and {last}"


def _reason(formula: Contribution, action: Action, raised: str) -> str:
    if raised:
        return f"{formula.source}; {raised}"
    requested = action.blast_radius
    if requested is not None and requested.rank < formula.tier.rank:
        return f"{formula.source}; the action requests {requested}, and an action cannot lower it"
    return formula.source
