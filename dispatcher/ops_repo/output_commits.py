"""The commits with the whole output of runs, while they are made: their objects are held in memory, or in
a repository of their own.

A commit has a tree of only the files that were pushed together. The objects are written here, without git:
all are small but for the output itself, which git reads if it is large.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dispatcher.ops_repo import loose_objects
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.fast_import import author
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.packs import NewObject
from dispatcher.ops_repo.push import Pusher

_READ_LIMIT = 4 * 1024 * 1024
"""Bytes of a file that is read into memory; git reads a larger one."""


_CAPPED = 256 * 1024
"""Bytes of files from which on a commit is followed by one without any: what builds on it next fetches
that, with its tree where the remote cannot leave trees out.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFile:
    """A file to be kept.

    Attributes:
        month: ``YYYY-MM``.
        name: in the tree.
        path: where it is on this machine.
    """

    month: str
    name: str
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class MonthPush:
    """A commit for one month, ready to be pushed.

    Attributes:
        ref: of the month.
        commit: its new value (hex).
        expected: its value now (hex), or "" if it does not exist.
        text: of the commit object.
    """

    ref: str
    commit: str
    expected: str
    text: bytes

    @property
    def refspec(self) -> str:
        """What is pushed where."""
        return f"{self.commit}:{self.ref}"

    @property
    def lease(self) -> str:
        """The option that makes the push a compare-and-set."""
        return f"--force-with-lease={self.ref}:{self.expected}"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Commits that are to be pushed.

    Attributes:
        months: what is to be pushed.
        objects: all that they bring; empty if that is large.
        repository: puts them into a repository of their own, which has the objects of the clone besides.
    """

    months: tuple[MonthPush, ...]
    objects: tuple[NewObject, ...]
    repository: Callable[[], Clone]

    @cached_property
    def pusher(self) -> Pusher:
        """Pushes from that repository."""
        return Pusher(self.repository(), scratch=True)

    @property
    def refspecs(self) -> tuple[str, ...]:
        """Of all months."""
        return tuple(month.refspec for month in self.months)

    @property
    def leases(self) -> tuple[str, ...]:
        """Options for all months."""
        return tuple(month.lease for month in self.months)


class OutputCommits:
    """Makes commits for one push.

    Args:
        git: reads large files, and says whose the commits are.

    Attributes:
        kept: objects that are in no repository yet.
        repository: the one to which new ones are written.
    """

    def __init__(self, git: Git) -> None:
        self._git = git
        self.kept: list[NewObject] = []
        self.repository: Clone | None = None

    def month(self, ref: str, files: Sequence[OutputFile], value: str) -> MonthPush:
        """A commit with these files, for the ref of their month; with much, one without any on top.

        Args:
            value: of the ref now (hex), or "" if it does not exist.

        Raises:
            OSError, GitFailed: a file cannot be read, or an object not be written.
        """
        names = sorted({file.name.split(".")[0] for file in files})
        message = f"Output of {names[0] if len(names) == 1 else f'{len(names)} runs'}"
        commit, text = self.commit(files, value, message)
        if sum(file.path.stat().st_size for file in files) >= _CAPPED:
            commit, text = self.commit([], commit, "No output, to be fetched with little")
        return MonthPush(ref=ref, commit=commit, expected=value, text=text)

    def commit(self, files: Sequence[OutputFile], parent: str, message: str) -> tuple[str, bytes]:
        """A commit with these files alone: its hash and its text. Errors as ``month``.

        Args:
            parent: commit (hex), or "" if there is none.
        """
        blobs = {file.name: self._blob(file) for file in files}
        entries = b"".join(
            f"100644 {name}\0".encode() + bytes.fromhex(blob)
            for name, blob in sorted(blobs.items(), key=lambda each: each[0].encode())
        )
        tree = self._add("tree", entries)
        who = f"{author(self._git.settings)} {int(time.time())} +0000"
        parents = f"parent {parent}\n" if parent else ""
        text = f"tree {tree}\n{parents}author {who}\ncommitter {who}\n\n{message}\n".encode()
        return self._add("commit", text), text

    def move_to(self, repository: Clone) -> None:
        """Write all of them, and all further ones, to a repository."""
        for each in self.kept:
            _written(repository, each.kind, each.data)
        self.kept, self.repository = [], repository

    def _add(self, kind: str, content: bytes) -> str:
        """Keep or write an object; returns its hash."""
        if self.repository is not None:
            return _written(self.repository, kind, content)
        self.kept.append(NewObject(kind, content))
        return loose_objects.name(kind, content, like=loose_objects.NULL)

    def _blob(self, file: OutputFile) -> str:
        repository = self.repository
        if repository is None or file.path.stat().st_size <= _READ_LIMIT:
            return self._add("blob", file.path.read_bytes())
        return self._git.run(
            repository.path, "hash-object", "-w", "--no-filters", "--", str(file.path)
        ).line


def _written(repository: Clone, kind: str, content: bytes) -> str:
    return loose_objects.write(repository.path, kind, content, like=loose_objects.NULL)
