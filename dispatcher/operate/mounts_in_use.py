"""Finds the sets of mounts that the open actions of the ops repo request."""

from __future__ import annotations

from dispatcher.model.action import Action, parse_action
from dispatcher.model.mounts import Mount
from dispatcher.operate.repetitions import ACTION_LIMIT
from dispatcher.ops_repo import OpsRepo, Tree


def mount_sets(repo: OpsRepo) -> frozenset[frozenset[Mount]]:
    """The sets of mounts that open actions name, at the remote's head. Invalid files are skipped.

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
        frozenset(action.mounts)
        for action in parsed
        if isinstance(action, Action) and action.mounts
    )
