"""Follows the branch from head to head, and lets nothing run that may have run before.

Clone and ledger are read on another thread: first the difference between two heads, by which the loop
moves its view; then what a vanished result means for the ledger. Until that is recorded the id is
withheld, so that no step is taken for it. Nor is the claim of a run whose result came with a head that is
not recorded released: that result must not be the only trace of the run. Heads by which nothing was lost
are recorded together, once in ``RECORD_EVERY_S``: each record is a write of the ledger. Before the view
moves at all, everything that was withdrawn on the way to the new head is on record (``OpsRepo.approach``),
head by head, so that each of several heads in a row counts. For new results see ``dispatcher.loop.arrivals``.

Nothing else moves the view, and only one update is searched for at a time; so the tree that this
reads from its thread does not change meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dispatcher.errors import Dependency
from dispatcher.ledger.base import Note
from dispatcher.loop.components import Components
from dispatcher.loop.pollers import Pauses, Pollers
from dispatcher.loop.tombstones import Lost, Recall, keep, recall, record, vanished_results
from dispatcher.loop.view import View
from dispatcher.loop.withdrawn import Written, keep_withdrawn, touched, written_blobs
from dispatcher.model.run import Claim
from dispatcher.ops_repo import Approach, Changes, Delta, Head, Tree
from dispatcher.ops_repo.signatures import TRAILER
from dispatcher.status.tracker import Tracker

T = TypeVar("T")

LOST = (
    "the commits of {commit}, which decisions were made on, can no longer be read: it is unknown "
    "what they withdrew, so every approval given before now has to be given again"
)

NAME = "head"
"""Name of the poller that reads the clone."""

PAUSES_S = (0.5, 30.0)
"""First and longest pause after the recorded heads could not be read or written."""

RECORD_EVERY_S = 1.0
"""Seconds between two records of heads by which nothing was lost. The first after a rest is recorded at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Move:
    """One move of the view, whose consequences have to be recorded.

    Attributes:
        commit: the new head.
        lost: ids whose result vanished.
        former: blobs of actions that were changed or deleted before they ran, by id.
        rewritten_from: commits that are no longer in the history.
        written: actions of ours that were pushed before, and whose files are in ``former`` if they are
            not in the new head as they were.
        arrived: ids whose result came with it.
    """

    commit: str
    lost: tuple[Lost, ...]
    arrived: frozenset[str] = frozenset()
    former: Mapping[str, str] = field(default_factory=dict)
    rewritten_from: tuple[str, ...] = ()
    written: tuple[Written, ...] = ()

    @property
    def can_wait(self) -> bool:
        """Whether there is nothing to record but the head itself."""
        return not (self.lost or self.former or self.rewritten_from or self.written)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Update:
    """A head that the view does not show yet, and the deltas to it; () before ``recall``.

    Attributes:
        approving: whether a commit on the way to it may approve a file that it leaves as it is.
        written: actions of ours that it has, unless somebody touched them.
        blobs: of those, by id.
    """

    head: Head
    deltas: tuple[Delta, ...] = ()
    approach: Approach = field(default_factory=Approach)
    approving: bool = False
    written: tuple[Written, ...] = ()
    blobs: Mapping[str, str] = field(default_factory=dict)


class Heads:
    """Moves the view along the branch. Used by the loop's thread only.

    Args:
        components: clone, ledger and audit log are used.
        view: the view to move.
        pollers: run what may block.
        tracker: notified of damage to the recorded heads.
        led: raises if the lead is lost.
        know: called with each tombstone.
        arrived: called with each move of the view, and whether it is the first.
        pauses_s: first and longest pause after a failure.
        record_every_s: see ``RECORD_EVERY_S``.
    """

    def __init__(
        self,
        components: Components,
        view: View,
        *,
        pollers: Pollers,
        tracker: Tracker,
        led: Callable[[], None],
        know: Callable[[Claim], None],
        arrived: Callable[[Changes, bool], None],
        pauses_s: tuple[float, float] = PAUSES_S,
        record_every_s: float = RECORD_EVERY_S,
    ) -> None:
        self._components, self._view, self._pollers, self._tracker = (
            components,
            view,
            pollers,
            tracker,
        )
        self._led, self._know, self._arrived = led, know, arrived
        self._recalled: Recall | None = None
        self._moves: list[_Move] = []
        self._note: Note | None = None
        self._behind = False
        self._followers: list[Callable[[], None]] = []
        self._writing: set[str] = set()
        self._written: list[Written] = []
        self._first = ""  # a head that waits for ``recall``
        self._reported: set[tuple[str, str]] = set()  # rewrites on record; used by the poller alone
        self._forgotten: tuple[str, ...] = ()  # the latest loss of commits, for people
        self._broken: Exception | None = None
        self._pauses = Pauses(*pauses_s)
        self._record_every_s, self._recorded_at = record_every_s, float("-inf")
        self.followed = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """Damage to the recorded heads, found when the lead was taken or since."""
        recalled = self._recalled.warnings if self._recalled else ()
        return (*recalled, *self._forgotten)

    @property
    def withheld(self) -> set[str]:
        """Ids for which no step may be taken yet."""
        ids = {lost.action_id for move in self._moves for lost in move.lost} | self._writing
        ids.update(*(move.former for move in self._moves))
        return ids.union(*(written.action_ids for written in self._written))

    @property
    def pending(self) -> bool:
        """Whether a head has yet to be followed or recorded."""
        return self.in_doubt or bool(self._moves)

    @property
    def in_doubt(self) -> bool:
        """Whether it is not known yet which ids are used: ``pending``, but for heads whose record can wait."""
        return self._behind or self._is_urgent or bool(self._first or self._written)

    @property
    def _is_urgent(self) -> bool:
        """Whether a head has to be recorded that cannot wait."""
        return not all(move.can_wait for move in self._moves)

    def unrecorded(self, action_id: str) -> bool:
        """Whether the view shows a result of this id that came with a head that is not recorded."""
        return any(action_id in move.arrived for move in self._moves)

    def next_try_in(self) -> float | None:
        """Seconds until heads are recorded, or a failed read or write is retried; None if nothing waits."""
        return max(self._pauses.left(), self._record_in()) or None

    def _record_in(self) -> float:
        """Seconds for which the heads that are not recorded can wait."""
        if not self._moves or self._is_urgent:
            return 0.0
        return max(0.0, self._recorded_at + self._record_every_s - time.monotonic())

    def look(self, followed: Callable[[], None] = lambda: None) -> None:
        """Follow the clone's head, which may have changed.

        Args:
            followed: called once the view shows the head as it is now, or a newer one.
        """
        self._behind = True
        self._followers.append(followed)
        self.go_on()

    def writing(self, action_ids: Iterable[str]) -> None:
        """Note that actions of ours are about to be pushed."""
        self._writing.update(action_ids)

    def not_written(self, action_ids: Iterable[str]) -> None:
        """Note that actions of ours were not pushed."""
        self._writing.difference_update(action_ids)

    def wrote(self, written: Written) -> None:
        """Look at the branch after a push of actions of ours. A look that began before may have missed
        them; one that begins now finds them, or what became of them.
        """
        self._written.append(written)
        self.not_written(written.action_ids)
        self.look()

    def check(self) -> None:
        """Raise the error that kept the view from moving: the view may show half a head, on which
        nothing may be decided.
        """
        if self._broken is not None:
            raise self._broken

    def go_on(self) -> None:
        """Begin what is pending: read the head, or record what vanished."""
        if self._behind and self._pollers.free(None, NAME):
            self._behind = False
            written, followers = tuple(self._written), tuple(self._followers)
            self._followers.clear()
            self._pollers.run(
                None,
                lambda: self._find_update(written),
                lambda update: self._apply(update, followers),
                name=NAME,
                failed=lambda _error: self._find_failed(followers),
            )
        if self._first:
            first = self._first
            self._ask(lambda: recall(self._components, first), self._begin)
        elif self._moves and not self._record_in():
            moves = tuple(self._moves)
            self._ask(lambda: self._record(moves), lambda claims: self._recorded(moves, claims))

    def _find_update(self, written: tuple[Written, ...]) -> _Update | None:
        """On another thread: the clone's head and the deltas to it, if the view does not show it, or
        not what became of actions of ours.
        """
        head = self._components.repo.local_head()
        recalled, tree = self._recalled, self._view.tree
        if head is None or (self.followed and head.commit == tree.commit and not written):
            return None
        if recalled is None:
            return _Update(head=head)
        before = (tree.commit,) if self.followed else recalled.heads
        deltas: list[Delta] = []
        if not self.followed and recalled.base:
            deltas.append(self._components.repo.difference(tree, recalled.base))
            tree = Tree()
            tree.enter(deltas[0])
        deltas.append(self._components.repo.difference(tree, head.commit))
        approach = self._components.repo.approach(
            head.commit, before, unknown=recalled.hold and not self.followed
        )
        rewritten = approach.dropped or approach.lost
        return _Update(
            head=head,
            deltas=tuple(deltas),
            approach=approach,
            approving=self.followed and not rewritten and self._approving(head.commit),
            written=written,
            blobs=written_blobs(self._components.repo, written),
        )

    def _approving(self, commit: str) -> bool:
        """On another thread: whether commits up to a new head approve something. Files that did not
        change are otherwise not judged again for a while.
        """
        before = self._view.tree.commit
        return self._view.policy.asks_for_more and bool(
            self._components.repo.naming(TRAILER, since=before, commit=commit)
        )

    def _apply(self, update: _Update | None, followers: Sequence[Callable[[], None]]) -> None:
        self._move(update)
        for followed in followers:
            followed()

    def _move(self, update: _Update | None) -> None:
        if update is None:
            return
        if self._recalled is None or not update.deltas:
            self._first = update.head.commit
        else:
            try:
                self._follow(update, self._recalled)
            except Exception as error:  # noqa: BLE001 - ``check`` raises it
                self._broken = error
        self.go_on()

    def _find_failed(self, followers: Sequence[Callable[[], None]]) -> None:
        self._behind = True
        self._followers += followers

    def _ask(self, ask: Callable[[], T], learn: Callable[[T], None]) -> None:
        """Run a call on another thread, one at a time, with growing pauses after failures."""

        def learned(answer: T) -> None:
            self._pauses.succeeded()
            learn(answer)

        if not self._pauses.left():
            self._pollers.run(
                Dependency.LEDGER, ask, learned, name="memory", failed=self._pauses.failed
            )

    def _begin(self, recalled: Recall) -> None:
        self._recalled, self._first = recalled, ""
        for warning in recalled.warnings:
            self._tracker.event("memory_damaged", reason=warning)
        self.look()

    def _follow(self, update: _Update, recalled: Recall) -> None:
        """Move the view, and note the results that vanished."""
        head, (*earlier, last) = update.head, update.deltas
        for delta in earlier:
            self._view.enter(delta)
        before = self._view.tree.commit
        changes = self._view.enter(last)
        rewritten_from = (*update.approach.dropped, *update.approach.lost)
        if rewritten_from:
            self._view.rewritten()
        elif update.approving:
            self._view.invalidate_answers()
        for commit in update.approach.lost:
            self._forgotten = (LOST.format(commit=commit[:12]),)
            self._tracker.event("memory_damaged", reason=self._forgotten[0])
        lost = vanished_results(
            self._view.tree,
            changes,
            before=before,
            recalled=None if self.followed else recalled,
        )
        move = _Move(
            commit=head.commit,
            lost=tuple(lost),
            former={**touched(self._view.tree, update.blobs), **changes.former_blobs},
            rewritten_from=rewritten_from,
            written=update.written,
            arrived=changes.arrived,
        )
        self._moves.append(move)
        self._written = [each for each in self._written if each not in update.written]
        self._arrived(changes, not before)
        if not self.followed and self._components.reporter is not None:
            self._components.reporter.leads_from(head.commit)
        self.followed = True

    def _record(self, moves: tuple[_Move, ...]) -> list[Claim]:
        """On another thread: write the tombstones, then the head; a crash in between repeats both."""
        claims = []
        for move in moves:
            for before in move.rewritten_from:
                if (before, move.commit) not in self._reported:
                    self._components.audit.append(
                        "history_rewritten", before=before, now=move.commit
                    )
                    self._reported.add((before, move.commit))
            for lost in move.lost:
                claim = keep(self._components, lost, commit=move.commit, led=self._led)
                if claim is not None:
                    claims.append(claim)
            claims += keep_withdrawn(
                self._components, move.former, commit=move.commit, led=self._led
            )
        self._note = record(self._components, moves[-1].commit, before=self._note, led=self._led)
        return claims

    def _recorded(self, moves: tuple[_Move, ...], claims: list[Claim]) -> None:
        for claim in claims:
            self._know(claim)
        del self._moves[: len(moves)]
        self._recorded_at = time.monotonic()
        for written in (each for move in moves for each in move.written):
            written.recorded()
        self.go_on()
