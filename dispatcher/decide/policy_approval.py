"""The tables of ``policy.toml`` on approvals: ``[approval.<tier>]``, ``[formulas.<name>.approval]``,
``[teams]`` and ``[people]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dispatcher.model.run import Tier
from dispatcher.toml.explain import complaint, did_you_mean
from dispatcher.toml.source import KeyPath, quoted

MOST_APPROVALS = 10

TEAM = r"^[^\s/,\"]{1,100}(/[^\s/,\"]{1,100})?$"
"""A team: a name of ``[teams]``, or ``org/team`` on the forge."""

IDENTITY = r"^[^,\s\"]{1,200}$"
"""A principal of allowed_signers, ``gpg:`` and a fingerprint, a login or an e-mail address."""


def checked_teams(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if value is not None and not value:
        raise complaint("it names no team", remedy="Name one, or remove the key")
    for index, name in enumerate(value or ()):
        if not re.fullmatch(TEAM, name):
            raise complaint(
                f"{quoted(name)} is not a name of a team",
                remedy='Write a name of [teams], or "org/team" for a team of the forge',
                inside=(index,),
            )
    return value


def checked_members(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for name, members in value.items():
        for part, place in ((name, (name,)), *((m, (name, i)) for i, m in enumerate(members))):
            if not re.fullmatch(IDENTITY, part) or not part.isprintable():
                raise complaint(
                    f"{quoted(part)} names nobody",
                    remedy="Write a principal, gpg:<fingerprint>, a login or an e-mail address",
                    inside=place,
                )
    return value


def checked_local_teams(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for name in value:
        if "/" in name:
            raise complaint(
                f"{quoted(name)} looks like a team of the forge",
                remedy="Use a name without a slash here; a team of the forge needs no table",
                inside=(name,),
            )
    return checked_members(value)


def checked_people(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    owners: dict[str, str] = {}
    for name, identities in checked_members(value).items():
        for identity in (name, *identities):
            owner = owners.setdefault(identity.casefold(), name)
            if owner != name:
                raise complaint(
                    f"{quoted(identity)} belongs to {quoted(owner)} already",
                    remedy="List each identity once: nobody is two people",
                    inside=(name,),
                )
    return value


@pydantic.dataclasses.dataclass(
    frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid")
)
class ApprovalRule:
    """A table ``[approval.<tier>]`` or ``[formulas.<name>.approval]``: how many approvals, and whose."""

    approvals: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST_APPROVALS,
            description="How many different people have to approve. Default 1.",
            examples=[2],
        ),
    ] = None
    teams: Annotated[
        tuple[Annotated[str, Field(json_schema_extra={"pattern": TEAM})], ...] | None,
        AfterValidator(checked_teams),
        Field(
            description="Whose approval counts: members of any of these, by names of [teams], or "
            "org/team of the forge.",
            examples=[["release", "acme/operators"]],
        ),
    ] = None
    author_may_sign: Annotated[
        bool | None,
        Field(
            description="Whether the approval of somebody who wrote the content counts (gate "
            "signed). Default true; gate forgejo never counts it."
        ),
    ] = None


def contradictions(
    approval: Mapping[Tier, ApprovalRule],
    of_formulas: Mapping[str, tuple[Tier | None, ApprovalRule]],
    teams: Mapping[str, object],
) -> Iterator[PydanticCustomError]:
    """What is wrong in these tables together.

    Args:
        of_formulas: by formula: its tier if the policy gives one, and its table.
    """
    if Tier.LOW in approval:
        yield complaint(
            "actions of tier low need no approval",
            remedy="Give the formula the tier medium or high instead",
            inside=("approval", Tier.LOW),
        )
    for tier, rule in approval.items():
        yield from _unknown_teams(rule, teams, ("approval", tier))
    for name, (its_tier, rule) in of_formulas.items():
        yield from _unknown_teams(rule, teams, ("formulas", name, "approval"))
        if its_tier is Tier.LOW:
            yield complaint(
                f"{quoted(name)} is of tier low, which needs no approval",
                remedy="Give it the tier medium or high, or remove this table",
                inside=("formulas", name, "approval"),
            )
    yield from _laxer(approval.get(Tier.MEDIUM), approval.get(Tier.HIGH))


def _unknown_teams(
    rule: ApprovalRule, teams: Mapping[str, object], place: KeyPath
) -> Iterator[PydanticCustomError]:
    for index, name in enumerate(rule.teams or ()):
        if "/" not in name and name not in teams:
            yield complaint(
                f"there is no team {quoted(name)}",
                remedy=did_you_mean(name, list(teams))
                or f"Add it to [teams]: {name} = [...]; or write org/team for one of the forge",
                inside=(*place, "teams", index),
            )


def _laxer(medium: ApprovalRule | None, high: ApprovalRule | None) -> Iterator[PydanticCustomError]:
    """An action may raise its own tier, so tier high may not ask for less than medium."""
    if medium is None or high is None:
        return
    if (high.approvals or MOST_APPROVALS) < (medium.approvals or 1):
        yield complaint(
            f"tier high needs fewer approvals than tier medium, which needs {medium.approvals}",
            remedy="Raise it: an action may raise its own tier",
            inside=("approval", Tier.HIGH, "approvals"),
        )
    if high.author_may_sign and medium.author_may_sign is False:
        yield complaint(
            "authors may sign at tier high, but not at tier medium",
            remedy="Remove it: an action may raise its own tier",
            inside=("approval", Tier.HIGH, "author_may_sign"),
        )
