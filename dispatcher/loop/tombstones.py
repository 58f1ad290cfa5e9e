"""Tombstones: an id that ran once never runs again, whatever happens to the files.

An id has run if it has a result in the tree or a claim. When a result vanishes from the tree (deleted
by hand, or by a rewritten history), a tombstone in the ledger keeps the id; its text goes back to git
only if it is proven to be ours (``Restore``).

When another file takes the place of a result that we signed, a tombstone keeps that as well: what ran, and
how it ended, is then still known (``dispatcher.loop.written_runs``). The other file stays, because people
may have removed from it what should not be in git; if it is deleted, the genuine result comes back.

Finding vanished results requires the head they were in. The last head whose consequences are recorded
is stored twice, first in the ledger (a note), then as ``refs/disinto/seen`` in the clone; a third copy
goes to the remote with the results. Our two copies are trusted, the remote's is not, because anybody
with push rights may write it. So results that only the remote's ref or the history shows count only if
they carry our signature.

``recall`` reads the copies, ``vanished_results`` finds what vanished, ``keep`` creates the tombstones
and ``record`` stores the head. All but ``vanished_results`` do I/O on ledger and clone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dispatcher.errors import Conflict, DisintoError, Unavailable
from dispatcher.ledger.base import AlreadyClaimed, ClaimTooLarge, Note
from dispatcher.loop.components import Components
from dispatcher.model.result import RESULT_LIMIT, Result
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.ops_repo import Changes, Tree

NOTE = "seen"
"""Name of the ledger's note that holds the last head whose consequences are recorded."""

ATTEMPTS = 20
"""Attempts to write a claim or note that another process keeps changing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """An id whose result is no longer in the tree.

    Attributes:
        at: where the result was: pairs of commit and path.
        blobs: hashes of the blobs it may have been, the likeliest first.
        proven: whether it was in a head that we processed. If not, it counts only with a
            result that we signed.
        open_blob: the id's action in the tree, or "".
        replaced_by: commit and path of the file that took its place; () if there is none. Then it counts
            only with a result that we signed.
    """

    action_id: str
    at: tuple[tuple[str, str], ...] = ()
    blobs: tuple[str, ...] = ()
    proven: bool = True
    open_blob: str = ""
    replaced_by: tuple[str, str] | tuple[()] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """The combined content of the recorded heads.

    Attributes:
        base: the head to begin from; "" to begin with nothing.
        heads: heads that decisions were made on, whether or not the clone has them.
        results: results of other heads that we processed: commit and path by action id.
        dropped: results that some commit of the history removed: blobs by action id. Read only
            if our own copies do not suffice.
        hold: we led here before, and the remaining copies do not show which ids ran.
        warnings: damage to a copy, in words.
    """

    base: str = ""
    heads: tuple[str, ...] = ()
    results: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hold: bool = False
    warnings: tuple[str, ...] = ()


def recall(components: Components, head: str) -> Recall:
    """Read every copy of the recorded heads.

    Args:
        components: ledger and clone are read; the remote only if these do not suffice.
        head: the branch's head.

    Raises:
        Unavailable: ledger or remote cannot be reached.
    """
    repo = components.repo
    note = components.ledger.note(NOTE)
    noted, seen = note.text if note else "", repo.seen()
    warnings = [seen.damage] if seen.damage else []
    newest = noted or seen.names
    remote = ""
    if not newest or not repo.has_commit(newest):
        remote = repo.remote_seen()  # may bring what newest names
    ours = [c for c in dict.fromkeys((noted, repo.seen().commit)) if c and repo.has_commit(c)]
    heads = tuple(dict.fromkeys((*([newest] if newest else []), *ours)))
    if newest and newest in ours:
        others = [c for c in ours if c != newest]
        return Recall(
            base=newest,
            heads=heads,
            results=_results(components, others),
            warnings=tuple(warnings),
        )
    hold = bool(newest or seen.damage)
    if noted:
        warnings.append(f"the ledger names commit {noted[:12]}, which is in no history")
    if hold:
        warnings.append(
            "it is unknown which of the open actions had run: they are kept from running, and each "
            "gets a result that reports this"
        )
    commits = [c for c in dict.fromkeys((head, remote)) if c]
    dropped: dict[str, tuple[str, ...]] = {}
    try:
        dropped = repo.dropped_results(commits)
    except Unavailable as error:
        warnings.append(f"the history was not searched for deleted results: {error.what}")
    if remote:
        dropped = _with_tree(components, remote, dropped)
    return Recall(
        base=ours[0] if ours else "",
        heads=heads,
        dropped=dropped,
        hold=hold,
        warnings=tuple(warnings),
    )


def vanished_results(
    tree: Tree, changes: Changes, *, before: str, recalled: Recall | None = None
) -> list[Lost]:
    """The results that vanished, or were replaced, when the tree moved. Pure.

    Args:
        tree: as it is now.
        changes: of its last move.
        before: its commit before that move; "" if it had none.
        recalled: at the first move of a dispatcher.
    """
    lost = {i: Lost(action_id=i, at=((before, p),)) for i, p in changes.vanished.items()}
    if recalled is not None:
        for action_id, at in recalled.results.items():
            lost.setdefault(action_id, Lost(action_id=action_id, at=(at,)))
        if recalled.hold:
            for action_id in tree.open:
                lost.setdefault(action_id, Lost(action_id=action_id))
        for action_id, blobs in recalled.dropped.items():
            entry = lost.get(action_id) or Lost(action_id=action_id, proven=False)
            lost[action_id] = replace(entry, blobs=blobs)
    gone = [
        replace(entry, open_blob=tree.open[i].blob if i in tree.open else "")
        for i, entry in sorted(lost.items())
        if not tree.has_result(i)
    ]
    return gone + [
        Lost(action_id=i, at=((before, former),), proven=False, replaced_by=(tree.commit, path))
        for i, former in sorted(changes.replaced.items())
        if (path := tree.result_path(i))
    ]


def keep(
    components: Components, lost: Lost, *, commit: str, led: Callable[[], None]
) -> Claim | None:
    """Create the tombstone of an id, also while a step with an older claim is in progress; None if
    nothing proves that the id was used.

    Args:
        components: ledger and clone are used.
        lost: the id whose result vanished.
        commit: the present head.
        led: raises if the lead is lost; nothing is written then.

    Raises:
        Unavailable: ledger, or Vault if only a signature can tell.
        LeadLost: see ``led``.
    """
    if lost.replaced_by and not _is_replaced(components, lost):
        return None
    text, blob = _genuine(components, lost)
    if not text and (lost.replaced_by or (not lost.proven and components.verifier.can_prove())):
        return None
    claim = Claim(
        key=RunKey(action_id=lost.action_id, blob=blob or lost.open_blob),
        phase=Phase.TOMBSTONE,
        commit=commit,
        result=text,
        revoked=True,
        claimed_at=time.time(),
    )
    for _ in range(ATTEMPTS):
        led()
        try:
            return _claimed(components, claim)
        except ClaimTooLarge:
            claim = replace(claim, result="")
        except Conflict:
            continue  # released or changed in between
    raise Conflict(f"the claim of {lost.action_id} keeps changing")


def record(
    components: Components, commit: str, *, before: Note | None, led: Callable[[], None]
) -> Note | None:
    """Record that the consequences of this head are recorded, first in the ledger, so that the
    clone's copy is never newer.

    Args:
        before: the note as this function returned it last: it is read only if it has changed since.

    Raises:
        Unavailable: ledger or clone cannot be written.
        LeadLost: see ``keep``.
    """
    note = before
    for _ in range(ATTEMPTS):
        note = note or components.ledger.note(NOTE)
        if note is not None and note.text == commit:
            break
        led()
        try:
            version = note.version if note else 0
            note = components.ledger.write_note(NOTE, commit, version=version)
        except Conflict:
            note = None
            continue
        break
    led()
    components.repo.mark_seen(commit)
    return note


def _results(components: Components, commits: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Commit and path of each result of these heads, by action id."""
    results: dict[str, tuple[str, str]] = {}
    for commit in commits:
        tree = Tree()
        components.repo.advance(tree, commit)
        for action_id in (*tree.finished, *tree.stray_results, *tree.archived_results()):
            results.setdefault(action_id, (commit, tree.result_path(action_id) or ""))
    return results


def _with_tree(
    components: Components, commit: str, dropped: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """What the history dropped, and the results of a head that may no longer be in it."""
    results = dict(dropped)
    there = _results(components, [commit])
    entries = components.repo.entries_at(commit, [path for _, path in there.values()])
    for action_id, (_, path) in there.items():
        entry = entries.get(path)
        if entry is not None and entry.regular:
            results[action_id] = (entry.oid, *results.get(action_id, ()))
    return results


def _is_replaced(components: Components, lost: Lost) -> bool:
    """Whether what took the place of a result differs from it, and is not ours."""
    commit, path = lost.replaced_by or ("", "")
    ((before, former),) = lost.at
    there = components.repo.blob_at(commit, path)
    if there is None:
        return True  # no regular file
    if there == components.repo.blob_at(before, former):
        return False
    data = components.repo.read([there], limit=RESULT_LIMIT)[there]
    verifier = components.verifier
    return not isinstance(data, bytes) or not verifier.ours(
        data, action_id=lost.action_id, blob=None
    )


def _genuine(components: Components, lost: Lost) -> tuple[str, str]:
    """The result that we signed for this id, and the blob of its action; "" if there is none.
    While signatures cannot be checked, the likeliest: a tombstone's text is checked again
    before it is used.
    """
    read = [blob for commit, path in lost.at if (blob := components.repo.blob_at(commit, path))]
    candidates = tuple(dict.fromkeys((*read, *lost.blobs)))
    best = ("", "")
    for blob in candidates:  # one at a time: there may be many, and each may be large
        data = components.repo.read([blob], limit=RESULT_LIMIT)[blob]
        entry = (
            _readable(data)
            if isinstance(data, bytes) and _may_be_ours(components, lost, data)
            else None
        )
        if entry is not None and entry[1] == lost.open_blob:
            return entry
        best = best if best[0] else entry or best
    return best


def _may_be_ours(components: Components, lost: Lost, data: bytes) -> bool:
    """Whether we signed these bytes for this id. True also while that cannot be checked, if the id
    is used in any case.
    """
    try:
        return components.verifier.ours(data, action_id=lost.action_id, blob=None)
    except DisintoError:
        if not lost.proven:
            raise
        return True


def _readable(data: bytes) -> tuple[str, str] | None:
    """The text of a result and the blob of its action, or None if it is no result."""
    try:
        return data.decode(), Result.model_validate_json(data).blob
    except ValueError:
        return None


def _claimed(components: Components, claim: Claim) -> Claim:
    try:
        made = components.ledger.claim(claim)
    except AlreadyClaimed as conflict:
        existing = conflict.existing
        if existing.phase not in (Phase.ENDED, Phase.TOMBSTONE):
            return existing
        # A step may be retiring it, based on the tree that had the result. Writing the claim
        # again makes that step's compare-and-set fail, so the claim stays.
        empty = existing.phase is Phase.TOMBSTONE and not existing.result
        return components.ledger.update(
            replace(existing, key=claim.key, result=claim.result) if empty else existing
        )
    components.audit.append(
        "result_vanished",
        action=claim.key.action_id,
        commit=claim.commit,
        reason="its text is kept with the id" if claim.result else "the id is kept as used",
    )
    return made
