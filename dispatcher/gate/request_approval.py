"""Asks whose approval of a merged pull request counts: by its reviews, and by what the forge says of
the accounts that gave them.

``approval`` judges the reviews and ``tally`` counts the people, both pure; what they need is read here.
Any unavailable server is an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from dispatcher.forge.records import Request, User
from dispatcher.gate.approval import ReviewCandidate, Submission, weigh
from dispatcher.gate.approvers import Approvers, Forge, administers
from dispatcher.gate.history import short
from dispatcher.gate.request_records import RequestRecords
from dispatcher.gate.tally import Vote, count, in_words
from dispatcher.model.approval_need import Need, Rule

MAX_CANDIDATES = 10
"""Approvals whose authors are looked up for one request."""

PASSED_OVER_SHOWN = 5

_A = TypeVar("_A")
_B = TypeVar("_B")


class RequestApprovals:
    """Counts the approvals of requests. Thread-safe; keeps nothing.

    Args:
        forge: the ops repo's repository on the forge.
        approvers: who may approve.
        threads: for calls to the forge that are made at the same time.
    """

    def __init__(self, forge: Forge, approvers: Approvers, threads: Executor) -> None:
        self._forge, self._approvers, self._threads = forge, approvers, threads

    def most_permissions(self, need: Need) -> int:
        """For how many of those who approved their permission will be needed."""
        return MAX_CANDIDATES if self._by_permission(need) else 0

    def of(
        self, request: Request, head: str, need: Need, records: RequestRecords | None
    ) -> tuple[tuple[str, ...], str]:
        """Who approved, one name per person, or () and what is missing.

        Args:
            head: the commit (hex) that was merged.
            need: what is required.
            records: answers to use; what they lack is asked for.

        Raises:
            TimeoutError: ``records`` did not come in time.
            Unavailable, Denied, TooLarge: the forge is unavailable, or has more than is read.
        """
        if request.user is None:
            return (), "the account that opened it is gone, so it is unknown who is not its author"
        number = request.number
        reviews = records.answer(records.reviews) if records else self._forge.reviews(number)
        if not reviews:
            missing = self._missing(need, (), frozenset({request.user.name}))
            return (), f"nobody reviewed it; {missing}"
        if records is not None:
            pushes, commits = records.answer(records.pushes), records.answer(records.commits)
        else:
            pushes, commits = self._both(
                lambda: self._forge.pushes(number), lambda: self._forge.request_commits(number)
            )
        submission = Submission(
            request=request, head=head, reviews=reviews, pushes=pushes, commits=commits
        )
        if submission.head_in_doubt:
            return (), (
                f"the last push to it was {short(submission.head_in_doubt)}, and its head is now "
                f"{short(head)}"
            )
        weighed = weigh(submission, need.people)
        votes, passed_over = [], list(weighed.passed_over)
        for candidate in weighed.candidates[:MAX_CANDIDATES]:
            vote = self._vote(candidate, weighed.addresses, need, records)
            if isinstance(vote, Vote):
                votes.append(vote)
            else:
                passed_over.append(f"{candidate.user.login} {vote}")
        tally = count(need, votes)
        if not tally.lacks:
            return tally.approved_by, ""
        shown = passed_over[:PASSED_OVER_SHOWN] or ([] if votes else ["nobody approved it"])
        return (), "; ".join([*shown, self._missing(need, votes, weighed.involved)])

    def _vote(
        self,
        candidate: ReviewCandidate,
        addresses: frozenset[str],
        need: Need,
        records: RequestRecords | None,
    ) -> Vote | str:
        """The approval, or why it does not count.

        Args:
            records: with permissions that are known, or asked for.
        """
        user, people = candidate.user, need.people
        account, vote = self._account(user, need, records)
        if account is None:
            return "approved it but no longer has an account"
        if not any(vote.may_count_for(rule, people) for rule in need.rules):
            return "approved it but may not approve actions"
        if account.email.lower() in addresses:
            return "approved it but its commits have the same e-mail address"
        if people.same(user.login, addresses) or people.same(account.email, addresses):
            return "approved it but wrote one of its commits"
        return vote

    def _account(
        self, user: User, need: Need, records: RequestRecords | None
    ) -> tuple[User | None, Vote]:
        """The account as it is now, and its approval. An answer about its permission has both."""
        if self._by_permission(need):
            asked = records.permissions.get(user.login) if records else None
            answer = (
                records.answer(asked) if records and asked else self._forge.permission(user.login)
            )
            vote = Vote(name=user.login, listed=administers(answer), teams=frozenset())
            if answer is None or answer.user is not None:
                return (answer.user if answer else None), vote
            return self._forge.user(user.login), vote
        return self._both(lambda: self._forge.user(user.login), lambda: self._standing(user, need))

    def _standing(self, user: User, need: Need) -> Vote:
        """An account's approval, with what the forge says of the account."""
        teams = {team.name for rule in need.rules for team in rule.teams if team.members is None}
        anybody = any(not rule.teams for rule in need.rules)
        return Vote(
            name=user.login,
            listed=anybody and self._approvers.may(self._forge, user),
            teams=frozenset(team for team in teams if self._forge.in_team(team, user.login)),
        )

    def _missing(self, need: Need, votes: Sequence[Vote], involved: frozenset[str]) -> str:
        """What is missing, and who could still approve."""
        if need.plain:
            return f"needs approval from {self._approvers}, who must not have contributed to it"

        def possible(rule: Rule) -> Sequence[str] | str:
            names = self._possible(rule)
            if isinstance(names, str):
                return names
            return [name for name in names if not need.people.same(name, involved)]

        return in_words(count(need, votes), need.people, possible) + (
            ", who must not have contributed to it"
        )

    def _possible(self, rule: Rule) -> Sequence[str] | str:
        """Who may approve by a rule; a description if the forge does not list them."""
        teams = [team.name for team in rule.teams if team.members is None]
        names = [name for team in rule.teams for name in team.members or ()]
        if not rule.teams:
            names, teams = list(self._approvers.logins), [self._approvers.team]
        members = [self._forge.team_members(team) for team in teams if team]
        names += [user.login for team in members for user in team]
        return names if names or rule.teams else str(self._approvers)

    def _by_permission(self, need: Need) -> bool:
        """Whether the forge's answer about an account's permission decides alone."""
        return self._approvers.by_permission and not any(rule.teams for rule in need.rules)

    def _both(self, one: Callable[[], _A], other: Callable[[], _B]) -> tuple[_A, _B]:
        """Run two calls concurrently: a decision takes a dozen, and each may cross an ocean.

        ``one`` must not use the threads itself: it would wait for a thread that waits for it.
        """
        under_way = self._threads.submit(one)
        answer = other()
        return under_way.result(), answer
