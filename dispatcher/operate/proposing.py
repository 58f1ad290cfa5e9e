"""Proposes a file: pushes a branch with the file, and opens one pull request for it.

Proposing the same content again returns the open pull request; a branch with other content is left
alone, and the error has the remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dispatcher.errors import Conflict
from dispatcher.forge.records import Request
from dispatcher.ops_repo import BranchExists, NewFile, OpsRepo

LIMIT = 1024 * 1024
"""Bytes of a file on a branch that are read to compare it; no file that is sent is larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PullRequest:
    """A pull request, by number and address."""

    number: int
    url: str

    @property
    def where(self) -> str:
        """For people: its address, or its number if the forge gives none."""
        return self.url or f"pull request {self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A file to be proposed.

    Attributes:
        what: the subject of a sentence about it, such as ``the request to cancel x``.
        branch: of the ops repo, without ``refs/heads/``.
        message: of the commit.
        title, body: of the pull request.
        same: whether the content of a file that was proposed before has the same effect.
    """

    what: str
    file: NewFile
    branch: str
    message: str
    title: str
    body: str
    same: Callable[[bytes], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """An open pull request.

    Attributes:
        commit: head of its branch (hex).
        again: whether it was open before.
    """

    commit: str
    request: PullRequest
    again: bool = False


class Forge(Protocol):
    """The part of ``dispatcher.forge.ForgeApi`` that is used."""

    def open_request(self, *, head: str, base: str, title: str, body: str) -> Request: ...
    def open_request_from(self, *, head: str, base: str) -> Request | None: ...


def propose(draft: Draft, *, repo: OpsRepo, forge: Forge, base: str) -> Opened:
    """Push the branch and open the pull request, unless that was done before.

    Args:
        base: the branch into which it is to be merged.

    Raises:
        Conflict: the branch exists with other content.
        Unavailable, Denied: the remote or the forge.
    """
    existing = forge.open_request_from(head=draft.branch, base=base)
    if existing is not None:
        request = _of(existing)
        commit = repo.fetch_ref(f"refs/heads/{draft.branch}")
        if not _holds_the_same(draft, commit, repo):
            raise _differs(draft, request)
        return Opened(commit=commit, request=request, again=True)
    try:
        commit = repo.propose([draft.file], branch=draft.branch, message=draft.message)
    except BranchExists:
        # From a call that ended before it opened anything, or of a request that was closed.
        commit = repo.fetch_ref(f"refs/heads/{draft.branch}")
        if not _holds_the_same(draft, commit, repo):
            raise _branch_exists(draft) from None
    opened = forge.open_request(head=draft.branch, base=base, title=draft.title, body=draft.body)
    return Opened(commit=commit, request=_of(opened))


def _differs(draft: Draft, request: PullRequest) -> Conflict:
    return Conflict(
        f"{draft.what} is already proposed with other content: {request.where}",
        remedy=f"To change it, push a commit to its branch {draft.branch}. To replace it, close the "
        f"pull request, delete the branch ({_delete(draft)}) and send it again.",
    )


def _branch_exists(draft: Draft) -> Conflict:
    return Conflict(
        f"the ops repo has a branch {draft.branch} already, with other content and without an open "
        "pull request",
        remedy=f"If nobody needs the branch, delete it ({_delete(draft)}) and send it again.",
    )


def _delete(draft: Draft) -> str:
    return f"git push origin --delete {draft.branch}"


def _holds_the_same(draft: Draft, commit: str, repo: OpsRepo) -> bool:
    blob = repo.blob_at(commit, draft.file.path)
    if blob is None:
        return False
    data = repo.read([blob], limit=LIMIT)[blob]
    return isinstance(data, bytes) and draft.same(data)


def _of(request: Request) -> PullRequest:
    return PullRequest(number=request.number, url=request.html_url)
