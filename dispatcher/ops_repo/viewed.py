"""Records of the heads that decisions were made on, and of losses between them.

An approval may be withdrawn by a commit that a force-push drops. To notice that, every head that
anything may be decided on is compared with the one before *before* anything is decided on it, and
recorded where it survives the loss of the clone and a crash of the process: in the file ``viewed``
of the directory of ``rewrites``.

A head whose commits can no longer be read (the clone was lost or rebuilt, and the branch was
rewritten) is a *loss*: what those commits withdrew is unknown. Then every approval that may be
older than the loss counts as withdrawn: those of commits that are in the head found at the loss,
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
    """The result of comparing a head with the earlier ones.

    Attributes:
        dropped: earlier heads that are not in its history.
        lost: earlier heads whose commits cannot be read.
    """

    dropped: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """A moment before which the withdrawals are unknown.

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
        """The newest head that was viewed; "" if none is recorded.

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
        """Record the newest head; durable on return.

        Raises:
            Misconfigured: the file cannot be written.
        """
        write(self._folder / FILE, commit + "\n")

    def lose(self, loss: Loss) -> None:
        """Record a loss; durable on return. For the same head the later one counts.

        Raises:
            Misconfigured: the file cannot be written.
        """
        write(self._folder / f"{loss.head}{SUFFIX}", json.dumps({"at": loss.at}))

    def losses(self) -> Iterable[Loss]:
        """All recorded losses.

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
