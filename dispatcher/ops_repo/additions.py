"""Which commits added actions, and so who claims to have written them; for people.

Names in commits are whatever their maker wrote. What needs proof asks the gate.
"""

from __future__ import annotations

from dispatcher.model.names import is_id
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH
from dispatcher.ops_repo import history, reader
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.records import CommitInfo


def additions(
    clone: Clone, commit: str, *, since: str = "", skip: int = 0, count: int
) -> dict[str, CommitInfo]:
    """The commit that added each action, by id: of several the newest; never a merge, which takes
    over what others wrote.

    Args:
        commit: in whose history they are.
        since: and not in this one's.
        skip, count: how many commits are passed over, and then searched, the newest first.
    """
    revisions = [
        f"--skip={skip}",
        f"--max-count={count}",
        commit,
        *([f"^{since}"] if since else []),
    ]
    added: dict[str, CommitInfo] = {}
    infos: dict[str, CommitInfo] = {}
    for change in history.changes(clone, revisions, [ACTIONS_PATH]):
        name, difference = change.difference.name, change.difference
        stem = name.removesuffix(ACTION_ENDING)
        if stem == name or not is_id(stem) or stem in added:
            continue
        if difference.old is not None or difference.new is None:
            continue
        if change.commit not in infos:
            infos[change.commit] = reader.commit_info(clone, change.commit)
        if len(infos[change.commit].parents) < 2:
            added[stem] = infos[change.commit]
    return added
