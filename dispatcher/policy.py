"""Tiers: which formula may do how much harm. Pure, apart from reading the one file.

The tiers come from ``policy.toml`` of the dispatcher's own configuration, never from the ops
repo: whoever may merge an action must not decide what needs approval.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from dispatcher.action import ID_PATTERN, Action, name_problem
from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.explain import Reader, complaint
from dispatcher.run import Tier
from dispatcher.toml_source import TomlSource, quoted

MAX_POLICY_BYTES = 1024 * 1024


def _checked_formulas(value: dict[str, Tier]) -> dict[str, Tier]:
    for name in value:
        if wrong := name_problem(name, "a formula's name"):
            raise complaint(wrong[0], remedy=wrong[1], inside=(name,))
    return value


@pydantic.dataclasses.dataclass(
    frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", title="Policy")
)
class Policy:
    """The file ``policy.toml``: how much harm each formula can do."""

    tiers: Annotated[
        dict[str, Tier],
        AfterValidator(_checked_formulas),
        Field(
            description="Tier by formula: low, medium or high. A formula that is not named is high.",
            json_schema_extra={"propertyNames": {"pattern": ID_PATTERN}},
        ),
    ] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class TierDecision:
    """The tier that counts for an action, and why.

    Attributes:
        tier: what counts; never lower than ``from_policy``.
        from_policy: the formula's tier.
        raised_by_action: True where the action asked for more than the policy gives.
        reason: one sentence for people.
    """

    tier: Tier
    from_policy: Tier
    raised_by_action: bool
    reason: str


READER = Reader(adapter=TypeAdapter(Policy), subject="the policy")

UNKNOWN = Tier.HIGH
"""The tier of a formula that the policy does not name."""


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
    if file is None:
        return Policy()
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"the policy file {file} cannot be read: {error.strerror}",
            remedy="Correct [policy] file in the settings, or make the file",
        ) from error
    return parse_policy(data, path=str(file))


def effective_tier(policy: Policy, action: Action) -> TierDecision:
    """The higher of what the policy says of the formula and what the action asks for."""
    known = policy.tiers.get(action.formula)
    given = known or UNKNOWN
    source = (
        f"the policy gives {quoted(action.formula)} the tier {given}"
        if known
        else f"the policy does not name {quoted(action.formula)}, so it is {given}"
    )
    asked = action.blast_radius
    if asked is None or asked is given:
        return TierDecision(tier=given, from_policy=given, raised_by_action=False, reason=source)
    raised = asked.rank > given.rank
    if raised:
        reason = f"{source}; the action raises it to {asked}"
    else:
        reason = f"{source}; the action asks for {asked}, and an action cannot lower it"
    return TierDecision(
        tier=asked if raised else given, from_policy=given, raised_by_action=raised, reason=reason
    )
