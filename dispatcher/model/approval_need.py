"""How many approvals an action needs, and whose count. The policy decides it, gates check it.

Policies without any of these keys need one approval, by anybody whom the gate lets approve: ``PLAIN``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """People who may approve.

    Attributes:
        name: of ``[teams]`` in the policy, or ``org/team`` on the forge.
        members: persons or identities, see ``People``; None: the forge has the list.
    """

    name: str
    members: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One requirement: so many different people of these teams.

    Attributes:
        approvals: how many, 1 or more.
        teams: members of any of them count; () for everybody whom the gate lets approve.
        author_may_sign: whether the approval of somebody who wrote the content counts. Gate
            ``forgejo`` never counts it.
        source: the tables of the policy that ask for it, for people; "" for none.
    """

    approvals: int = 1
    teams: tuple[Team, ...] = ()
    author_may_sign: bool = True
    source: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is what a policy without any of these keys asks for."""
        return self.approvals == 1 and not self.teams and self.author_may_sign


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Who is the same person: names, each with its identities (principals, logins, addresses).

    Identities are compared without regard to case: at worst two approvals count as one.
    """

    named: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def person(self, identity: str) -> str:
        """The person to whom an identity belongs; one that nobody lists is a person by itself."""
        folded = identity.casefold()
        for name, identities in self.named:
            if folded == name.casefold() or folded in (each.casefold() for each in identities):
                return name.casefold()
        return folded

    def same(self, identity: str, others: frozenset[str]) -> bool:
        """Whether one of ``others`` is the same person as ``identity``."""
        person = self.person(identity)
        return any(self.person(other) == person for other in others)

    def logins(self, member: str) -> tuple[str, ...]:
        """A person's identities; the member itself if nobody is listed under that name."""
        for name, identities in self.named:
            if name.casefold() == member.casefold():
                return identities
        return (member,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What an action needs: all of these rules, each by itself.

    Attributes:
        rules: at least one. They do not replace each other, so that none can be escaped by choosing
            a formula, a secret or a tier.
        people: who is the same person.
    """

    rules: tuple[Rule, ...] = (Rule(),)
    people: People = People()

    def __post_init__(self) -> None:
        if not self.rules or any(rule.approvals < 1 for rule in self.rules):
            raise ValueError("an action of tier medium or high needs an approval")

    @property
    def plain(self) -> bool:
        """Whether one approval is enough, by anybody whom the gate lets approve."""
        return all(rule.plain for rule in self.rules)

    @property
    def approvals(self) -> int:
        """The least number of different people."""
        return max(rule.approvals for rule in self.rules)


def who(need: Need, otherwise: str) -> str:
    """Whose approvals are needed, for people: ``2 people, each a member of release``.

    Args:
        otherwise: who may approve by a rule that names no team.
    """
    return " and by ".join(_who(rule, otherwise) for rule in need.rules)


def _who(rule: Rule, otherwise: str) -> str:
    teams = " or ".join(team.name for team in rule.teams)
    each = f"a member of {teams}" if teams else otherwise
    return each if rule.approvals == 1 else f"{rule.approvals} people, each {each}"


PLAIN = Need()
