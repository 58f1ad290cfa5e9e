"""Tiers: which approval an action needs. Pure, except for reading the policy file.

The tiers come from ``policy.toml`` of the dispatcher's own configuration, never from the ops
repo: whoever may merge an action must not decide what needs approval.

An action's tier is the highest of several contributions: its formula, what the action itself
requests, and each secret and mount that it passes to the formula. The formula alone is not enough: an
action chooses its secrets, so a harmless formula can be given a dangerous one.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator

from dispatcher.decide.locks import template_problem
from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.model.action import Action
from dispatcher.model.mounts import Mount
from dispatcher.model.names import ID_PATTERN, name_problem
from dispatcher.model.run import Tier
from dispatcher.model.times import parse_duration
from dispatcher.toml.explain import Reader, complaint
from dispatcher.toml.source import TomlSource, quoted

MAX_POLICY_BYTES = 1024 * 1024

SECRET_GLOB = "^[A-Z0-9_*?]{1,100}$"  # noqa: S105 - a pattern of names
"""Names of secrets, with the wildcards of ``fnmatch``: ``*`` and ``?``."""

LOCK_GLOB = "^[a-z0-9_*?-]{1,100}$"
"""Names of locks, with the same wildcards."""

MAX_AGE_S = 3_650 * 86_400.0

_NAMED = 3
"""Maximum number of items that a reason names, of those that raise a tier; the rest is counted."""


def _checked_formulas(value: dict[str, object]) -> dict[str, object]:
    for name in value:
        if wrong := name_problem(name, "a formula's name"):
            raise complaint(wrong[0], remedy=wrong[1], inside=(name,))
    return value


def _checked_globs(value: Mapping[str, Tier] | None) -> Mapping[str, Tier] | None:
    for glob in value or ():
        _check_glob(glob, inside=(glob,))
    return value


def _checked_list(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, glob in enumerate(value):
        _check_glob(glob, inside=(index,))
    return value


def _checked_locks(value: dict[str, Tier]) -> dict[str, Tier]:
    for glob in value:
        if not re.fullmatch(LOCK_GLOB.strip("^$"), glob):
            raise complaint(
                f"{quoted(glob)} matches no lock",
                remedy="Use a-z, 0-9, - and _, and * or ? as wildcards; for example prod-*",
                inside=(glob,),
            )
    return value


def _checked_template(value: str) -> str:
    if wrong := template_problem(value):
        raise complaint(wrong, remedy='Write a name such as "deploy-{host}"')
    return value


def _checked_ages(value: dict[Tier, str]) -> dict[Tier, str]:
    for tier, text in value.items():
        try:
            seconds = parse_duration(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= MAX_AGE_S:
            raise complaint(
                f"{quoted(text)} is not an age that an approval can have",
                remedy='Write for example "7d" or "12h"; at most 3650d',
                inside=(tier,),
            )
    return value


def _check_glob(glob: str, *, inside: tuple[str | int, ...]) -> None:
    if not re.fullmatch(SECRET_GLOB.strip("^$"), glob):
        raise complaint(
            f"{quoted(glob)} matches no secret",
            remedy="Use A-Z, 0-9 and _, and * or ? as wildcards; for example DEPLOY_*",
            inside=inside,
        )


_CONFIG = ConfigDict(extra="forbid")


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class FormulaPolicy:
    """A table ``[formulas.<name>]``: a formula's tier, and what it may be given at that tier."""

    tier: Annotated[
        Tier | None,
        Field(description="The formula's tier, unless [tiers] gives it.", examples=["low"]),
    ] = None
    secrets: Annotated[
        tuple[Annotated[str, Field(json_schema_extra={"pattern": SECRET_GLOB})], ...],
        AfterValidator(_checked_list),
        Field(
            description="Secrets, by name or glob, that do not raise the tier of this formula.",
            examples=[["DEPLOY_*"]],
        ),
    ] = ()
    mounts: Annotated[
        tuple[Mount, ...],
        Field(description="Mounts that do not raise the tier of this formula."),
    ] = ()
    lock: Annotated[
        str,
        AfterValidator(_checked_template),
        Field(
            description="Lock of each action of this formula. {name} stands for a value of its "
            "[params].",
            examples=["deploy-{host}"],
        ),
    ] = ""


@pydantic.dataclasses.dataclass(
    frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", title="Policy")
)
class Policy:
    """The file ``policy.toml``: how much harm each formula, secret and mount can do.

    ``secrets`` and ``mounts`` are None if the policy does not mention them: then they raise no
    tier, which is what a policy meant before these tables existed.
    """

    tiers: Annotated[
        dict[str, Tier],
        AfterValidator(_checked_formulas),
        Field(
            description="Tier by formula: low, medium or high. A formula that is not named is "
            "high.",
            json_schema_extra={"propertyNames": {"pattern": ID_PATTERN}},
        ),
    ] = Field(default_factory=dict)
    formulas: Annotated[
        dict[str, FormulaPolicy],
        AfterValidator(_checked_formulas),
        Field(
            description="By formula: its tier, and the secrets and mounts it is trusted with.",
            json_schema_extra={"propertyNames": {"pattern": ID_PATTERN}},
        ),
    ] = Field(default_factory=dict)
    secrets: Annotated[
        dict[str, Tier] | None,
        AfterValidator(_checked_globs),
        Field(
            description="Tier by secret: a name, or a glob with * and ?. The most specific entry "
            "counts; a secret that none matches is high.",
            json_schema_extra={"propertyNames": {"pattern": SECRET_GLOB}},
        ),
    ] = None
    mounts: Annotated[
        dict[Mount, Tier] | None,
        Field(description="Tier by mount. A mount that is not named is high."),
    ] = None
    locks: Annotated[
        dict[str, Tier],
        AfterValidator(_checked_locks),
        Field(
            description="Tier by lock: what an action needs that names it itself. A name, or a "
            "glob with * and ?; the most specific entry counts. A lock that none matches raises "
            "no tier.",
            json_schema_extra={"propertyNames": {"pattern": LOCK_GLOB}},
        ),
    ] = Field(default_factory=dict)
    max_age: Annotated[
        dict[Tier, str],
        AfterValidator(_checked_ages),
        Field(
            description="By tier: how old an approval may be when the action starts. An older one "
            "has to be given again.",
            examples=[{"high": "7d"}],
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_tier_each(self) -> Policy:
        for name, entry in self.formulas.items():
            if entry.tier is not None and name in self.tiers:
                raise complaint(
                    f"the tier of {quoted(name)} is given twice",
                    remedy=f"Remove it here or from [tiers], which gives it {self.tiers[name]}",
                    inside=("formulas", name, "tier"),
                )
        return self

    def named(self) -> frozenset[str]:
        """Formulas that the policy gives a tier."""
        return frozenset(self.tiers) | {n for n, f in self.formulas.items() if f.tier}

    @property
    def judges_secrets(self) -> bool:
        """Whether secrets count: there is a ``[secrets]`` table, or a formula lists secrets."""
        return self.secrets is not None or any(f.secrets for f in self.formulas.values())

    @property
    def judges_mounts(self) -> bool:
        """Whether mounts count: there is a ``[mounts]`` table, or a formula lists mounts."""
        return self.mounts is not None or any(f.mounts for f in self.formulas.values())

    def max_age_s(self, tier: Tier) -> float | None:
        """Seconds that an approval of this tier counts; None for as long as it stands."""
        text = self.max_age.get(tier)
        return parse_duration(text) if text else None

    def formula_tier(self, name: str) -> Tier | None:
        """The tier that the policy gives a formula; None if it does not name it."""
        entry = self.formulas.get(name)
        return entry.tier if entry and entry.tier else self.tiers.get(name)


class Item(StrEnum):
    """What contributes to a tier."""

    FORMULA = "formula"
    ACTION = "action"
    SECRET = "secret"  # noqa: S105 - a kind of item
    MOUNT = "mount"
    LOCK = "lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """The contribution of one item to an action's tier.

    Attributes:
        item: formula, action, secret, mount or lock.
        name: of the formula, secret, mount or lock; the id of the action.
        tier: the tier that it requires.
        source: where that comes from, e.g. ``[secrets] PROD_*``; for people.
    """

    item: Item
    name: str
    tier: Tier
    source: str

    def __str__(self) -> str:
        return "the action" if self.item is Item.ACTION else f"{self.item} {self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TierDecision:
    """The tier that counts for an action, and why.

    Attributes:
        contributions: the formula first, then the action if it asks for a tier, then each secret
            and each mount that the policy judges.
        reason: one sentence for people.
        raised: the part of it that names what raises the tier above the formula's; "" if nothing
            does.
    """

    contributions: tuple[Contribution, ...]
    reason: str
    raised: str = ""

    @property
    def tier(self) -> Tier:
        """The highest tier of all contributions."""
        return max((c.tier for c in self.contributions), key=lambda tier: tier.rank)

    def of(self, item: Item) -> dict[str, Tier]:
        """Tiers by name of the secrets or mounts that were judged."""
        return {c.name: c.tier for c in self.contributions if c.item is item}


READER = Reader(adapter=TypeAdapter(Policy), subject="the policy")

UNKNOWN = Tier.HIGH
"""The tier of a formula, and of a judged secret or mount, that the policy does not name."""


def parse_policy(data: bytes, *, path: str) -> Policy:
    """Parse the bytes of a ``policy.toml``.

    Raises:
        InvalidInput: all problems at once, each with its place.
    """
    source = TomlSource.parse(data, path=path, limit=MAX_POLICY_BYTES)
    if source.problems:
        raise InvalidInput(source.problems)
    read = READER.read(source.data, source.problem)
    if not isinstance(read, Policy):
        raise InvalidInput(read)
    return read


def load_policy(file: Path | None) -> Policy:
    """The policy of a file; without one, every formula is of tier high.

    Raises:
        InvalidInput: see ``parse_policy``.
        Misconfigured: the file cannot be read.
    """
    return parse_policy(read_policy(file), path=str(file)) if file is not None else Policy()


def read_policy(file: Path) -> bytes:
    """The bytes of a policy file, up to one more than it may have.

    Raises:
        Misconfigured: the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"the policy file {file} cannot be read: {error.strerror}",
            remedy="Correct [policy] file in the settings, or create the file",
        ) from error


def effective_tier(policy: Policy, action: Action) -> TierDecision:
    """The highest tier of formula, action, secrets and mounts."""
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
        contributions += [_of_secret(policy, name, trust, formula) for name in action.secrets]
    if policy.judges_mounts:
        contributions += [_of_mount(policy, mount, trust, formula) for mount in action.mounts]
    if action.lock and (lock := _of_lock(policy, action.lock)):
        contributions.append(lock)
    raised = _raised(contributions, above=formula.tier)
    return TierDecision(
        contributions=tuple(contributions), reason=_reason(formula, action, raised), raised=raised
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
    highest = max((c.tier for c in contributions), key=lambda tier: tier.rank)
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
