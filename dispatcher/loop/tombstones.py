"""Memory: an id that ran once never runs again, whatever becomes of the files.

That an id ran is known by its result in the tree or by its claim. When a result vanishes from the
tree (deleted by hand, or by a rewritten history), a tombstone in the ledger keeps the id; its text
goes back to git only if it is proven to be ours (``Restore``).

To see that something vanished, one must know what was there. The last head whose consequences are
recorded is written down twice, first in the ledger (a note), then as ``refs/disinto/seen`` in the
clone; a third copy goes to the remote with the results. The two of ours are believed, the remote's
is not: whoever may push may write it. So of what only the remote's ref or the history says, only
what carries our signature counts.

``recall`` reads the copies, ``gone`` tells what vanished, ``keep`` makes the tombstones and
``record`` writes down the head. All but ``gone`` ask ledger and clone, and may wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dispatcher.errors import Conflict, DisintoError, Unavailable
from dispatcher.ledger.base import AlreadyClaimed, ClaimTooLarge
from dispatcher.loop.components import Components
from dispatcher.model.result import RESULT_LIMIT, Result
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.ops_repo import Changes, Tree

NOTE = "seen"
"""Name of the ledger's note that holds the last head whose consequences are recorded."""

ATTEMPTS = 20
"""How often a claim or note is tried anew that somebody else writes in the same moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """An id whose result is not in the tree any more.

    Attributes:
        at: where the result was: pairs of commit and path.
        blobs: what it may have been: blob hashes, the likeliest first.
        proven: whether it is known to have been in a head that we looked at. If not, it counts
            only with a result that we signed.
        open_blob: the id's action in the tree, or "".
    """

    action_id: str
    at: tuple[tuple[str, str], ...] = ()
    blobs: tuple[str, ...] = ()
    proven: bool = True
    open_blob: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """What the copies of the memory amount to.

    Attributes:
        base: the head to begin from; "" to begin with nothing.
        heads: heads that decisions were made on, whether or not the clone has them.
        results: results of other heads that we looked at: commit and path by action id.
        dropped: results that some commit of the history took away: blobs by action id. Asked only
            if our own copies do not suffice.
        hold: we led here before, and what is left does not tell which ids ran.
        warnings: what is wrong with a copy, in words.
    """

    base: str = ""
    heads: tuple[str, ...] = ()
    results: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hold: bool = False
    warnings: tuple[str, ...] = ()


def recall(components: Components, head: str) -> Recall:
    """Read every copy of the memory.

    Args:
        components: ledger and clone are asked; the remote only if these do not suffice.
        head: the branch's head.

    Raises:
        Unavailable: ledger or remote cannot be reached.
    """
    repo = components.repo
    note = components.ledger.note(NOTE)
    kept, seen = note.text if note else "", repo.seen()
    warnings = [seen.damage] if seen.damage else []
    newest = kept or seen.names
    remote = ""
    if not newest or not repo.has_commit(newest):
        remote = repo.remote_seen()  # may bring what newest names
    ours = [c for c in dict.fromkeys((kept, repo.seen().commit)) if c and repo.has_commit(c)]
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
    if kept:
        warnings.append(f"the ledger names commit {kept[:12]}, which is in no history")
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


def gone(
    tree: Tree, changes: Changes, *, before: str, recalled: Recall | None = None
) -> list[Lost]:
    """What vanished on the way to a tree; pure.

    Args:
        tree: as it is now.
        changes: of the last step to it.
        before: the commit that it showed before that; "" if it showed none.
        recalled: at the first step of a dispatcher.
    """
    lost = {i: Lost(action_id=i, at=((before, p),)) for i, p in changes.vanished.items()}
    if recalled is not None:
        for action_id, at in recalled.results.items():
            lost.setdefault(action_id, Lost(action_id=action_id, at=(at,)))
        if recalled.hold:
            for action_id in tree.open:
                lost.setdefault(action_id, Lost(action_id=action_id))
        for action_id, blobs in recalled.dropped.items():
            known = lost.get(action_id) or Lost(action_id=action_id, proven=False)
            lost[action_id] = replace(known, blobs=blobs)
    return [
        replace(entry, open_blob=tree.open[i].blob if i in tree.open else "")
        for i, entry in sorted(lost.items())
        if not tree.has_result(i)
    ]


def keep(
    components: Components, lost: Lost, *, commit: str, led: Callable[[], None]
) -> Claim | None:
    """The claim that keeps an id, whatever steps are under way with an older one; None if nothing
    proves that it was used.

    Args:
        components: ledger and clone are asked.
        lost: whose result vanished.
        commit: the head of now.
        led: raises if the lead is lost; nothing is written then.

    Raises:
        Unavailable: ledger, or Vault if only a signature can tell.
        LeadLost: see ``led``.
    """
    text, blob = _genuine(components, lost)
    if not text and not lost.proven and components.verifier.can_prove():
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


def record(components: Components, commit: str, *, led: Callable[[], None]) -> None:
    """Write down that the consequences of this head are recorded, where it will be believed first:
    in the ledger. The clone's copy is never newer.

    Raises:
        Unavailable: ledger or clone cannot be written.
        LeadLost: see ``keep``.
    """
    for _ in range(ATTEMPTS):
        note = components.ledger.note(NOTE)
        if note is not None and note.text == commit:
            break
        led()
        try:
            components.ledger.write_note(NOTE, commit, version=note.version if note else 0)
        except Conflict:
            continue
        break
    led()
    components.repo.mark_seen(commit)


def _results(components: Components, commits: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Where each result of these heads stands: commit and path by action id."""
    found: dict[str, tuple[str, str]] = {}
    for commit in commits:
        tree = Tree()
        components.repo.advance(tree, commit)
        for action_id in (*tree.finished, *tree.stray_results, *tree.done_results):
            found.setdefault(action_id, (commit, tree.result_path(action_id) or ""))
    return found


def _with_tree(
    components: Components, commit: str, dropped: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """What the history dropped, and the results of a head that may not be in it any more."""
    found = dict(dropped)
    for action_id, (_, path) in _results(components, [commit]).items():
        blob = components.repo.blob_at(commit, path)
        if blob is not None:
            found[action_id] = (blob, *found.get(action_id, ()))
    return found


def _genuine(components: Components, lost: Lost) -> tuple[str, str]:
    """The result that we signed for this id, and the blob of its action; "" if there is none.
    While nobody can tell whether it is ours, the likeliest: a tombstone's text is checked again
    before it is used.
    """
    read = [blob for commit, path in lost.at if (blob := components.repo.blob_at(commit, path))]
    candidates = tuple(dict.fromkeys((*read, *lost.blobs)))
    first = ("", "")
    for blob in candidates:  # one at a time: there may be many, and each may be large
        data = components.repo.read([blob], limit=RESULT_LIMIT)[blob]
        entry = (
            _readable(data)
            if isinstance(data, bytes) and _may_be_ours(components, lost, data)
            else None
        )
        if entry is not None and entry[1] == lost.open_blob:
            return entry
        first = first if first[0] else entry or first
    return first


def _may_be_ours(components: Components, lost: Lost, data: bytes) -> bool:
    """Whether we signed these bytes for this id; True also while that cannot be told, if the id is
    used in any case.
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
    except AlreadyClaimed as known:
        existing = known.existing
        if existing.phase not in (Phase.ENDED, Phase.TOMBSTONE):
            return existing
        # Its retirement may be under way, on the word of the tree that had the result: written
        # anew, the claim is not what that step read, and stays.
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
