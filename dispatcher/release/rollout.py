"""The way of a deploy from its journal to SAFE_COMMIT, and what follows."""

from __future__ import annotations

import os
import shutil
import time

from dispatcher.errors import PermanentError
from dispatcher.release.change import Change, described
from dispatcher.release.machine import Machine
from dispatcher.release.records import Failure, Journal, Last, Release, Releases


class NoSpace(PermanentError):
    """The disk is too full to begin."""


RECORD = "record"
"""The last step: the copies of the env files, and SAFE_COMMIT."""


def roll_out(machine: Machine, change: Change) -> None:
    """Take the machine to the target, until the services are healthy. See ``Change`` for what it raises."""
    journal = change.journal
    with change.step("prepare"):
        if journal.safe and not machine.health.now():
            machine.env.refresh(journal.safe, machine.units)
        machine.venvs.adopt(journal.safe)
    change.checkout(journal.target)
    change.dependencies(journal.target)
    if not journal.by_hand:
        change.migrations()
        change.smoke()
    change.stamp(journal.target, journal.version)
    change.restart(machine.settings.units.values())
    change.health()


def record(machine: Machine, change: Change) -> None:
    """Make the target the safe commit. It already is if this fails at its very end.

    Raises:
        OSError, DisintoError: something could not be written.
    """
    journal = change.journal
    with change.step(RECORD):
        machine.env.save(journal.target)
        machine.checkout.protect(_kept(machine, journal))
        os.sync()
        machine.records.write_safe_commit(journal.target)


def finish(machine: Machine, change: Change) -> None:
    """What follows SAFE_COMMIT. Nothing here can make the deploy fail, and all is done again by the
    next one.
    """
    journal = change.journal
    kept = _kept(machine, journal)
    former = machine.records.releases()
    new = Release(commit=journal.target, version=journal.version, at=time.time())
    others = [former.find(commit) or Release(commit=commit) for commit in kept[1:]]
    best_effort(machine, Releases(releases=(new, *others)))
    if journal.by_hand:
        what = "rolled back by hand"
        best_effort(
            machine, Failure(commit=journal.safe, step="rollback", reason=what, at=time.time())
        )
    else:
        machine.records.forget(Failure)
    machine.records.forget(Journal)
    machine.venvs.prune(kept)
    machine.env.prune(kept)


def _kept(machine: Machine, journal: Journal) -> list[str]:
    """The safe commits that are kept, the target first. A rollback by hand drops the one it leaves only
    from the history; until it has ended, it is the safe one.
    """
    known = [each.commit for each in machine.records.releases().releases]
    commits = dict.fromkeys([journal.target, *([journal.safe] if journal.safe else []), *known])
    if journal.by_hand and machine.records.safe_commit() == journal.target:
        commits.pop(journal.safe, None)
    return list(commits)[: machine.settings.history + 1]


def announce(machine: Machine, safe: str, head: str) -> None:
    """Log what will happen, and what a rollback would not undo."""
    settings = machine.settings
    commits = len(machine.checkout.commits_between(safe, head))
    machine.log.line(f"deploys {head[:12]} of {settings.branch}, {commits} commits after {safe[:12]}"
                     if safe else f"deploys {head[:12]} of {settings.branch}; there is no safe commit yet")  # fmt: skip
    for line in migration_lines(machine, safe, head):
        machine.log.line(line)


def migration_lines(machine: Machine, safe: str, head: str) -> list[str]:
    """Which new migrations a release has, and whether a rollback undoes them."""
    migrations = machine.settings.migrations
    if migrations is None:
        return []
    added = machine.checkout.added(safe, head, migrations.paths)
    if not added:
        return []
    undone = "a rollback undoes them" if migrations.down else "a rollback does not undo them"
    return [f"{len(added)} new migrations; {undone}: {', '.join(added[:10])}"]


def check_space(machine: Machine) -> None:
    """Check that the disk has room.

    Raises:
        NoSpace: it has not.
    """
    free = shutil.disk_usage(machine.layout.root).free // 1_000_000
    if free < machine.settings.free_mb:
        raise NoSpace(
            f"{machine.layout.root}: {free} MB free, {machine.settings.free_mb} needed",
            remedy="Free some, or lower free_mb in release.toml.",
        )


def best_effort(machine: Machine, record: Releases | Failure | Last) -> None:
    """Write a record that the machine can do without; a full disk is only logged."""
    try:
        machine.records.write(record)
    except OSError as error:
        machine.log.line(f"{type(record).__name__} cannot be written: {described(error)}")
