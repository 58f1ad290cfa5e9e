"""Finds the job classes and sets of mounts that the open actions of the ops repo request."""

from __future__ import annotations

from dispatcher.decide.placing import SIDECAR, place
from dispatcher.model.action import Action, parse_action
from dispatcher.model.job_class import JobClasses, JobVariant
from dispatcher.operate.files import ACTION_LIMIT
from dispatcher.ops_repo import OpsRepo, Tree


def variants_in_use(repo: OpsRepo, classes: JobClasses) -> frozenset[JobVariant]:
    """The classes of open actions with all mounts, at the remote's head. Invalid files are skipped.

    Raises:
        Unavailable, Denied, Misconfigured: the remote, as ``OpsRepo.fetch``.
    """
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    regular = {name: file for name, file in tree.open.items() if file.regular}
    contents = repo.read((file.blob for file in regular.values()), limit=ACTION_LIMIT)
    parsed = (
        parse_action(data, path=file.path, stem=name)
        for name, file in regular.items()
        if isinstance(data := contents[file.blob], bytes)
    )
    return frozenset(
        placing.variant
        for action in parsed
        if isinstance(action, Action)
        and (placing := place(classes, action, path="", source=SIDECAR)).variant.mounts
        and not placing.problems
    )
