"""The chain of an action and its repetitions, by the files in the ops repo.

Anybody who may push an action can let it name another as its predecessor: the chain is for people, and
nothing is decided by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dispatcher.errors import InvalidInput
from dispatcher.operate.files import read_action, read_result
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.toml.source import TomlSource

LONGEST = 20
"""Links that are followed in either direction."""

LONGEST_ID = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """An action of a chain.

    Attributes:
        verdict: as its result has it; "" if it has none, or if that cannot be read.
    """

    id: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.id} ({self.verdict or 'no result yet'})"


Chain = tuple[Link, ...]


def predecessors(action_id: str, repeats: str | None, *, repo: OpsRepo, commit: str) -> Chain:
    """What an action repeats, the latest last.

    Args:
        repeats: the id that its file names.
    """
    found: dict[str, Link] = {}
    here = repeats
    while here and here != action_id and here not in found and len(found) < LONGEST:
        tree = repo.tree_of(commit, here)
        found[here] = _link(here, repo=repo, tree=tree)
        here = again_of(repo, tree, here)
    return tuple(reversed(found.values()))


def successors(action_id: str, repeats: str | None, *, repo: OpsRepo, commit: str) -> Chain:
    """What repeats an action, of those that 'disinto again' made; the latest last.

    Args:
        repeats: the id that its file names.
    """
    root, number = root_of(action_id, repeats)
    found: list[Link] = []
    last = action_id
    for following in range(number + 1, number + 1 + LONGEST):
        new_id = numbered(root, following)
        tree = repo.tree_of(commit, new_id)
        if not is_used(tree, new_id):
            break
        if again_of(repo, tree, new_id) == last:
            found.append(_link(new_id, repo=repo, tree=tree))
            last = new_id
    return tuple(found)


def root_of(action_id: str, predecessor: str | None) -> tuple[str, int]:
    """What the ids of a chain of repetitions begin with, and the number of this one."""
    parts = re.fullmatch(r"(.+)-([1-9][0-9]{0,3})", action_id)
    if parts and predecessor:
        root = parts[1]
        if re.fullmatch(re.escape(root) + "(-[1-9][0-9]{0,3})?", predecessor):
            return root, int(parts[2])
    return action_id, 1


def numbered(root: str, number: int) -> str:
    """The id of a repetition."""
    ending = f"-{number}"
    return root[: LONGEST_ID - len(ending)] + ending


def again_of(repo: OpsRepo, tree: Tree, action_id: str) -> str | None:
    """The id that an action repeats, as its file has it; None if it repeats none."""
    return named_in(read_action(repo, tree, action_id))


def named_in(data: bytes | int | None) -> str | None:
    """The id that an action's file names as what it repeats.

    Args:
        data: as ``read_action`` returns it.
    """
    if not isinstance(data, bytes):
        return None
    value = TomlSource.parse(data, path="").data.get("again_of")
    return value if isinstance(value, str) else None


def is_used(tree: Tree, action_id: str) -> bool:
    """Whether there is any file of an id."""
    return (
        tree.action_path(action_id) is not None
        or tree.has_result(action_id)
        or action_id in tree.archived
        or action_id in tree.cancels
    )


def _link(action_id: str, *, repo: OpsRepo, tree: Tree) -> Link:
    try:
        result = read_result(repo, tree, action_id)
    except InvalidInput:
        result = None
    return Link(id=action_id, verdict=result.verdict.value if result else "")
