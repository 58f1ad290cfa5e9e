"""What a decision asks of the forge, and who may approve by its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.forge.records import Permission, Push, Request, RequestCommit, Review, User


class Forge(Protocol):
    """The part of ``dispatcher.forge.ForgeApi`` that a decision needs."""

    def request(self, number: int) -> Request | None: ...
    def request_of(self, commit: str) -> Request | None: ...
    def closed_requests(self, page: int) -> Sequence[Request]: ...
    def merged_head(self, number: int) -> str | None: ...
    def blob_at(self, commit: str, path: str) -> str | None: ...
    def reviews(self, number: int) -> Sequence[Review]: ...
    def pushes(self, number: int) -> Sequence[Push]: ...
    def request_commits(self, number: int) -> Sequence[RequestCommit]: ...
    def permission(self, login: str) -> Permission | None: ...
    def user(self, login: str) -> User | None: ...
    def in_team(self, team: str, login: str) -> bool: ...
    def team_members(self, team: str) -> Sequence[User]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Approvers:
    """Who may approve: the accounts named, the members of a team, or, if neither is given,
    administrators of the repository or the site.
    """

    logins: tuple[str, ...] = ()
    team: str = ""

    def may(self, forge: Forge, user: User) -> bool:
        """Whether this account may approve."""
        if self.logins and user.name in {login.lower() for login in self.logins}:
            return True
        if self.team and forge.in_team(self.team, user.login):
            return True
        if self.logins or self.team:
            return False
        return administers(forge.permission(user.login))

    @property
    def by_permission(self) -> bool:
        """Whether the forge's answer about the permission decides alone."""
        return not (self.logins or self.team)

    def __str__(self) -> str:
        if self.logins or self.team:
            return " or ".join(
                (*self.logins, *((f"a member of {self.team}",) if self.team else ()))
            )
        return "an administrator"


def administers(answer: Permission | None) -> bool:
    """Whether an account administers the repository, or the site."""
    return answer is not None and answer.permission in ("admin", "owner")
