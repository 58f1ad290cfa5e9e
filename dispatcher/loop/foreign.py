"""Foreign results: files at the path of a result that this dispatcher did not sign.

The functions here read the clone and may fetch a public key from Vault; they run off the loop's
thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dispatcher.model.health import ForeignResult
from dispatcher.model.run import Claim, Phase

if TYPE_CHECKING:
    from dispatcher.loop.components import Components
    from dispatcher.ops_repo import Tree

REMEDY = (
    "See who pushed it and why. To let the action get a genuine result, submit it under a new id; "
    "to forget the file, delete it together with its action"
)

_KINDS = {0o040000: "a directory", 0o120000: "a symbolic link", 0o160000: "a submodule"}


@dataclass(frozen=True, kw_only=True, slots=True)
class InGit:
    """A file in git at the path of a result.

    Attributes:
        commit: a head that contains it.
        path: from the root of the repository.
        blob: its hash (hex) if the file is known to be regular, else "".
    """

    action_id: str
    commit: str
    path: str
    blob: str = ""


def in_git(tree: Tree, action_id: str) -> InGit | None:
    """The file in a tree at the path of an action's result; None if there is none."""
    path = tree.result_path(action_id)
    if path is None:
        return None
    entry = tree.result_file(action_id)
    blob = entry.blob if entry and entry.regular else ""
    return InGit(action_id=action_id, commit=tree.commit, path=path, blob=blob)


def read_in_git(components: Components, file: InGit) -> bytes | None:
    """Its bytes; None if it is not a regular file, or too large for a result."""
    from dispatcher.model.result import RESULT_LIMIT  # 'status' only shows findings

    repo = components.repo
    if file.blob:
        data: bytes | int | None = repo.read([file.blob], limit=RESULT_LIMIT)[file.blob]
    else:
        data = repo.read_file(file.commit, file.path, limit=RESULT_LIMIT)
    return data if isinstance(data, bytes) else None


def judged(components: Components, file: InGit) -> ForeignResult | None:
    """The report of a file that is foreign; None for one that we signed for this action, whatever
    the action's content was then, and if results are not signed.

    Raises:
        Unavailable, Denied: Vault has the key and cannot be reached.
    """
    if not components.verifier.signs:
        return None
    data = read_in_git(components, file)
    if data is not None and components.verifier.ours(data, action_id=file.action_id, blob=None):
        return None
    return foreign_result(components, file)


def inspect(components: Components, claim: Claim, file: InGit | None) -> ForeignResult | None:
    """The report of a foreign file in the place of a claim's result. None if the file is ours:
    byte for byte what the ledger holds, or signed by us for this action. If nothing can be proven, a
    tombstone accepts any file as its result, because the tombstone holds none that could be lost.

    Raises:
        Unavailable, Denied: Vault has the key and cannot be reached.
    """
    if file is None:
        return None  # nothing is published for an invalid id
    data = read_in_git(components, file)
    verifier, key = components.verifier, claim.key
    if claim.phase is Phase.TOMBSTONE:
        blob, same = None, not verifier.can_prove()
    else:
        blob, same = key.blob, bool(data) and data == claim.result.encode()
    if same or (data and verifier.ours(data, action_id=key.action_id, blob=blob)):
        return None
    return foreign_result(components, file)


def foreign_result(components: Components, file: InGit) -> ForeignResult:
    """The report of a foreign file, with the commit that added it."""
    entry = components.repo.entry_at(file.commit, file.path)
    added_by = components.repo.last_change(file.commit, file.path)
    kind = _KINDS.get(entry.mode & 0o170000) if entry else None
    return ForeignResult(
        action_id=file.action_id,
        path=file.path,
        commit=added_by.sha if added_by else file.commit,
        oid=entry.oid if entry else "",
        reason=f"it is {kind}" if kind else "it has no signature of ours for this action",
    )
