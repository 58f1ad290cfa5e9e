"""The origin of a file's content, given that merges may take it from any parent."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dispatcher.ops_repo.records import claimed_time

FORMAT = "%x01%H %ct %P%x00"
"""One commit. Names and messages are left out: they can hold anything."""

NEWEST = 32
"""Commits in which the last change of a file is looked for first."""

Git = Callable[..., str]
"""Runs git in the clone, paths taken literally; answers standard output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A commit that changed a file.

    Attributes:
        sha, parents: hashes; two or more parents make a merge.
        committed_at: seconds since the epoch, as the commit claims.
    """

    sha: str
    parents: tuple[str, ...]
    committed_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """The origin of a file's present content.

    A merge may take a file from any of its parents, also an older one, and so bring back what
    was replaced long since. The commits below settle that: the content has one origin only when
    every commit that ever changed the file is an ancestor of ``last``.

    Attributes:
        last: the commit, in all of the history, after which no other changed the file; where
            several side by side did, one of them.
        rivals: commits (hex) that changed the file and are not ancestors of ``last``; two at most.
        mainline: the newest commit on the first-parent chain that changed the file: the merge, for
            what came by a merged pull request.
    """

    last: Change
    rivals: tuple[str, ...]
    mainline: Change


def lineage(git: Git, commit: str, path: str) -> Lineage | None:
    """Lineage of a path at a commit; None if no commit ever touched it."""
    with ThreadPoolExecutor(1) as thread:
        first_parents = thread.submit(
            git, "log", "-1", "--first-parent", f"--format={FORMAT}", commit, "--", path
        )
        newest = _considered(git, f"-{NEWEST}", commit, path=path)
        mainline = _listed(first_parents.result())
    found = [change for change, differs in newest if differs]
    if mainline and len(newest) < NEWEST and len(found) == 1:  # no other commit ever changed it
        return Lineage(last=found[0], rivals=(), mainline=mainline[0][0])
    found = found or changed(git, commit, path=path)
    if not mainline or not found:
        return None
    last = found[0]
    while beside := changed(git, "--topo-order", commit, f"^{last.sha}", path=path):
        if not is_ancestor(git, last.sha, beside[0].sha):
            rivals = tuple(entry.sha for entry in beside[:2])
            return Lineage(last=last, rivals=rivals, mainline=mainline[0][0])
        last = beside[0]  # git lists by date, and dates are what a committer says they are
    return Lineage(last=last, rivals=(), mainline=mainline[0][0])


def changed(git: Git, *revisions: str, path: str) -> list[Change]:
    """Commits that changed a path: a merge is one where the file differs from all its parents.

    ``--full-history`` keeps git from following only the parent whose content fits; it lists
    merges that differ from any parent, and the combined diff (``-c``) of those that took the file
    from one of them is empty.
    """
    return [change for change, differs in _considered(git, *revisions, path=path) if differs]


def _considered(git: Git, *revisions: str, path: str) -> list[tuple[Change, bool]]:
    """The commits that git lists for ``changed``, and whether each changed the path."""
    text = git(
        "log",
        "--full-history",
        "-c",
        "--raw",
        "--no-renames",
        f"--format={FORMAT}",
        *revisions,
        "--",
        path,
    )
    return _listed(text)


def is_ancestor(git: Git, ancestor: str, commit: str) -> bool:
    """Whether ``ancestor`` is ``commit`` or reachable from it."""
    return not git("rev-list", "-1", ancestor, f"^{commit}").strip()


def mainline(git: Git, commit: str, *, since: str, limit: int) -> tuple[str, ...]:
    """First-parent chain from ``since`` (with it, first) up to ``commit``: the oldest ``limit``
    of them; () where ``since`` is not on it.
    """
    if since == commit:
        return (since,)
    listed = git("rev-list", "--first-parent", "--parents", commit, f"^{since}").splitlines()
    oldest = listed[-1].split() if listed else []
    if len(oldest) < 2 or oldest[1] != since:
        return ()
    return (since, *(line.split()[0] for line in reversed(listed)))[:limit]


def _listed(text: str) -> list[tuple[Change, bool]]:
    """Commits in ``FORMAT``, and of each whether a diff follows it."""
    entries = []
    for record in text.split("\x01")[1:]:
        header, _, diff = record.partition("\0")
        sha, committed_at, parents = header.split(" ", 2)  # a malformed commit has no time
        change = Change(
            sha=sha, parents=tuple(parents.split()), committed_at=claimed_time(committed_at)
        )
        entries.append((change, bool(diff.strip())))
    return entries
