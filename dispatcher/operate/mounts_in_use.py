"""Finds the job classes and sets of mounts that the open actions of the ops repo request."""

from __future__ import annotations

from dispatcher.decide.placing import SIDECAR, place
from dispatcher.model.job_class import JobClasses, JobVariant
from dispatcher.operate.files import valid_open_actions
from dispatcher.ops_repo import OpsRepo, Tree


def variants_in_use(repo: OpsRepo, classes: JobClasses) -> frozenset[JobVariant]:
    """The classes of open actions with all mounts, at the remote's head. Invalid files are skipped.

    Raises:
        Unavailable, Denied, Misconfigured: the remote, as ``OpsRepo.fetch``.
    """
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    return frozenset(
        placing.variant
        for action in valid_open_actions(repo, tree)
        if (placing := place(classes, action, path="", source=SIDECAR)).variant.mounts
        and not placing.problems
    )
