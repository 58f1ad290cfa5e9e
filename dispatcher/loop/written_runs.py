"""What became of the actions that the dispatcher wrote itself, proven by signatures.

Anybody who may push can change or delete the files of an action. So what we wrote is read by the blob
that a result of ours, or the claim, names; the file in the tree counts only for what is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dispatcher.loop.foreign import in_git, read_in_git
from dispatcher.model.action import Action, parse_action
from dispatcher.model.run import Phase
from dispatcher.sources import WrittenRun

if TYPE_CHECKING:
    from dispatcher.loop.components import Components
    from dispatcher.model.result import Result
    from dispatcher.model.run import Claim
    from dispatcher.ops_repo import Tree


def written_run(
    components: Components, tree: Tree, claims: Mapping[str, Claim], action_id: str
) -> WrittenRun | None:
    """The action that we wrote under an id, and its result if we signed one; None if we wrote none.

    Raises:
        Unavailable, Denied: our key is in Vault and cannot be read.
    """
    claim, withdrawn_at = claims.get(action_id), None
    result = _signed_result(components, tree, claim, action_id)
    if result is not None:
        blob = result.blob
    elif claim is not None:
        blob = claim.key.blob
        withdrawn_at = claim.claimed_at if claim.phase is Phase.TOMBSTONE else None
    elif action_id in tree.open:
        blob = tree.open[action_id].blob
    else:
        return None
    action = _ours(components, blob, action_id)
    return (
        None
        if action is None
        else WrittenRun(action=action, result=result, withdrawn_at=withdrawn_at)
    )


def _signed_result(
    components: Components, tree: Tree, claim: Claim | None, action_id: str
) -> Result | None:
    from pydantic import ValidationError

    from dispatcher.model.result import Result, parse_result

    file = in_git(tree, action_id)
    data = read_in_git(components, file) if file is not None else None
    try:
        if data is not None and components.verifier.ours(data, action_id=action_id, blob=None):
            return Result.model_validate_json(data)
        if claim is not None and claim.phase is Phase.TOMBSTONE and claim.result:
            return parse_result(claim.result)
    except ValidationError:
        return None  # of another version
    return None


def _ours(components: Components, blob: str, action_id: str) -> Action | None:
    limit = components.settings.limits.max_action_bytes
    data = components.repo.read([blob], limit=limit).get(blob) if blob else None
    if not isinstance(data, bytes) or not components.written.wrote(data, action_id=action_id):
        return None
    parsed = parse_action(data, path="", stem=action_id, limit=limit)
    return parsed if isinstance(parsed, Action) else None
