"""Counts approvals against what an action needs. Pure.

Different people count, not approvals: two accounts, keys or principals of one person are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dispatcher.model.approval_need import Need, People, Rule

_SHOWN = 5
"""Names that a reason shows; the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """An approval that the gate accepts as such; whether it counts is decided here.

    Attributes:
        name: who approved, as results record it.
        key: fingerprint of the key; "" if there is none.
        author: whether this person wrote the content.
        listed: whether the gate's own list lets them approve, which counts if a rule names no team.
        teams: teams of the forge that they are a member of, of those that the need names.
    """

    name: str
    key: str = ""
    author: bool = False
    listed: bool = True
    teams: frozenset[str] = frozenset()

    def may_count_for(self, rule: Rule, people: People) -> bool:
        """Whether a rule lets this person approve, if they are no author."""
        if not rule.teams:
            return self.listed
        return any(
            team.name in self.teams
            if team.members is None
            else people.same(self.name, frozenset(team.members))
            for team in rule.teams
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """A rule that is not satisfied.

    Attributes:
        rule: the rule.
        required: how many different people it takes.
        names: who counts already.
    """

    rule: Rule
    required: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """The count.

    Attributes:
        approved_by: who approved, one name per person; () unless every rule is satisfied.
        lacks: the rules that are not.
    """

    approved_by: tuple[str, ...]
    lacks: tuple[Lack, ...]


@dataclass
class _Voter:
    """One person, and all that is known by this person's approvals."""

    people: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    votes: list[Vote] = field(default_factory=list)

    def take(self, vote: Vote, person: str) -> None:
        self.people.add(person)
        self.keys |= {vote.key} - {""}
        self.votes.append(vote)

    def join(self, other: _Voter) -> None:
        self.people |= other.people
        self.keys |= other.keys
        self.votes += other.votes

    def counts_for(self, rule: Rule, people: People) -> bool:
        if not rule.author_may_sign and any(vote.author for vote in self.votes):
            return False
        return any(vote.may_count_for(rule, people) for vote in self.votes)


def count(need: Need, votes: Iterable[Vote], *, author_unknown: bool = False) -> Tally:
    """Count votes.

    Args:
        author_unknown: nothing proves who wrote the content. Any of the approvers may have, so one
            more has to approve where authors may not.
    """
    voters = _voters(votes, need.people)
    lacks, counting = [], []
    for rule in need.rules:
        required = rule.approvals + (author_unknown and not rule.author_may_sign)
        valid = [voter for voter in voters if voter.counts_for(rule, need.people)]
        if len(valid) < required:
            names = tuple(voter.votes[0].name for voter in valid)
            lacks.append(Lack(rule=rule, required=required, names=names))
        counting += valid
    if lacks:
        return Tally(approved_by=(), lacks=tuple(lacks))
    approved_by = (voter.votes[0].name for voter in voters if voter in counting)
    return Tally(approved_by=tuple(approved_by), lacks=())


def _voters(votes: Iterable[Vote], people: People) -> list[_Voter]:
    """One entry per person: approvals by the same person, or by the same key, are one."""
    voters: list[_Voter] = []
    for vote in votes:
        person = people.person(vote.name)
        same = [v for v in voters if person in v.people or (vote.key and vote.key in v.keys)]
        voter = same[0] if same else _Voter()
        for other in same[1:]:
            voter.join(other)
            voters.remove(other)
        voter.take(vote, person)
        if not same:
            voters.append(voter)
    return voters


def in_words(
    tally: Tally,
    people: People,
    possible: Callable[[Rule], Sequence[str] | str],
    *,
    unknown: str = "",
) -> str:
    """What is missing, as clauses that name who could still approve.

    Args:
        possible: who may approve by a rule, or a description if there is no list of them.
        unknown: why one more approval is needed than the rule has, if the author is unknown.
    """
    return "; ".join(_lack(lack, people, possible(lack.rule), unknown) for lack in tally.lacks)


def _lack(lack: Lack, people: People, possible: Sequence[str] | str, unknown: str) -> str:
    more = lack.required - len(lack.names)
    rule = f" ({lack.rule.source})" if lack.rule.source else ""
    done = f"{len(lack.names)} of {lack.required} approvals{rule}"
    if lack.names:
        done = f"{done}, by {', '.join(lack.names)}"
    why = f", because {unknown}" if unknown and lack.required > lack.rule.approvals else ""
    if isinstance(possible, str):
        return f"{done}{why}; needs {more} more, from {possible}"
    left = still(possible, lack.names, people)
    if len(left) < more:
        others = f"only {listed(left)} could still approve" if left else "nobody else may approve"
        return f"{done}{why}; needs {more} more, but {others}"
    return f"{done}{why}; needs {more} more, from {listed(left)}"


def still(possible: Iterable[str], names: Iterable[str], people: People) -> list[str]:
    """Those who did not approve yet, one name per person."""
    taken = {people.person(name) for name in names}
    left = []
    for name in possible:
        if (person := people.person(name)) not in taken:
            taken.add(person)
            left.append(name)
    return left


def listed(names: Sequence[str]) -> str:
    """Names in words, the first few of them."""
    if len(names) > _SHOWN + 1:
        return f"{', '.join(names[:_SHOWN])} or {len(names) - _SHOWN} others"
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
