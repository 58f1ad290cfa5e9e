"""What a deploy leaves in ``run/``, written so that a power cut leaves the old or the new contents.

``SAFE_COMMIT`` alone decides which commit is safe. ``releases.json`` says more about it and its
predecessors, ``failed.json`` and ``left.json`` which commits the timer must not deploy,
``last.json`` what the last deploy did, and ``journal.json`` exists exactly while a deploy changes something: if a run finds
one, its predecessor was interrupted.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dispatcher.errors import Exit, PermanentError, reason_of
from dispatcher.host.durable import sync_directory
from dispatcher.release.layout import Layout

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?", re.ASCII)
_NEW = ".new"


class Damaged(PermanentError):
    """A file in ``run/`` cannot be read, so that it is unknown what the machine runs."""

    exit_code = Exit.IOERR


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Release(_Record):
    """A commit that was deployed and healthy.

    Attributes:
        commit: its full hash.
        version: APP_VERSION.
        units: of its services; empty if unknown.
        at: when it became safe, seconds since the epoch.
    """

    commit: str
    version: str = ""
    units: tuple[str, ...] = ()
    at: float = 0.0


class Releases(_Record):
    """Safe commits, the newest first."""

    releases: tuple[Release, ...] = ()

    def find(self, commit: str) -> Release | None:
        return next((each for each in self.releases if each.commit == commit), None)


class Failure(_Record):
    """A commit that failed, which the timer does not try again.

    Attributes:
        commit: its full hash.
        step: at which step.
        reason: in one sentence; values of env files are masked.
        at: when, seconds since the epoch.
    """

    commit: str
    step: str
    reason: str
    at: float


class Left(_Record):
    """Safe commits that a person left by a rollback, which the timer does not deploy again.

    Attributes:
        commits: full hashes, the last one that was left first. Several rollbacks in a row leave several,
            of which any may be the branch's head.
        at: when the last rollback ended, seconds since the epoch.
    """

    commits: tuple[str, ...]
    at: float


LEFT = "left by a rollback by hand; not redeployed until the branch moves or a person asks"
"""What ``Left`` means, for people."""


class StepRecord(_Record):
    """A step, how long it took, and whether it succeeded."""

    name: str
    seconds: float
    ok: bool


class Last(_Record):
    """What the last deploy did that changed something or failed.

    Attributes:
        outcome: see ``outcome.Outcome``.
        commit, previous: what was deployed, and what was safe before; "" if nothing.
        wanted: the commit that was asked for in place of the head; "" if none was. It need not be ``commit``: a
            later one may have been deployed.
        trigger: ``timer`` or ``person``.
        started, ended: seconds since the epoch.
        down_s: seconds from the first restart until all services were healthy; None without one.
    """

    outcome: str
    commit: str
    previous: str = ""
    wanted: str = ""
    message: str = ""
    trigger: str = ""
    started: float
    ended: float
    down_s: float | None = None
    steps: tuple[StepRecord, ...] = ()


class Journal(_Record):
    """A deploy in progress.

    Attributes:
        target: the commit that is being deployed.
        safe: the commit to return to; "" at a first deploy.
        step: that began last.
        restoring: whether it already returns to ``safe``.
        reason: why it does.
        by_hand: whether a person returns to an earlier safe commit: without migrations.
        started: seconds since the epoch.
        version, safe_version: APP_VERSION of the target and of the safe commit.
        invocations: systemd's id of the run of each unit, before anything was changed; of its restart
            on the safe commit, once there was one.
        restarting: whether units were, or may have been, restarted.
        migrating: whether migrations were, or may have been, applied.
        migration_failed: whether the migration command failed: nothing is restarted then.
        revision: of the database before the migrations.
        undone: whether the down command has undone them.
    """

    target: str
    safe: str = ""
    step: str = ""
    restoring: bool = False
    reason: str = ""
    by_hand: bool = False
    started: float = 0.0
    version: str = ""
    safe_version: str = ""
    invocations: dict[str, str] = Field(default_factory=dict)
    restarting: bool = False
    migrating: bool = False
    migration_failed: bool = False
    revision: str = ""
    undone: bool = False


R = TypeVar("R", bound=_Record)


@dataclass(frozen=True, slots=True)
class Records:
    """The files of one application."""

    layout: Layout

    def safe_commit(self) -> str:
        """The safe commit; "" before the first deploy.

        Raises:
            Damaged: the file holds something else.
        """
        path = self.layout.safe_commit
        text = _read(path).strip()
        lost = not text and path.exists() and self.releases().releases
        if lost or (text and not COMMIT.fullmatch(text)):
            raise Damaged(
                f"{path}: not a full commit hash",
                remedy="Write the commit that the services run, as 40 hexadecimal digits.",
            )
        return text

    def write_safe_commit(self, commit: str) -> None:
        """Make a commit the safe one, durably.

        Raises:
            OSError: it could not be written; the former one is unchanged.
        """
        replace_file(self.layout.safe_commit, f"{commit}\n")

    def releases(self) -> Releases:
        """Safe commits, as far as known."""
        return self._load(self._path("releases"), Releases) or Releases()

    def failure(self) -> Failure | None:
        return self._load(self._path("failed"), Failure)

    def left(self) -> Left | None:
        return self._load(self._path("left"), Left)

    def last(self) -> Last | None:
        return self._load(self._path("last"), Last)

    def journal(self) -> Journal | None:
        """What an interrupted deploy was doing.

        Raises:
            Damaged: the file cannot be read.
        """
        path = self._path("journal")
        journal = self._load(path, Journal)
        if journal is None and path.exists():
            raise Damaged(
                f"{path}: cannot be read, so it is unknown what the interrupted deploy changed",
                remedy="Remove it, then run 'disinto release deploy --force'.",
            )
        return journal

    def write(self, record: Releases | Failure | Left | Last | Journal) -> None:
        """Write a record, durably.

        Raises:
            OSError: it could not be written; the former contents are unchanged.
        """
        replace_file(self._path(_NAMES[type(record)]), record.model_dump_json(indent=1) + "\n")

    def forget(self, kind: type[Failure] | type[Left] | type[Journal]) -> None:
        """Remove a record, durably."""
        path = self._path(_NAMES[kind])
        path.unlink(missing_ok=True)
        sync_directory(path.parent)

    def _path(self, name: str) -> Path:
        return self.layout.run / f"{name}.json"

    @staticmethod
    def _load(path: Path, kind: type[R]) -> R | None:
        text = _read(path)
        try:
            return kind.model_validate_json(text) if text else None
        except ValidationError:
            return None


_NAMES: dict[type[_Record], str] = {
    Releases: "releases",
    Failure: "failed",
    Left: "left",
    Last: "last",
    Journal: "journal",
}


def replace_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file so that after a power cut it has the old or the new contents.

    Raises:
        OSError: it could not be written; the old contents are unchanged.
    """
    new = path.with_name(path.name + _NEW)
    new.unlink(missing_ok=True)
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _read(path: Path) -> str:
    """The contents; "" if there is no such file.

    Raises:
        Damaged: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(
            f"{path}: {reason_of(error)}", remedy="Run as the deploy user, or repair the file."
        ) from None
