"""Whether an issue may show what only readers of the ops repo may see."""

from __future__ import annotations

from typing import Protocol

from dispatcher.errors import DisintoError
from dispatcher.forge.issue_board import RepositoryInfo


class VisibleRepository(Protocol):
    """The part of ``dispatcher.forge.issue_board.IssueBoard`` that tells who reads a repository."""

    def info(self) -> RepositoryInfo: ...
    def readers(self) -> frozenset[str]: ...
    def file_readers(self) -> frozenset[str]: ...


def all_read_ops_repo(project: VisibleRepository, ops: VisibleRepository | None) -> bool:
    """Whether everybody who sees an issue of a project may read the ops repo too. False if in doubt, and
    if the forge does not answer.

    A project that is the ops repo itself is no exception: a team may read its issues only.

    Args:
        ops: None if it is not on this forge.
    """
    if ops is None:
        return False
    try:
        ours, theirs = ops.info(), project.info()
        if ours.public:
            return True
        if not (ours.private and theirs.private):
            return False
        return project.readers() <= ops.file_readers()
    except DisintoError:
        return False
