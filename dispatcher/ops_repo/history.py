"""Changes that the commits of a history made in relevant directories.

``git log -- <path>`` walks everything below the path recursively, and crashes if directories are
nested deeply enough; see ``levels``. Here git lists commits without reading their trees, and
each directory is compared by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.tree_diff import Difference, Pair, compared, empty_tree, trees_at


@dataclass(frozen=True, slots=True)
class Change:
    """A difference of a commit from one of its parents.

    Attributes:
        commit: the commit (hex).
        directory: where it is, from the root of the repository.
        difference: what differs there.
    """

    commit: str
    directory: str
    difference: Difference

    @property
    def path(self) -> str:
        """Path of what differs."""
        return f"{self.directory}/{self.difference.name}"


def changes(clone: Clone, revisions: Sequence[str], directories: Sequence[str]) -> Iterator[Change]:
    """Every difference of a commit from any of its parents, merges included; the newest commit
    first.

    Args:
        revisions: as ``git rev-list`` takes them.
        directories: those that are compared.
    """
    steps = _steps(clone, revisions)
    commits = tuple(dict.fromkeys(commit for step in steps for commit in step if commit))
    pairs = {}
    for directory in directories:
        trees = dict(zip(commits, trees_at(clone, commits, directory), strict=True))
        for commit, parent in steps:
            old = trees[parent] if parent else empty_tree(commit)
            pairs[commit, parent, directory] = (old, trees[commit])
    differences = compared(clone, pairs.values())
    for commit, parent in steps:
        for directory in directories:
            for difference in differences.get(pairs[commit, parent, directory], ()):
                yield Change(commit, directory, difference)


def entered(
    clone: Clone, changes: Sequence[Change], enter: Callable[[Change], bool]
) -> Iterator[Change]:
    """The same changes, each followed by what differs in the directory that changed, if it is one
    to ``enter``.
    """
    pairs = {change: _trees(change) for change in changes if enter(change)}
    differences = compared(clone, pairs.values())
    for change in changes:
        yield change
        if change in pairs:
            for difference in differences.get(pairs[change], ()):
                yield Change(change.commit, change.path, difference)


def _trees(change: Change) -> Pair:
    """Hashes of a directory before and after a change; of an empty tree if there was none."""
    sides = (change.difference.old, change.difference.new)
    nothing = empty_tree(change.commit)
    old, new = (entry.oid if entry and entry.directory else nothing for entry in sides)
    return old, new


def _steps(clone: Clone, revisions: Sequence[str]) -> list[tuple[str, str]]:
    """Each commit with each of its parents, or with ""."""
    done = clone.git.run(clone.path, "rev-list", "--parents", *revisions)
    steps = []
    for line in done.out.decode("ascii").splitlines():
        commit, *parents = line.split(" ")
        steps += [(commit, parent) for parent in parents or ("",)]
    return steps
