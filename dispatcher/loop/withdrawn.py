"""Actions of ours that somebody changed or deleted before they ran: their ids stay used.

An action file that anybody else wrote may be changed, or deleted and added again. One that the
dispatcher wrote itself is withdrawn for good: otherwise its source would have it written again and
again, and a copy from the history, which carries our signature still, would run after all. A change
counts as well, because what is deleted after it is no longer our file.

Between our push of such a file and our next look at the branch somebody may push as well. So what was
written is compared with what that look finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dispatcher.ledger.base import AlreadyClaimed
from dispatcher.loop.components import Components
from dispatcher.model.action import MAX_ACTION_BYTES
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.ops_repo import OpsRepo, Tree

BATCH = 200
"""Files read at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Actions of ours that were pushed, and not yet looked at.

    Attributes:
        action_ids: theirs.
        commit: that brought them (hex).
        recorded: called once it is recorded which of them are gone or changed already.
    """

    action_ids: tuple[str, ...]
    commit: str
    recorded: Callable[[], None]


def written_blobs(repo: OpsRepo, written: Iterable[Written]) -> dict[str, str]:
    """The git blob hashes (hex) of actions that we pushed, by id. Reads the clone."""
    return {
        action_id: blob
        for each in written
        for action_id in each.action_ids
        if (blob := repo.blob_at(each.commit, f"{ACTIONS_PATH}/{action_id}{ACTION_ENDING}"))
    }


def touched(tree: Tree, blobs: Mapping[str, str]) -> dict[str, str]:
    """Those of the actions that we pushed that are gone or changed in a later tree, with the blobs that
    we pushed. Pure.
    """
    return {
        action_id: blob
        for action_id, blob in blobs.items()
        if not ((file := tree.open.get(action_id)) and file.regular and file.blob == blob)
        and not tree.has_result(action_id)
    }


def keep_withdrawn(
    components: Components, former: Mapping[str, str], *, commit: str, led: Callable[[], None]
) -> list[Claim]:
    """Create a tombstone for each of these that the dispatcher wrote.

    Args:
        components: ledger and clone are used.
        former: git blob hashes (hex) of files that were changed or deleted, by id.
        commit: the present head.
        led: raises if the lead is lost; nothing is written then.

    Raises:
        Unavailable: ledger, clone, or Vault if it has our key.
        LeadLost: see ``led``.
    """
    ids, claims = sorted(former), []
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        limit = max(MAX_ACTION_BYTES, components.settings.limits.max_action_bytes)
        contents = components.repo.read({former[i] for i in part}, limit=limit)
        for action_id in part:
            data = contents[former[action_id]]
            if isinstance(data, bytes) and components.written.wrote(data, action_id=action_id):
                claims += _keep(components, action_id, former[action_id], commit=commit, led=led)
    return claims


def _keep(
    components: Components, action_id: str, blob: str, *, commit: str, led: Callable[[], None]
) -> list[Claim]:
    claim = Claim(
        key=RunKey(action_id=action_id, blob=blob),
        phase=Phase.TOMBSTONE,
        commit=commit,
        revoked=True,
        claimed_at=time.time(),
    )
    led()
    try:
        kept = components.ledger.claim(claim)
    except AlreadyClaimed:
        return []  # it runs or ran, which keeps the id as well
    components.audit.append(
        "written_withdrawn", action=action_id, blob=blob, commit=commit, reason="the id is used"
    )
    return [kept]
