"""Determines which approvals are void because the branch was rewritten or its commits were lost."""

from __future__ import annotations

import time
from collections.abc import Iterable

from dispatcher.model.times import rfc3339
from dispatcher.ops_repo import reader, rewrites
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.rewrites import Touched, Withdrawn
from dispatcher.ops_repo.viewed import Approach, Loss, Viewed

STEPS = 64
"""Maximum of cached pairs of commits."""


class Withdrawals:
    """Compares heads that decisions were made on, and records what was withdrawn between them.

    Args:
        clone: the records are kept beside it.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        folder = clone.path.with_name(rewrites.FOLDER)
        self._withdrawn, self._viewed = Withdrawn(folder), Viewed(folder)
        self._inside: dict[tuple[str, str], bool] = {}
        self._rewrites: dict[tuple[str, str], Touched] = {}

    def approach(self, commit: str, before: Iterable[str], *, unknown: bool) -> Approach:
        """See ``OpsRepo.approach``."""
        reader.must_know(self._clone, commit)
        viewed = self._viewed.head()
        heads = [h for h in dict.fromkeys((*before, viewed)) if h and h != commit]
        lost = tuple(h for h in heads if not self._clone.objects.has_commit(h))
        dropped = tuple(h for h in heads if h not in lost and not self.is_inside(h, commit))
        for old in dropped:
            self.record(old, commit)
        if lost or unknown:
            self._viewed.lose(Loss(head=commit, at=time.time()))
        if viewed != commit:
            self._viewed.write_head(commit)
        return Approach(dropped=dropped, lost=lost)

    def record(self, old: str, new: str) -> None:
        """Record what the step from one head to another withdrew, if it is a rewrite."""
        self._withdrawn.record(old, new, self._taken_back(old, new))

    def recorded(self, path: str) -> frozenset[str]:
        """Commits that no longer approve a path, by the records of all rewrites."""
        return self._withdrawn.commits(path)

    def between(self, commit: str, path: str) -> frozenset[str]:
        """Commits that no longer approve a path at a head that was not approached yet."""
        heads = {self._clone.refs.seen().commit, self._viewed.head()}
        taken = (self._taken_back(h, commit).get(path, frozenset()) for h in heads if h)
        return frozenset().union(*taken)

    def forgotten(self, approval: str, *, at: float | None) -> str:
        """See ``OpsRepo.forgotten``."""
        viewed = self._viewed.head()
        losses = list(self._viewed.losses())
        if viewed and not self._clone.objects.has_commit(viewed):
            losses.append(Loss(head=viewed, at=time.time()))
        if not losses:
            return ""
        info = reader.commit_info(self._clone, approval)
        until = info.committed_at if at is None else at
        for loss in losses:
            if until <= loss.at or self.is_inside(approval, loss.head):
                day = rfc3339(loss.at)
                return (
                    f"what happened on the branch before {day} was lost with the clone, so "
                    "that it may have been withdrawn since"
                )
        return ""

    def losses(self) -> tuple[Loss, ...]:
        """See ``OpsRepo.losses``."""
        return tuple(sorted(self._viewed.losses(), key=lambda loss: loss.at))

    def is_inside(self, old: str, new: str) -> bool:
        """Whether ``old`` is ``new`` or in its history; False if the clone lacks either."""
        if old == new:
            return True
        step = (old, new)
        if step not in self._inside:
            if not (self._clone.objects.has_commit(old) and self._clone.objects.has_commit(new)):
                return False
            if len(self._inside) >= STEPS:
                self._inside.clear()
            self._inside[step] = reader.is_ancestor(self._clone, old, new)
        return self._inside[step]

    def _taken_back(self, old: str, new: str) -> Touched:
        """What the step from one head to another withdraws, if that is a rewrite."""
        if not self._clone.objects.has_commit(old) or self.is_inside(old, new):
            return {}
        step = (old, new)
        if step not in self._rewrites:
            self._rewrites = {step: rewrites.withdrawn_by(self._clone, *step)}
        return self._rewrites[step]
