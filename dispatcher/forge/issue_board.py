"""Issues of a project on the forge, as far as reports need them: comments, labels, and who sees it.

It must not decide anything, and writes with a token of its own: see ``[sidecars] report_token_env``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import quote

from pydantic import Field, TypeAdapter

from dispatcher.forge.api import ForgeApi
from dispatcher.forge.exchange import many
from dispatcher.forge.records import Answer, User

REPORT_ACCESS = (
    "a valid token of an account that may write issues in the projects' repositories, with the scopes "
    "read:user, read:organization, read:repository and write:issue"
)
"""The token needed, for messages."""


class Label(Answer):
    """A label of a repository or of its organization.

    Attributes:
        exclusive: whether an issue has at most one label of its scope: the forge removes the others when
            this one is added.
    """

    id: int
    name: str
    exclusive: bool = False

    @property
    def scope(self) -> str:
        """What is before the last slash of an exclusive label; "" for any other."""
        return self.name.rpartition("/")[0] if self.exclusive else ""


class BoardIssue(Answer):
    """An issue.

    Attributes:
        state: open or closed.
        pull_request: None for an issue; the API returns pull requests as issues.
    """

    number: Annotated[int, Field(gt=0)]
    state: str
    labels: list[Label] | None = None
    pull_request: dict[str, object] | None = None

    @property
    def label_ids(self) -> Mapping[str, int]:
        """The ids of its labels by name."""
        return {label.name: label.id for label in self.labels or ()}


class Owner(Answer):
    """The account or organization that a repository belongs to."""

    login: str
    visibility: str = ""


class RepositoryInfo(Answer):
    """Who may see a repository, as far as itself says it."""

    full_name: str
    owner: Owner | None = None
    private: bool
    internal: bool = False

    @property
    def public(self) -> bool:
        """Whether everybody sees it, without an account."""
        if self.private or self.internal or self.owner is None:
            return False
        return self.owner.visibility == "public"


class TeamAccess(Answer):
    """A team with access to a repository.

    Attributes:
        units_map: its permission by part of the repository.
    """

    id: int
    permission: str
    units_map: dict[str, str] | None = None

    @property
    def reads_code(self) -> bool:
        """Whether its members can read the repository's files."""
        if self.permission in ("admin", "owner"):
            return True
        return (self.units_map or {}).get("repo.code", "none") != "none"


_ISSUE = TypeAdapter(BoardIssue)
_LABELS = many(Label)
_ORG: TypeAdapter[dict[str, object]] = TypeAdapter(dict[str, object])
_REPOSITORY = TypeAdapter(RepositoryInfo)
_TEAMS = many(TeamAccess)
_USERS = many(User)


class IssueBoard(ForgeApi):
    """The issues of one repository. Thread-safe. Errors: see ``ForgeApi``."""

    access = REPORT_ACCESS

    def issue(self, number: int) -> BoardIssue | None:
        """An issue or pull request; None for an unknown or deleted one, and if the token may not see
        the repository.
        """
        return self._http.get(f"{self._repo}/issues/{number}", _ISSUE)

    def info(self) -> RepositoryInfo:
        """The repository.

        Raises:
            Unavailable: it does not exist, or the token may not see it.
        """
        return self._http.must(self._repo, _REPOSITORY)

    def labels(self) -> Mapping[str, Label]:
        """All labels that the repository's issues may have, by name."""
        owner = quote(self.repository.partition("/")[0], safe="")
        of_org: Sequence[Label] = ()
        if self._of_organization():
            of_org = self._http.pages(f"/orgs/{owner}/labels", _LABELS)
        own = self._http.pages(f"{self._repo}/labels", _LABELS)
        return {label.name: label for label in (*of_org, *own)}

    def add_label(self, number: int, label: int) -> None:
        """Add a label, by its id, to an issue; one that it has already changes nothing."""
        self._http.send(
            "POST", f"{self._repo}/issues/{number}/labels", {"labels": [label]}, _LABELS
        )

    def remove_label(self, number: int, label: int) -> None:
        """Remove a label, by its id, from an issue; one that it lacks changes nothing."""
        self._http.delete(f"{self._repo}/issues/{number}/labels/{label}")

    def readers(self) -> frozenset[str]:
        """Lower-case logins of owner and collaborators of a private repository, and its teams as
        ``#<id>`` with the right that counts: all of them.
        """
        return self._people() | {f"#{team.id}" for team in self._access()}

    def file_readers(self) -> frozenset[str]:
        """The same, of teams only those that may read the repository's files."""
        return self._people() | {f"#{team.id}" for team in self._access() if team.reads_code}

    def _people(self) -> frozenset[str]:
        users = self._http.pages(f"{self._repo}/collaborators", _USERS)
        owner = self.repository.partition("/")[0].lower()
        return frozenset({owner, *(user.name for user in users)})

    def _access(self) -> Sequence[TeamAccess]:
        """Teams of the repository; none if it belongs to a person (405). Not asked of the organization,
        which a token may not see (404) although it sees the repository.
        """
        return self._http.get(f"{self._repo}/teams", _TEAMS, absent=405) or ()

    def _of_organization(self) -> bool:
        owner = quote(self.repository.partition("/")[0], safe="")
        return self._http.get(f"/orgs/{owner}", _ORG) is not None
