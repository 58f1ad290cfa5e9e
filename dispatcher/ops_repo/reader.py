"""Reads trees and commits of a clone. Nothing here changes the clone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile

from dispatcher.errors import Conflict, Unavailable
from dispatcher.model.merges import named_request
from dispatcher.model.names import is_id
from dispatcher.model.paths import (
    ACTION_ENDING,
    ACTIONS_PATH,
    CANCEL_ENDING,
    DONE_PATH,
    RESULT_ENDING,
)
from dispatcher.ops_repo import by_trees
from dispatcher.ops_repo.changes import Delta
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.files import is_dated
from dispatcher.ops_repo.history import Change, changes, entered
from dispatcher.ops_repo.levels import dated, differences, entries, groups, listing
from dispatcher.ops_repo.records import CommitInfo, Entry, claimed_time, is_oid
from dispatcher.ops_repo.tree import Tree

_FORMAT = "%x00".join(
    ("%H", "%P", "%an", "%ae", "%cn", "%ce", "%at", "%ct", "%s",
     "%(trailers:key=Co-authored-by,valueonly,unfold,separator=%x1f)")
)  # fmt: skip
_FIELDS = 10
LONGEST = 4_096
"""Maximum bytes of a path that is looked up. The longest path of an action has about 130."""

_SMALL_TREE = 256 * 1024
"""Bytes of a tree that is searched here: some 5,000 names. git is faster with a larger one."""

_FEW = 20
"""Maximum of paths of one directory that are looked up one by one."""

_NEAR = 4
"""Generations of commits that are read to see whether one descends from another, and how many of each."""

_SMALL_COMMIT = 64 * 1024
"""Bytes of a commit that is read for that; anybody who pushes may write long messages."""


def difference(clone: Clone, tree: Tree, commit: str) -> Delta:
    """The difference of ``tree`` to ``commit``: incremental if its own commit is known, else
    complete."""
    if tree.commit == commit:
        return Delta(commit=commit)
    old = tree.commit
    names = [commit, old] if old else [commit]
    infos = clone.objects.info(names)
    if infos[0] is None:
        raise _unknown(commit)
    if not old or infos[1] is None:
        entries = listing(clone, commit)
        fresh = _waiting(entries).difference(action.path for action in tree.open.values())
        arrivals = _arrivals(clone, (commit,), fresh)
        ordered = {path: entries.pop(path) for path in arrivals}
        everything = tuple({**ordered, **entries}.items())
        return Delta(commit=commit, events=everything, complete=True, arrived_at=arrivals)
    events = differences(clone, old, commit)
    arrivals = _arrivals_since(clone, old, commit, events)
    in_order = {path: events.pop(path) for path in arrivals}
    return Delta(commit=commit, events=(*in_order.items(), *events.items()), arrived_at=arrivals)


def _waiting(entries: Mapping[str, Entry]) -> set[str]:
    """Paths of actions without a result beside them."""
    results = {p for p in entries if p.endswith(RESULT_ENDING)}
    return {
        path
        for path in entries
        if path.startswith(ACTIONS_PATH + "/")
        and path.endswith(ACTION_ENDING)
        and path.removesuffix(ACTION_ENDING) + RESULT_ENDING not in results
    }


def tree_of(clone: Clone, commit: str, action_id: str) -> Tree:
    """The entries of one action in a commit, wherever they are; the cost hardly depends on the
    other actions."""
    tree = Tree(commit=commit)
    if not action_id or "/" in action_id:
        return tree
    must_know(clone, commit)
    below = dated(clone, commit)
    names = [action_id + ending for ending in (ACTION_ENDING, RESULT_ENDING, CANCEL_ENDING)]
    paths = [f"{folder}/{name}" for folder in (ACTIONS_PATH, DONE_PATH, *below) for name in names]
    tree.become(commit, entries_at(clone, commit, paths))
    return tree


def entry_at(clone: Clone, commit: str, path: str) -> Entry | None:
    """The entry at a path in a commit, or None."""
    must_know(clone, commit)
    return entries_at(clone, commit, [path.rstrip("/")]).get(path.rstrip("/"))


def entries_at(clone: Clone, commit: str, paths: Iterable[str]) -> dict[str, Entry]:
    """The entries at many paths; missing ones are left out.

    A few in directories of a usual size are looked up in their trees, without a process. git compares
    every name of a directory with every requested path, so a directory with many
    requested paths is listed completely. A path longer than ``LONGEST`` counts as missing: it
    would not fit a command line, and none of ours is that long.
    """
    requested = {path for path in paths if len(os.fsencode(path)) <= LONGEST}
    if len(requested) <= _FEW:
        with suppress(by_trees.TooManyNames):
            return by_trees.found(clone, commit, requested, limit=_SMALL_TREE)
    folders = Counter(path.rpartition("/")[0] for path in requested)
    listed = {folder for folder, count in folders.items() if folder and count > _FEW}
    rest = (path for path in requested if path.rpartition("/")[0] not in listed)
    by_path: dict[str, Entry] = {}
    for group in groups(sorted([*rest, *(f"{folder}/" for folder in listed)])):
        done = clone.git.run(clone.path, "ls-tree", "-z", commit, "--", *group)
        by_path.update((path, entry) for path, entry in entries(done.out) if path in requested)
    return by_path


def directory(clone: Clone, commit: str, path: str) -> dict[str, Entry]:
    """The entries of a directory, by name."""
    must_know(clone, commit)
    with suppress(by_trees.TooManyNames):
        return by_trees.directory(clone, commit, path, limit=_SMALL_TREE)
    done = clone.git.run(clone.path, "ls-tree", "-z", commit, "--", f"{path}/")
    return {each.rpartition("/")[2]: entry for each, entry in entries(done.out)}


def last_change(clone: Clone, commit: str, path: str) -> CommitInfo | None:
    """The commit that brought the present content of ``path`` into the history of ``commit``."""
    must_know(clone, commit)
    changes = _log(clone, "-1", commit, "--", path)
    return changes[0] if changes else None


def commit_info(clone: Clone, commit: str) -> CommitInfo:
    must_know(clone, commit)
    return _log(clone, "-1", "--no-walk", commit, "--")[0]


def commits_between(clone: Clone, base: str, head: str) -> list[CommitInfo]:
    """Commits reachable from ``head`` and not from ``base``, newest first, merges included."""
    must_know(clone, base, head)
    return _log(clone, f"^{base}", head, "--")


def is_ancestor(clone: Clone, ancestor: str, commit: str) -> bool:
    """Whether ``ancestor`` is ``commit`` or in its history; False if the clone lacks it."""
    if ancestor == commit:
        return True
    infos = clone.objects.info([ancestor, commit])
    if infos[1] is None:
        raise _unknown(commit)
    if infos[0] is None:
        return False
    if ancestor in _near(clone, commit):  # mostly: no process is needed to know it
        return True
    if infos[0].kind == "commit" and commit in _near(clone, ancestor):
        return False
    done = clone.git.run(clone.path, "merge-base", "--is-ancestor", ancestor, commit, ok=(0, 1))
    return done.code == 0


def _near(clone: Clone, commit: str) -> set[str]:
    """Commits (hex) from which a commit descends over few others: an action and its result are two commits,
    so what was compared last is seldom further.
    """
    near: set[str] = set()
    last = [commit]
    for _ in range(_NEAR):
        infos = clone.objects.info(last)
        contents = clone.objects.contents(
            info.oid for info in infos if info is not None and info.size <= _SMALL_COMMIT
        )
        parents = dict.fromkeys(each for data in contents.values() for each in _parents(data))
        last = [each for each in parents if each not in near][:_NEAR]
        near.update(last)
    return near


def _parents(data: bytes) -> list[str]:
    """The parents of a commit (hex), as git finds them: in the lines after the first. Whoever makes a
    commit may put a line that looks like one further below.
    """
    _tree, *lines = data.split(b"\n")
    return [
        line.removeprefix(b"parent ").decode("ascii", "replace")
        for line in takewhile(lambda line: line.startswith(b"parent "), lines)
    ]


def dropped_results(clone: Clone, commits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Blobs of results that a commit in the history of these removed, by action id."""
    direct = list(changes(clone, commits, (ACTIONS_PATH, DONE_PATH)))
    dropped: dict[str, dict[str, None]] = {}
    for change in entered(clone, direct, _of_archive):
        old, name = change.difference.old, change.difference.name
        stem = name.removesuffix(RESULT_ENDING)
        if old is not None and old.regular and stem != name and is_id(stem):
            dropped.setdefault(stem, {})[old.oid] = None
    return {action_id: tuple(blobs) for action_id, blobs in dropped.items()}


def _of_archive(change: Change) -> bool:
    return change.directory == DONE_PATH and is_dated(change.difference.name)


def read(clone: Clone, blobs: Iterable[str], limit: int) -> dict[str, bytes | int]:
    """The bytes of each blob of at most ``limit`` bytes; the size in bytes of each larger one."""
    requested = list(dict.fromkeys(blobs))
    infos = clone.objects.info(requested)
    contents: dict[str, bytes | int] = {}
    small: list[str] = []
    for oid, info in zip(requested, infos, strict=True):
        if info is None:
            raise GitFailed("cat-file", 0, f"missing object {oid}")
        if info.kind != "blob" or info.size > limit:
            contents[oid] = info.size
        else:
            small.append(oid)
    contents.update(clone.objects.contents(small))
    return contents


def read_present(clone: Clone, blobs: Iterable[str], limit: int) -> dict[str, bytes | int]:
    """The same of those that the clone has."""
    requested = [oid for oid in dict.fromkeys(blobs) if is_oid(oid)]
    infos = zip(requested, clone.objects.info(requested), strict=True)
    return read(clone, [oid for oid, info in infos if info and info.kind == "blob"], limit)


def _log(clone: Clone, *args: str) -> list[CommitInfo]:
    done = clone.git.run(
        clone.path, "log", "-z", "--no-color", f"--format=tformat:{_FORMAT}", *args
    )
    fields = done.out.decode("utf-8", "replace").split("\0")
    records = [fields[i : i + _FIELDS] for i in range(0, len(fields) - 1, _FIELDS)]
    return [
        CommitInfo(
            sha=sha,
            parents=tuple(parents.split()),
            author_name=an,
            author_email=ae,
            committer_name=cn,
            committer_email=ce,
            authored_at=claimed_time(at),
            committed_at=claimed_time(ct),
            subject=subject,
            co_authors=tuple(x.strip() for x in trailers.split("\x1f") if x.strip()),
        )
        for sha, parents, an, ae, cn, ce, at, ct, subject, trailers in records
    ]


def must_know(clone: Clone, *commits: str) -> None:
    """Raise ``Conflict`` for a commit that the clone lacks."""
    for commit, info in zip(commits, clone.objects.info(commits), strict=True):
        if info is None:
            raise _unknown(commit)


def _unknown(commit: str) -> Conflict:
    return Conflict(
        f"commit {commit} is not in the clone", remedy="Fetch again and repeat the decision."
    )


def _arrivals_since(
    clone: Clone, old: str, commit: str, events: Mapping[str, Entry | None]
) -> dict[str, float]:
    """New actions in the order of the commits that brought them, with their times. One alone needs
    no order, and has the time of ``commit``, which the clone's own process reads immediately.
    """
    fresh = {
        path
        for path, entry in events.items()
        if entry is not None and path.startswith(ACTIONS_PATH + "/") and path.endswith(".toml")
    }
    if len(fresh) == 1:
        return dict.fromkeys(fresh, _committed_at(clone, commit))
    return _arrivals(clone, (f"^{old}", commit), fresh)


def names_request(clone: Clone, commit: str) -> int:
    """See ``RepoReader.names_request``; at no cost of a process."""
    message = clone.objects.contents([commit])[commit].partition(b"\n\n")[2]
    return named_request(message.partition(b"\n")[0].decode("utf-8", "replace"))


def _committed_at(clone: Clone, commit: str) -> float:
    """The committer's time of a commit, seconds since the epoch; 0.0 where it states none."""
    header = clone.objects.contents([commit])[commit].partition(b"\n\n")[0]
    line = next((x for x in header.split(b"\n") if x.startswith(b"committer ")), b"")
    stated = line.rpartition(b"> ")[2].partition(b" ")[0]
    return float(claimed_time(stated))


ARRIVALS = (50, 2_000)
"""Commits searched, in steps, for the order of arrival; older actions come first, by name."""

ARRIVALS_TIMEOUT_S = 5.0
"""Seconds for one such search. The order is a courtesy; beside a huge directory it is abandoned."""


def _arrivals(clone: Clone, revisions: Sequence[str], paths: set[str]) -> dict[str, float]:
    """The paths, oldest arrival on the branch first, within a commit by name; with the time of the
    commit that brought each, seconds since the epoch, or 0.0 where it was not found.
    """
    arrived: dict[str, float] = {}
    if not paths:
        return arrived
    for count in ARRIVALS:
        try:
            done = clone.git.run(
                clone.path, "log", "-z", "--format=tformat:%x01%ct", "--first-parent", "-m",
                "--no-renames", f"--max-count={count}", "--diff-filter=A", "--name-only",
                *revisions, "--", ACTIONS_PATH, timeout_s=ARRIVALS_TIMEOUT_S,
            )  # fmt: skip
        except Unavailable:
            break
        except GitFailed as failed:
            if not failed.signal:
                raise
            break  # directories nested deeper than git can walk, see ``levels``
        arrived = _newest_first(done.out, paths)
        if len(arrived) == len(paths):
            break
    older = dict.fromkeys(sorted(paths.difference(arrived)), 0.0)
    return {**older, **dict(reversed(arrived.items()))}


def _newest_first(out: bytes, paths: set[str]) -> dict[str, float]:
    """Parses ``log --name-only -z``: each path at its latest arrival, latest commit first."""
    times: dict[str, float] = {}
    commit: list[str] = []
    at = 0.0
    first = False  # after a commit's mark; git prints none if no commit added anything
    for field in (*out.split(b"\0"), b"\x01"):
        if field.startswith(b"\x01"):
            times.update(dict.fromkeys(reversed(commit), at))
            commit = []
            at = float(claimed_time(field[1:]))
            first = True
            continue
        name = os.fsdecode(field[1:] if first and field.startswith(b"\n") else field)
        first = False
        if name in paths and name not in times:
            commit.append(name)
    return times
