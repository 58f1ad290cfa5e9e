"""The forge's responses, parsed once: only the fields that a decision is based on.

Unknown fields are ignored, because forges add some with every release; a known field of a wrong
type, or a missing one that matters, makes the entire response unusable (see ``ForgeApi``).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

Sha = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
"""A full object name, SHA-1 or SHA-256."""


class Answer(BaseModel):
    """Fields of a response; unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class User(Answer):
    """An account. ``login`` is compared without regard to case, as forges do."""

    id: int
    login: Annotated[str, Field(min_length=1, max_length=255)]
    email: str = ""

    @property
    def name(self) -> str:
        """The login, lower-cased: two of them are the same account exactly when they are equal."""
        return self.login.lower()


def _only_living(user: User | None) -> User | None:
    """A deleted account is returned as null or as a ghost with an id below 1."""
    return user if user is not None and user.id > 0 else None


def _time(value: Any) -> Any:
    """JSON has no times: RFC 3339 text is converted here, because the models are strict."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


MaybeUser = Annotated[User | None, AfterValidator(_only_living)]
Time = Annotated[AwareDatetime, BeforeValidator(_time)]


class Repository(Answer):
    full_name: str


class BranchEnd(Answer):
    """One side of a request. The head's ``sha`` is the branch's tip of today, not what was merged."""

    ref: str
    sha: str
    repo: Repository | None = None


class Request(Answer):
    """A pull request.

    Attributes:
        merge_commit_sha: the commit that the merge left on the base branch (for a rebase: the last
            one); None or "" before the merge.
        merged_at: when it was merged, by the forge's clock; None before.
        merge_base: where the request's commits begin.
        user: who opened it; None for a deleted account.
    """

    number: Annotated[int, Field(gt=0)]
    state: str
    merged: bool
    merge_commit_sha: Annotated[Sha | None, BeforeValidator(lambda raw: raw or None)] = None
    merged_at: Time | None = None
    merge_base: str = ""
    user: MaybeUser
    base: BranchEnd
    head: BranchEnd
    html_url: str = ""


class ReviewState(StrEnum):
    """The two decisive states. All others are irrelevant to approval."""

    APPROVED = "APPROVED"
    REQUEST_CHANGES = "REQUEST_CHANGES"


class Review(Answer):
    """One review. ``dismissed`` and ``stale`` do not change ``state``."""

    id: int
    user: MaybeUser
    state: str
    commit_id: str
    stale: bool
    official: bool
    dismissed: bool
    submitted_at: Time


class Event(Answer):
    """One entry of a request's time line; ``pull_push`` is a push to its branch."""

    type: str
    user: MaybeUser = None
    created_at: Time
    body: str = ""


class Push(Answer):
    """A push to a request's branch before the merge, as recorded by the forge.

    Attributes:
        user: who pushed; None for a deleted account.
        created_at: when, to the second.
        commit_ids: what was new to the branch, the new head last; after a force-push the old and
            the new head. Empty if all of it was on the base branch already.
    """

    user: MaybeUser
    created_at: Time
    commit_ids: list[Sha]


class Pushed(Answer):
    """Body of a ``pull_push`` event."""

    commit_ids: list[Sha] | None = None


class Identity(Answer):
    email: str


class GitCommit(Answer):
    author: Identity
    committer: Identity
    message: str = ""


class ParentCommit(Answer):
    sha: Sha


class RequestCommit(Answer):
    """A commit of a request; ``author`` and ``committer`` are accounts if the e-mail is known."""

    sha: Sha
    commit: GitCommit
    author: MaybeUser
    committer: MaybeUser
    parents: Annotated[list[ParentCommit], BeforeValidator(lambda raw: raw or [])] = []


class Content(Answer):
    """A path at a commit: ``sha`` is the blob's name when ``type`` is ``file``."""

    type: str
    sha: Sha
    path: str


class GitObject(Answer):
    sha: Sha
    type: str


class GitRef(Answer):
    ref: str
    object: GitObject


class Permission(Answer):
    """Rights on the repository: none, read, write, admin or owner (also of a site admin); and the
    account that has them, None from a forge that does not add it.
    """

    permission: str
    user: User | None = None


class Team(Answer):
    id: int
    name: str


class Comment(Answer):
    id: int
    user: MaybeUser
    body: str


class TimeLineEntry(Answer):
    """Any entry of an issue's time line; one of type ``comment`` is a comment, with its id."""

    id: int
    type: str
    user: MaybeUser = None
    body: str | None = None


def _text(value: Any) -> Any:
    """A missing text is empty; what no encoding has is replaced."""
    if value is None:
        return ""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_text)]


class Label(Answer):
    name: Text


class PullRequestMark(Answer):
    """What an issue has that is a pull request."""


MAX_NUMBER = 2**31 - 1
"""The highest number of an issue that counts. It becomes part of an action's id."""


class ListedIssue(Answer):
    """An issue as lists have it. Its texts are what strangers wrote.

    Attributes:
        pull_request: set for a pull request, which the API counts among issues.
        updated_at: when anything about it changed, by the forge's clock.
    """

    number: Annotated[int, Field(gt=0)]
    title: Text = ""
    body: Text = ""
    state: str
    labels: Annotated[list[Label], BeforeValidator(lambda raw: raw or [])] = []
    pull_request: PullRequestMark | None = None
    updated_at: Time


class RepositoryName(Answer):
    """The repository of an issue that another one mentions; the forge writes it in full here."""

    full_name: str


class MentioningIssue(Answer):
    """An issue whose text mentions another."""

    number: Annotated[int, Field(gt=0)]
    body: Text = ""
    state: str
    pull_request: PullRequestMark | None = None
    repository: RepositoryName | None = None


class IssueEvent(Answer):
    """One entry of an issue's time line: ``label`` (its body is "1" if the label was added),
    ``issue_ref`` (another issue mentions this one), and others.
    """

    type: str
    user: MaybeUser = None
    body: Text = ""
    label: Label | None = None
    ref_issue: MentioningIssue | None = None


class Status(Answer):
    """A commit status; the API calls its state ``status`` when it answers."""

    context: str
    status: str
    description: str = ""
    target_url: str = ""
