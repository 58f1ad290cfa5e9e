"""Who reads issue and ops repo, on a real forge: private repositories, collaborators and teams."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.forge.issue_board import IssueBoard
from dispatcher.gate.issue_audience import all_read_ops_repo
from dispatcher.settings import ForgeSettings
from tests.servers.forgejo import Account, Forgejo

pytestmark = pytest.mark.needs("forgejo")

SCOPES = ("read:user", "read:organization", "read:repository", "write:issue")
READ_ALL = ["repo.code", "repo.issues", "repo.pulls", "repo.releases"]
_names = itertools.count(1)


@dataclass
class Two:
    """Project and ops repo of one owner, both private, and the account that reports on issues."""

    forge: Forgejo
    owner: Account
    reporter: Account
    home: str
    create: str

    def __post_init__(self) -> None:
        for name in ("app", "ops"):
            wanted = {"name": name, "private": True, "auto_init": True}
            self.owner.call("POST", self.create, wanted)
            self.add(self.reporter, name, permission="write")

    def add(self, account: Account, name: str, *, permission: str = "read") -> None:
        path = f"/repos/{self.home}/{name}/collaborators/{account.login}"
        self.owner.call("PUT", path, {"permission": permission})

    def publish(self, name: str) -> None:
        self.owner.call("PATCH", f"/repos/{self.home}/{name}", {"private": False})

    def team(self, units: list[str], *names: str, **more: Any) -> None:
        """A team that reads these parts of these repositories, with a member of its own."""
        fields = {"name": f"t{next(_names)}", "permission": "read", "units": units, **more}
        team = self.owner.call("POST", f"/orgs/{self.home}/teams", fields)["id"]
        member = self.forge.account("member")
        self.owner.call("PUT", f"/teams/{team}/members/{member.login}")
        for name in names:
            self.owner.call("PUT", f"/teams/{team}/repos/{self.home}/{name}")
        # what the forge itself lets that member see, so that the cases are what they claim to be
        for name in names:
            assert member.call("GET", f"/repos/{self.home}/{name}")["name"] == name

    def board(self, name: str, account: Account) -> IssueBoard:
        settings = ForgeSettings(url=self.forge.url, repository=f"{self.home}/{name}")
        return IssueBoard(settings, token=account.token)

    def shown(self, *, to: Account | None = None) -> bool:
        """Whether a log may be shown on an issue; ``to``: as whom the forge is asked."""
        account = (to or self.reporter).with_scopes(*SCOPES)
        return all_read_ops_repo(self.board("app", account), self.board("ops", account))


@pytest.fixture
def person(forge: Forgejo) -> Two:
    owner = forge.account("owner")
    return Two(forge, owner, forge.account("reporter"), owner.login, "/user/repos")


@pytest.fixture
def organization(forge: Forgejo) -> Callable[..., Two]:
    def made(visibility: str = "public") -> Two:
        owner, name = forge.account("owner"), f"audience{next(_names)}{forge.admin.login[:1]}"
        owner.call("POST", "/orgs", {"username": name, "visibility": visibility})
        return Two(forge, owner, forge.account("reporter"), name, f"/orgs/{name}/repos")

    return made


def test_collaborators_of_private_repositories(person: Two, forge: Forgejo) -> None:
    assert person.shown()
    guest = forge.account("guest")
    person.add(guest, "app")
    assert not person.shown()
    person.add(guest, "ops")
    assert person.shown()
    assert not person.shown(to=forge.account("stranger"))


def test_public_repositories(person: Two) -> None:
    person.publish("app")
    assert not person.shown()
    person.publish("ops")
    assert person.shown()


def test_teams_of_an_organization(organization: Callable[..., Two]) -> None:
    two = organization()
    assert two.shown()
    two.team(READ_ALL, "app", "ops")
    two.team(["repo.issues"], "ops")
    assert two.shown()
    two.team(["repo.issues"], "app", "ops")  # they read the issue, and no file of the ops repo
    assert not two.shown()


@pytest.mark.parametrize("visibility", ["public", "limited", "private"])
def test_a_team_of_the_project_alone(organization: Callable[..., Two], visibility: str) -> None:
    """Also where the account that reports is no member, and cannot see a private organization."""
    two = organization(visibility)
    two.team(READ_ALL, "app")
    assert not two.shown()


def test_a_team_with_all_repositories(organization: Callable[..., Two]) -> None:
    two = organization()
    two.team(READ_ALL, includes_all_repositories=True)
    assert two.shown()
    two.team(["repo.issues"], includes_all_repositories=True)
    assert not two.shown()


def test_a_public_repository_of_an_organization_that_not_everybody_sees(
    organization: Callable[..., Two],
) -> None:
    two = organization("private")
    two.publish("ops")
    two.publish("app")
    assert not two.shown(), "who sees them is unknown"
