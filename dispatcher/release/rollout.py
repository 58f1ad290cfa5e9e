"""The way of a deploy from its journal to SAFE_COMMIT, and what follows."""

from __future__ import annotations

import os
import shutil
import time

from dispatcher.errors import Exit, PermanentError
from dispatcher.release.deployment import Deployment
from dispatcher.release.records import Failure, Journal, Last, Left, Release, Releases
from dispatcher.release.transition import Transition, described


class NoSpace(PermanentError):
    """The disk is too full to begin."""

    exit_code = Exit.IOERR


RECORD = "record"
"""The last step: the copies of the env files, and SAFE_COMMIT."""


def roll_out(deployment: Deployment, transition: Transition) -> None:
    """Take the machine to the target, until the services are healthy. See ``Transition`` for what it raises."""
    journal = transition.journal
    with transition.step("prepare"):
        if journal.safe and not deployment.health.now():
            deployment.env.refresh(journal.safe, deployment.units)
        deployment.venvs.adopt(journal.safe)
    transition.checkout(journal.target)
    transition.dependencies(journal.target)
    if not journal.by_hand:
        transition.migrations()
        transition.smoke()
    transition.stamp(journal.target, journal.version)
    transition.restart(deployment.settings.units.values())
    transition.health()


def record(deployment: Deployment, transition: Transition) -> None:
    """Make the target the safe commit. It already is if this fails at its very end.

    Raises:
        OSError, DisintoError: something could not be written.
    """
    journal = transition.journal
    with transition.step(RECORD):
        deployment.env.save(journal.target)
        deployment.checkout.protect(_kept(deployment, journal))
        os.sync()
        deployment.records.write_safe_commit(journal.target)


def finish(deployment: Deployment, transition: Transition) -> None:
    """What follows SAFE_COMMIT. Nothing here can make the deploy fail, and all is done again by the
    next one.
    """
    journal = transition.journal
    kept = _kept(deployment, journal)
    former = deployment.records.releases()
    units = tuple(deployment.settings.units.values())
    new = Release(commit=journal.target, version=journal.version, units=units, at=time.time())
    others = [former.find(commit) or Release(commit=commit) for commit in kept[1:]]
    best_effort(deployment, Releases(releases=(new, *others)))
    _timer_waits_for(deployment, journal)
    deployment.records.forget(Journal)
    deployment.venvs.prune(kept)
    deployment.env.prune(kept)


def discard(deployment: Deployment, journal: Journal) -> None:
    """Remove what failed deploys built, but for the last one, which a person may try again."""
    known = [each.commit for each in deployment.records.releases().releases]
    kept = list(dict.fromkeys([journal.safe, *known]))[: deployment.settings.history + 1]
    deployment.venvs.prune([*kept, journal.target])


def _timer_waits_for(deployment: Deployment, journal: Journal) -> None:
    """Record which commits the timer must not deploy now. A rollback by hand adds the one that it leaves
    to those that earlier ones left. The branch's head may have failed before a rollback, or before a
    deploy of an earlier commit.
    """
    records = deployment.records
    failure, left = records.failure(), records.left()
    if failure is not None and failure.commit == journal.target:
        records.forget(Failure)
    if not journal.by_hand:
        if left is not None and journal.target in left.commits:
            records.forget(Left)
        return
    commits = dict.fromkeys([journal.safe, *(left.commits if left else ())])
    commits.pop(journal.target, None)
    best_effort(deployment, Left(commits=tuple(commits), at=time.time()))


def _kept(deployment: Deployment, journal: Journal) -> list[str]:
    """The safe commits that are kept, the target first. A rollback by hand drops the one it leaves only
    from the history; until it has ended, it is the safe one.
    """
    known = [each.commit for each in deployment.records.releases().releases]
    commits = dict.fromkeys([journal.target, *([journal.safe] if journal.safe else []), *known])
    if journal.by_hand and deployment.records.safe_commit() == journal.target:
        commits.pop(journal.safe, None)
    return list(commits)[: deployment.settings.history + 1]


def announce(deployment: Deployment, safe: str, head: str) -> None:
    """Log what will happen, and what would not be undone."""
    settings = deployment.settings
    commits = len(deployment.checkout.commits_between(safe, head))
    deployment.log.line(f"deploys {head[:12]} of {settings.branch}, {commits} commits after {safe[:12]}"
                     if safe else f"deploys {head[:12]} of {settings.branch}; there is no safe commit yet")  # fmt: skip
    for line in migration_lines(deployment, safe, head):
        deployment.log.line(line)


def migration_lines(deployment: Deployment, safe: str, head: str) -> list[str]:
    """Which new migrations a release has, and whether they are undone if it fails."""
    migrations = deployment.settings.migrations
    if migrations is None:
        return []
    added = deployment.checkout.added(safe, head, migrations.paths)
    if not added:
        return []
    undone = "undone" if migrations.down else "not undone"
    return [f"{len(added)} new migrations, {undone} if the deploy fails: {', '.join(added[:10])}"]


def check_space(deployment: Deployment) -> None:
    """Check that the disk has room.

    Raises:
        NoSpace: it has not.
    """
    free = shutil.disk_usage(deployment.layout.root).free // 1_000_000
    if free < deployment.settings.free_mb:
        raise NoSpace(
            f"{deployment.layout.root}: {free} MB free, {deployment.settings.free_mb} needed",
            remedy="Free some, or lower free_mb in release.toml.",
        )


def best_effort(deployment: Deployment, record: Releases | Failure | Left | Last) -> None:
    """Write a record that the machine can do without; a full disk is only logged."""
    try:
        deployment.records.write(record)
    except OSError as error:
        deployment.log.line(f"{type(record).__name__} cannot be written: {described(error)}")
