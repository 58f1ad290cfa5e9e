"""Memory: an id that ran once never runs again, whatever becomes of the files.

A result that stood in the tree and is gone (deleted by hand, or by a rewritten history) is put
back while its action is still there; where both are gone a tombstone in the ledger keeps the id.
``refs/disinto/seen``, in the clone and on the remote, says up to which head this has been done, so
that a fresh clone of a rewritten history learns of it as well.
"""

from __future__ import annotations

import time

from dispatcher.errors import Conflict
from dispatcher.ledger.base import AlreadyClaimed
from dispatcher.ops_repo import Head
from dispatcher.result import Result
from dispatcher.run import Claim, Phase, RunKey
from dispatcher.service.parts import Parts
from dispatcher.service.view import View

RESULT_LIMIT = 1024 * 1024


def remember(parts: Parts, view: View, head: Head) -> list[Claim]:
    """Move the view to ``head``, and claim again what lost its result on the way.

    Returns the claims made; each is published or kept like any other.
    """
    if not view.tree.commit and head.seen and head.seen_readable and head.seen != head.commit:
        view.advance(head.seen)
    paths: dict[str, str | None] = {}
    before = view.tree.commit
    known = {i: view.tree.result_path(i) for i in view.tree.finished}
    changes = view.advance(head.commit)
    if head.rewritten:
        view.ask_anew()
        parts.audit.append("history_rewritten", before=before or head.seen or "", now=head.commit)
    for action_id in changes.vanished:
        paths[action_id] = known.get(action_id)
    if head.rewritten and not head.seen_readable:
        # Nobody can tell which of these ran before: none may run again by itself.
        paths.update(dict.fromkeys(view.tree.open))
    claims = [_held(parts, view, i, before, path) for i, path in sorted(paths.items())]
    parts.repo.mark_seen(head.commit)
    return claims


def _held(parts: Parts, view: View, action_id: str, before: str, path: str | None) -> Claim:
    """The claim that keeps an id, whatever steps are under way with an older one."""
    while True:
        try:
            return _claim_again(parts, view, action_id, before, path)
        except Conflict:
            continue  # released or changed in between: claim it again


def _claim_again(parts: Parts, view: View, action_id: str, before: str, path: str | None) -> Claim:
    open_file = view.tree.open.get(action_id)
    text = _result_text(parts, before, path) if path and open_file else ""
    claim = Claim(
        key=RunKey(action_id=action_id, blob=open_file.blob if open_file else ""),
        phase=Phase.ENDED if text else Phase.TOMBSTONE,
        commit=before,
        result=text,
        revoked=True,
        claimed_at=time.time(),
    )
    try:
        claim = parts.ledger.claim(claim)
    except AlreadyClaimed as known:
        if known.existing.phase not in (Phase.ENDED, Phase.TOMBSTONE):
            return known.existing
        # Its retirement may be under way, on the word of the tree that had the result: written
        # anew, the claim is not what that step read, and stays.
        return parts.ledger.update(known.existing)
    parts.audit.append(
        "result_vanished",
        action=action_id,
        commit=view.tree.commit,
        reason="put back" if text else "the id is kept as used",
    )
    return claim


def _result_text(parts: Parts, commit: str, path: str) -> str:
    """The result as it was, or "" where it cannot be read as one."""
    blob = parts.repo.blob_at(commit, path)
    data = parts.repo.read([blob], limit=RESULT_LIMIT)[blob] if blob else b""
    if not isinstance(data, bytes):
        return ""
    try:
        return Result.model_validate_json(data).to_json()
    except ValueError:
        return ""
