"""Heads: follows the branch from head to head, and lets nothing run that may have run before.

The clone and the ledger are asked on another thread: first for what differs, by which the loop
moves its view; then for what an id's vanishing means for the ledger. Until that is recorded the id is
withheld, so that no step is taken for it, and no claim is released: a result must not be the only
witness of a run in a head that nobody would remember. Before the view moves at all, what the way to
the new head withdrew is on record (``OpsRepo.approach``): head by head, so that of several heads in a
row each counts. The same holds for looking at what arrived:
see ``dispatcher.loop.arrivals``.

Nobody else moves the view, and one look at a time is under way; so the tree that a look reads from
its thread stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dispatcher.errors import Dependency
from dispatcher.loop.components import Components
from dispatcher.loop.pollers import Pauses, Pollers
from dispatcher.loop.tombstones import Lost, Recall, gone, keep, recall, record
from dispatcher.loop.view import View
from dispatcher.model.run import Claim
from dispatcher.ops_repo import Approach, Changes, Delta, Head, Tree
from dispatcher.status.tracker import Tracker

T = TypeVar("T")

LOST = (
    "the commits of {commit}, which decisions were made on, can no longer be read: it is unknown "
    "what they withdrew, so every approval given before now has to be given again"
)

NAME = "head"
"""Of the errand that looks at the clone."""

PAUSES_S = (0.5, 30.0)
"""First and longest pause after the memory could not be read or written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Move:
    """One step of the view, whose consequences have to be recorded.

    Attributes:
        commit: where it led.
        lost: ids whose result vanished.
        rewritten_from: commits that are not in the history any more.
    """

    commit: str
    lost: tuple[Lost, ...]
    rewritten_from: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sight:
    """A head that the view does not show yet, and the way there; () while the memory is unread."""

    head: Head
    deltas: tuple[Delta, ...] = ()
    approach: Approach = field(default_factory=Approach)


class Heads:
    """Moves the view along the branch. Used by the loop's thread only.

    Args:
        components: what it asks and writes.
        view: is moved.
        pollers: who does what may wait.
        tracker: told of what is wrong with the memory.
        led: raises if the lead is lost.
        know: told of each claim that keeps an id.
        arrived: told of each step of the view, and whether it is the first sight of all.
        pauses_s: first and longest pause after a failure.
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
        self._behind = False
        self._first = ""  # a head that waits for the memory to be read
        self._reported: set[tuple[str, str]] = set()  # rewrites on record; by the errand alone
        self._forgotten: tuple[str, ...] = ()  # the latest loss, for people
        self._broken: Exception | None = None
        self._pauses = Pauses(*pauses_s)
        self.followed = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong with the copies of the memory when the lead was taken, and since."""
        recalled = self._recalled.warnings if self._recalled else ()
        return (*recalled, *self._forgotten)

    @property
    def withheld(self) -> set[str]:
        """Ids for which no step may be taken yet."""
        return {lost.action_id for move in self._moves for lost in move.lost}

    @property
    def pending(self) -> bool:
        """Whether something has still to be seen or recorded."""
        return self._behind or bool(self._first or self._moves)

    @property
    def unrecorded(self) -> bool:
        """Whether the view shows a head that is not recorded."""
        return bool(self._moves)

    def next_try_in(self) -> float | None:
        """Seconds until what could not be done is retried; None if nothing waits."""
        return self._pauses.left() or None

    def look(self) -> None:
        """The clone may show another head: follow it."""
        self._behind = True
        self.go_on()

    def check(self) -> None:
        """Raise what kept the view from moving: it may show half a head, and nothing may be decided
        on that.
        """
        if self._broken is not None:
            raise self._broken

    def go_on(self) -> None:
        """Take up what waits: look at the head, or record what vanished."""
        if self._behind and self._pollers.free(None, NAME):
            self._behind = False
            self._pollers.run(None, self._see, self._saw, name=NAME, failed=self._not_seen)
        if self._first:
            first = self._first
            self._ask(lambda: recall(self._components, first), self._begin)
        elif self._moves:
            moves = tuple(self._moves)
            self._ask(lambda: self._record(moves), lambda claims: self._recorded(moves, claims))

    def _see(self) -> _Sight | None:
        """On another thread: the clone's head, if the view does not show it, and the way there."""
        head = self._components.repo.local_head()
        recalled, tree = self._recalled, self._view.tree
        if head is None or (self.followed and head.commit == tree.commit):
            return None
        if recalled is None:
            return _Sight(head=head)
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
        return _Sight(head=head, deltas=tuple(deltas), approach=approach)

    def _saw(self, sight: _Sight | None) -> None:
        if sight is None:
            return
        if self._recalled is None or not sight.deltas:
            self._first = sight.head.commit
        else:
            try:
                self._follow(sight, self._recalled)
            except Exception as error:  # noqa: BLE001 - ``check`` raises it
                self._broken = error
        self.go_on()

    def _not_seen(self, _error: Exception) -> None:
        self._behind = True

    def _ask(self, ask: Callable[[], T], learn: Callable[[T], None]) -> None:
        """Have it done on another thread, one thing at a time, with growing pauses after failures."""

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

    def _follow(self, sight: _Sight, recalled: Recall) -> None:
        """Move the view, and note what vanished on the way."""
        head, (*earlier, last) = sight.head, sight.deltas
        for delta in earlier:
            self._view.enter(delta)
        before = self._view.tree.commit
        changes = self._view.enter(last)
        rewritten_from = (*sight.approach.dropped, *sight.approach.lost)
        if rewritten_from:
            self._view.rewritten()
        for commit in sight.approach.lost:
            self._forgotten = (LOST.format(commit=commit[:12]),)
            self._tracker.event("memory_damaged", reason=self._forgotten[0])
        lost = gone(
            self._view.tree,
            changes,
            before=before,
            recalled=None if self.followed else recalled,
        )
        move = _Move(
            commit=head.commit,
            lost=tuple(lost),
            rewritten_from=rewritten_from,
        )
        self._moves.append(move)
        self._arrived(changes, not before)
        self.followed = True

    def _record(self, moves: tuple[_Move, ...]) -> list[Claim]:
        """On another thread: the tombstones first, then the head; a death in between repeats it."""
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
        record(self._components, moves[-1].commit, led=self._led)
        return claims

    def _recorded(self, moves: tuple[_Move, ...], claims: list[Claim]) -> None:
        for claim in claims:
            self._know(claim)
        del self._moves[: len(moves)]
        self.go_on()
