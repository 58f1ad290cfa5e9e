"""Foreign results: files in the place of a result that this dispatcher did not sign.

The functions here read the clone and may ask Vault for a public key; they run on another thread
than the loop's.
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
    """A file that stands in git as a result.

    Attributes:
        commit: a head that has it.
        path: from the root of the repository.
        blob: its hash (hex), if it is known to be a regular file; else "".
    """

    action_id: str
    commit: str
    path: str
    blob: str = ""


def in_git(tree: Tree, action_id: str) -> InGit | None:
    """What stands in a tree as the result of an action."""
    path = tree.result_path(action_id)
    if path is None:
        return None
    known = tree.result_file(action_id)
    blob = known.blob if known and known.regular else ""
    return InGit(action_id=action_id, commit=tree.commit, path=path, blob=blob)


def read_in_git(components: Components, file: InGit) -> bytes | None:
    """Its bytes; None if it is not a regular file, or too large for a result."""
    from dispatcher.model.result import RESULT_LIMIT  # 'status' only shows what was found

    repo = components.repo
    if file.blob:
        data: bytes | int | None = repo.read([file.blob], limit=RESULT_LIMIT)[file.blob]
    else:
        data = repo.read_file(file.commit, file.path, limit=RESULT_LIMIT)
    return data if isinstance(data, bytes) else None


def judged(components: Components, file: InGit) -> ForeignResult | None:
    """Whether a file is foreign: None for one that we signed for this action, whatever its content
    was then, and where results are not signed.

    Raises:
        Unavailable, Denied: Vault has the key and cannot be asked.
    """
    if not components.verifier.signs:
        return None
    data = read_in_git(components, file)
    if data is not None and components.verifier.ours(data, action_id=file.action_id, blob=None):
        return None
    return told(components, file)


def inspect(components: Components, claim: Claim, file: InGit | None) -> ForeignResult | None:
    """Whether the file that stands in git as a claim's result is ours (None): byte for byte what
    the ledger holds, or signed by us for this action. While nothing can be proven, a tombstone
    takes any file for its result: it holds none that could be lost.

    Raises:
        Unavailable, Denied: Vault has the key and cannot be asked.
    """
    if file is None:
        return None  # nothing is published for a name that is no id
    data = read_in_git(components, file)
    verifier, key = components.verifier, claim.key
    if claim.phase is Phase.TOMBSTONE:
        blob, same = None, not verifier.can_prove()
    else:
        blob, same = key.blob, bool(data) and data == claim.result.encode()
    if same or (data and verifier.ours(data, action_id=key.action_id, blob=blob)):
        return None
    return told(components, file)


def told(components: Components, file: InGit) -> ForeignResult:
    """What is to be told of a foreign file."""
    entry = components.repo.entry_at(file.commit, file.path)
    brought = components.repo.last_change(file.commit, file.path)
    kind = _KINDS.get(entry.mode & 0o170000) if entry else None
    return ForeignResult(
        action_id=file.action_id,
        path=file.path,
        commit=brought.sha if brought else file.commit,
        oid=entry.oid if entry else "",
        reason=f"it is {kind}" if kind else "it has no signature of ours for this action",
    )
