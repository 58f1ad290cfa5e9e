"""The checks of ``disinto doctor`` for the approvals that the policy asks for: whether there can be any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from dispatcher.decide.approvals import need_of
from dispatcher.decide.policy import Policy
from dispatcher.forge import ForgeApi
from dispatcher.gate.tally import Vote, listed, still
from dispatcher.loop.rules import signers
from dispatcher.model.approval_need import Need, People, Rule
from dispatcher.model.checks import Check, looked
from dispatcher.model.run import Tier
from dispatcher.ops_repo.trusted_people import TrustedPeople, trusted_people
from dispatcher.settings import GateKind, Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Possible:
    """Who could approve by a rule.

    Attributes:
        names: one name per person.
        everybody: all who could put a key or account to something; None if that does not matter.
        known: False if there may be others.
    """

    names: Sequence[str]
    everybody: Sequence[str] | None = None
    known: bool = True


def check_approvals(
    policy: Policy, settings: Settings, forge: Callable[[], ForgeApi]
) -> Iterator[Check]:
    """Whether each tier and formula can get the approvals it needs; nothing if one is enough.

    Args:
        forge: the forge's API, with gate ``forgejo``.
    """
    for name, need in _needs(policy).items():
        if need.plain:
            continue
        check = partial(_check, name, need, settings, forge)
        yield from looked(f"approvals: {name}", check)
    if settings.policy.gate is GateKind.SIGNED and any(
        need.approvals > 1 for need in _needs(policy).values()
    ):
        yield from _shared_keys(policy, trusted_people(signers(settings)))


def _needs(policy: Policy) -> dict[str, Need]:
    """What is asked for, by what asks for it; a formula at the highest tier."""
    needs = {f"tier {tier}": need_of(policy, tier, "") for tier in policy.approval}
    for name, formula in policy.formulas.items():
        if formula.approval is not None:
            needs[f"formula {name}"] = need_of(policy, Tier.HIGH, name)
    return needs


def _check(
    name: str, need: Need, settings: Settings, forge: Callable[[], ForgeApi]
) -> Iterator[Check]:
    gate = settings.policy.gate
    if gate is GateKind.NONE:
        yield _wrong(name, "no gate is configured", "Set [policy] gate to signed or forgejo.")
        return
    trusted = trusted_people(signers(settings)) if gate is GateKind.SIGNED else None
    for rule in need.rules:
        problem = _team_problem(rule, gate)
        if problem is not None:
            yield _wrong(name, *problem)
            continue
        possible = (
            _signers(rule, need.people, trusted)
            if trusted is not None
            else _accounts(rule, need.people, settings, forge())
        )
        yield _enough(name, rule, possible)


def _team_problem(rule: Rule, gate: GateKind) -> tuple[str, str] | None:
    """What is wrong with a team that a rule names, and the remedy."""
    for team in rule.teams:
        if team.members is None and gate is GateKind.SIGNED:
            return (
                f"{team.name} is a team of a forge, which gate signed does not ask",
                f"List its members in [teams], and name that team in {rule.source}.",
            )
        if team.members is not None and not team.members:
            return f"team {team.name} has no members", f"Add them to [teams] {team.name}."
    return None


def _signers(rule: Rule, people: People, trusted: TrustedPeople) -> Possible:
    names = [n for n in trusted.names if Vote(name=n).may_count_for(rule, people)]
    return Possible(
        names=still(names, (), people),
        everybody=None if rule.author_may_sign else still(trusted.names, (), people),
        known=not trusted.open_ended,
    )


def _accounts(rule: Rule, people: People, settings: Settings, forge: ForgeApi) -> Possible:
    names = [name for team in rule.teams for name in team.members or ()]
    teams = [team.name for team in rule.teams if team.members is None]
    if not rule.teams:
        names = list(settings.forge.approvers)
        teams = [settings.forge.approver_team] if settings.forge.approver_team else []
        if not names and not teams:
            return Possible(names=(), known=False)  # administrators: the forge does not list them
    for team in teams:
        members = [user.login for user in forge.team_members(team)]
        if not members and len(teams) == 1 and not names:
            return Possible(names=())
        names += members
    return Possible(names=still(names, (), people))


def _enough(name: str, rule: Rule, possible: Possible) -> Check:
    count, of = len(possible.names), f" of {_teams(rule)}" if rule.teams else ""
    wanted = f"{rule.source or 'it'} needs {rule.approvals} approvals{of}"
    there = listed(possible.names) if possible.names else "nobody"
    if not possible.known:
        return Check(name=f"approvals: {name}", ok=True, detail=wanted)
    if count < rule.approvals:
        return _wrong(
            name,
            f"{wanted}, but only {count} could give one ({there})",
            "Trust more people, add them to the team, or lower approvals.",
        )
    everybody = possible.everybody
    if everybody is not None and len(everybody) <= rule.approvals:
        return _wrong(
            name,
            f"{wanted} by others than the author, but the only approvers are the authors: "
            f"{len(everybody)} people have a key ({listed(everybody)})",
            f"Trust {rule.approvals + 1} people, or let authors sign.",
        )
    return Check(
        name=f"approvals: {name}",
        ok=True,
        detail=f"{wanted}; {count} could give one",
        remedy="All of them have to approve, and none may be missing or the author: trust one more."
        if count == rule.approvals > 1
        else "",
    )


def _teams(rule: Rule) -> str:
    return listed([team.name for team in rule.teams])


def _shared_keys(policy: Policy, trusted: TrustedPeople) -> Iterator[Check]:
    """Keys that are listed for two people: their approvals count as one."""
    people = need_of(policy, Tier.HIGH, "").people
    names = list(trusted.keys)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            shared = trusted.keys[one] & trusted.keys[other]
            if shared and people.person(one) != people.person(other):
                yield Check(
                    name="approvals: keys",
                    ok=True,
                    detail=f"{one} and {other} have a key in common, so they count as one person",
                    remedy="Give each person a key of their own.",
                )


def _wrong(name: str, detail: str, remedy: str) -> Check:
    return Check(name=f"approvals: {name}", ok=False, detail=detail, remedy=remedy)
