"""Heads that decisions were made on, and what is known of the way from one to the next.

An approval may be withdrawn by a commit that a force-push drops. To notice that, every head that
anything may be decided on is compared with the one before *before* anything is decided on it, and
written down where neither the loss of the clone nor a death of the process takes it: in the file
``viewed`` of the directory of ``rewrites``.

A head whose commits cannot be read any more (the clone was lost or made anew, and the branch was
rewritten) is a *loss*: nobody can tell what those commits withdrew. Then every approval that may be
older than the loss is taken for withdrawn: those of commits that are in the head found at the loss,
and those dated before it. The date of a signed commit is its signer's, not the pusher's. Each loss
is one file ``<head>.lost`` in the directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import Misconfigured
from dispatcher.ops_repo.records import is_oid
from dispatcher.ops_repo.rewrites import names, write

FILE = "viewed"
"""Name of the file that holds the newest head that was viewed."""

SUFFIX = ".lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Approach:
    """What came of the way to a head.

    Attributes:
        dropped: heads of before that are not in its history.
        lost: heads of before whose commits cannot be read.
    """

    dropped: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """A moment from which on nobody knows what was withdrawn before.

    Attributes:
        head: the branch's head when it was noticed (hex).
        at: seconds since the epoch.
    """

    head: str
    at: float


class Viewed:
    """The files in the directory. Thread-safe; several processes may read them.

    Args:
        folder: see ``rewrites.FOLDER``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def head(self) -> str:
        """The newest head that was viewed; "" if there is no record of any.

        Raises:
            Misconfigured: the file cannot be read.
        """
        file = self._folder / FILE
        try:
            text = file.read_text("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as failed:
            raise _unreadable(file) from failed
        if not is_oid(text):
            raise _unreadable(file)
        return text

    def write_head(self, commit: str) -> None:
        """Write it down; durable on return.

        Raises:
            Misconfigured: the file cannot be written.
        """
        write(self._folder / FILE, commit + "\n")

    def lose(self, loss: Loss) -> None:
        """Write a loss down; durable on return. The same head once more: the later one counts.

        Raises:
            Misconfigured: the file cannot be written.
        """
        write(self._folder / f"{loss.head}{SUFFIX}", json.dumps({"at": loss.at}))

    def losses(self) -> Iterable[Loss]:
        """All that were written down.

        Raises:
            Misconfigured: one cannot be read.
        """
        return [self._loss(self._folder / name) for name in names(self._folder, SUFFIX)]

    @staticmethod
    def _loss(file: Path) -> Loss:
        try:
            return Loss(head=file.stem, at=float(json.loads(file.read_text("utf-8"))["at"]))
        except (OSError, ValueError, KeyError, TypeError) as failed:
            raise _unreadable(file) from failed


def _unreadable(file: Path) -> Misconfigured:
    return Misconfigured(
        f"{file} cannot be read: it records which approvals may have been withdrawn",
        remedy="Restore it; or, if every action that waits has been reviewed, remove it.",
    )
