"""The interface to the ops repo's history for gates. ``dispatcher.ops_repo`` implements it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.ops_repo.authorship import Contribution
from dispatcher.ops_repo.lineage import Change, Lineage


class History(Protocol):
    """Questions about commits of the clone. Thread-safe; raises ``Unavailable`` (remote) while
    there is no usable clone.
    """

    def lineage(self, commit: str, path: str) -> Lineage | None:
        """The origin of the file at ``commit``; None if no commit ever touched it."""
        ...

    def blob_at(self, commit: str, path: str) -> str | None:
        """Blob hash (hex) of the regular file at a commit; None for no file or a link."""
        ...

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether ``ancestor`` is ``commit`` or reachable from it."""
        ...

    def mainline(self, commit: str, *, since: str, limit: int) -> Sequence[str]:
        """First-parent chain from ``since`` (with it, first) up to ``commit``: the oldest
        ``limit`` of them, hex; () where ``since`` is not on the chain.
        """
        ...

    def withdrawn(self, commit: str, path: str) -> Collection[str]:
        """Commits (hex) whose approval of a path a rewritten history withdrew."""
        ...

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        """Why an approval by a commit (hex) is void because it is unknown whether it was
        withdrawn, as a clause; "" if it is valid.

        Args:
            at: when it was given, seconds since the epoch; None: at the commit's date.
        """
        ...

    def arrived_at(self, change: Change) -> float:
        """When a commit came to the branch, seconds since the epoch, never later than it was seen
        there; 0.0 if that is unknown.
        """
        ...

    def names_request(self, commit: str) -> int:
        """Number of the pull request that a commit's subject names, as a forge's merges do; 0 for none.
        Whoever wrote the commit chose it: it tells what to ask, and nothing else.
        """
        ...


class SignedHistory(History, Protocol):
    """What gate ``signed`` needs beyond that, where one approval by anybody is not enough."""

    def naming(self, text: str, *, since: str, commit: str) -> Sequence[str]:
        """Commits (hex) of ``commit``'s history and not of ``since``'s that carry a signature,
        whoever made it, and whose message contains a text, in the order of the branch's
        first-parent history; a limited number of them.
        """
        ...

    def contributions(self, lineage: Lineage, path: str) -> Sequence[Contribution]:
        """The commits that brought a file's present content, with their contributors: those that
        changed it and came to the branch together, the last change among them.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """Why a file has no single origin, as a sentence without a full stop."""

    reason: str
    commit: str


def origin(history: History, *, commit: str, path: str, blob: str) -> Lineage | Broken:
    """The file's lineage, if its content at ``commit`` comes from its last change."""
    lineage = history.lineage(commit, path)
    if lineage is None:
        return Broken(reason=f"no commit of the branch brought {path}", commit=commit)
    last = lineage.last.sha
    if lineage.rivals:
        return Broken(
            reason=f"commits {short(last)} and {short(lineage.rivals[0])} changed {path} side by "
            "side, and no commit resolves which one counts",
            commit=last,
        )
    if history.blob_at(last, path) != blob:
        return Broken(
            reason=f"{path} is not what commit {short(last)}, its last change, left: a merge "
            "restored older content",
            commit=last,
        )
    if history.blob_at(commit, path) != blob:
        return Broken(reason=f"{path} changed while it was being checked", commit=commit)
    return lineage


def removal_since(history: History, *, commit: str, formula: str, removed: str) -> str:
    """Why a formula's last approval does not cover that a file is missing; "" if it does, or if the
    file never was there.

    Args:
        commit: head of the branch (hex), at which ``removed`` is missing.
        formula, removed: paths of the formula and of the missing file.
    """
    removal = history.lineage(commit, removed)
    if removal is None:
        return ""
    change = history.lineage(commit, formula)
    together = change is not None and change.mainline.sha == removal.mainline.sha
    later = (
        change is not None
        and not removal.rivals
        and history.is_ancestor(removal.last.sha, change.last.sha)
    )
    if together or later:
        return ""
    return (
        f"commit {short(removal.last.sha)} removed {removed}, by which the params of {formula} were "
        f"checked; restore it, or change {formula} so that it is approved without"
    )


def short(sha: str) -> str:
    """A commit for people."""
    return sha[:12]
