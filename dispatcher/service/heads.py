"""Heads: follows the branch from head to head, and lets nothing run that may have run before.

The loop's thread moves the view, which asks the clone alone. What an id's vanishing means for the
ledger is done on another thread; until that is over the id is withheld, so that no step is taken
for it. The same holds for looking at what arrived: see ``dispatcher.service.arrivals``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dispatcher.errors import Dependency
from dispatcher.ops_repo import Changes, Head
from dispatcher.run import Claim
from dispatcher.service.errands import Errands, Pauses
from dispatcher.service.memory import Lost, Recall, gone, keep, recall, record
from dispatcher.service.parts import Parts
from dispatcher.service.view import View
from dispatcher.service.watch import Watch

T = TypeVar("T")

PAUSES_S = (0.5, 30.0)
"""First and longest pause after the memory could not be read or written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Move:
    """One step of the view, whose consequences have to be recorded."""

    commit: str
    lost: tuple[Lost, ...]


class Heads:
    """Used by the loop's thread only.

    Args:
        parts: what it asks and writes.
        view: is moved.
        errands: who does what may wait.
        watch: told of what is wrong with the memory.
        led: raises if the lead is lost.
        know: told of each claim that keeps an id.
        arrived: told of each step of the view, and whether it is the first sight of all.
        pauses_s: first and longest pause after a failure.
    """

    def __init__(
        self,
        parts: Parts,
        view: View,
        *,
        errands: Errands,
        watch: Watch,
        led: Callable[[], None],
        know: Callable[[Claim], None],
        arrived: Callable[[Changes, bool], None],
        pauses_s: tuple[float, float] = PAUSES_S,
    ) -> None:
        self._parts, self._view, self._errands, self._watch = parts, view, errands, watch
        self._led, self._know, self._arrived = led, know, arrived
        self._recalled: Recall | None = None
        self._moves: list[_Move] = []
        self._pauses = Pauses(*pauses_s)
        self.followed = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong with the copies of the memory when the lead was taken."""
        return self._recalled.warnings if self._recalled else ()

    @property
    def withheld(self) -> set[str]:
        """Ids for which no step may be taken yet."""
        return {lost.action_id for move in self._moves for lost in move.lost}

    @property
    def pending(self) -> bool:
        """Whether something has still to be recorded."""
        return bool(self._moves)

    def next_try_in(self) -> float | None:
        """Seconds until what could not be done is tried again; None if nothing waits."""
        return self._pauses.left() or None

    def look(self) -> None:
        """Follow the clone's head as far as that can be done now."""
        head = self._parts.repo.local_head()
        if head is None:
            return
        recalled = self._recalled
        if recalled is None:
            self._ask(lambda: recall(self._parts, head.commit), self._begin)
            return
        if not self.followed or head.commit != self._view.tree.commit:
            self._follow(head, recalled)
        self.go_on()

    def go_on(self) -> None:
        """Take up what waits: read the memory, or record what vanished."""
        if self._recalled is None:
            self.look()
        elif self._moves:
            moves = tuple(self._moves)
            self._ask(lambda: self._record(moves), lambda claims: self._recorded(moves, claims))

    def _ask(self, ask: Callable[[], T], learn: Callable[[T], None]) -> None:
        """Have it done on another thread, one thing at a time, with growing pauses after failures."""

        def learned(answer: T) -> None:
            self._pauses.succeeded()
            learn(answer)

        if not self._pauses.left():
            self._errands.run(
                Dependency.LEDGER, ask, learned, name="memory", failed=self._pauses.failed
            )

    def _begin(self, recalled: Recall) -> None:
        self._recalled = recalled
        for warning in recalled.warnings:
            self._watch.event("memory_damaged", reason=warning)
        self.look()

    def _follow(self, head: Head, recalled: Recall) -> None:
        """Move the view, and note what vanished on the way."""
        if not self.followed and recalled.base:
            self._view.advance(recalled.base)
        before = self._view.tree.commit
        changes = self._view.advance(head.commit)
        if head.rewritten:
            self._view.ask_anew()
            self._parts.audit.append(
                "history_rewritten", before=before or head.seen or "", now=head.commit
            )
        lost = gone(
            self._view.tree,
            changes,
            before=before,
            recalled=None if self.followed else recalled,
        )
        self._moves.append(_Move(commit=head.commit, lost=tuple(lost)))
        self._arrived(changes, not before)
        self.followed = True

    def _record(self, moves: tuple[_Move, ...]) -> list[Claim]:
        """On another thread: the tombstones first, then the head; a death in between repeats it."""
        claims = []
        for move in moves:
            for lost in move.lost:
                claim = keep(self._parts, lost, commit=move.commit, led=self._led)
                if claim is not None:
                    claims.append(claim)
        record(self._parts, moves[-1].commit, led=self._led)
        return claims

    def _recorded(self, moves: tuple[_Move, ...], claims: list[Claim]) -> None:
        for claim in claims:
            self._know(claim)
        del self._moves[: len(moves)]
        self.go_on()
