"""Writes back what somebody did to the inventory's files.

Whoever may push can edit or delete an entry's file, or bring back one of what was destroyed. Nothing
follows such a file (``dispatcher.loop.inventory``); but git is where people look, so the genuine state
is written back, in a commit that names what it replaces, and the audit log has it. Files that are no
entry of ours, and never were, stay; they are shown as not believed.

Somebody may do it again and again. So each further time an entry is written back after a longer pause,
a day at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dispatcher.errors import Conflict, Dependency
from dispatcher.loop.components import Components
from dispatcher.loop.foreign import InGit, in_git
from dispatcher.loop.inventory_standing import Altered
from dispatcher.loop.kept_results import kept_in
from dispatcher.loop.pollers import Pauses, Pollers
from dispatcher.loop.view import View
from dispatcher.model.backoff import backoff_s
from dispatcher.model.inventory_entry import INVENTORY_PATH
from dispatcher.model.run import Claim
from dispatcher.model.times import took
from dispatcher.ops_repo import NewFile
from dispatcher.status.tracker import Tracker

NAME = "inventory"
"""Of the poller that compares the inventory, and of the one that writes it back."""

FIRST_PAUSE_S = 60.0
"""Seconds between the first and the second time that an entry is written back; each further pause is
``GROWTH`` times as long."""

GROWTH = 5

LONGEST_PAUSE_S = 86_400.0

FORGOTTEN_S = 7 * 86_400.0
"""Seconds after which an entry that was left alone begins anew."""

AT_ONCE = 200
"""Maximum of entries in one commit."""

SHOWN = 5
"""Maximum of warnings."""

PAUSES_S = (1.0, 60.0)
"""First and longest pause after a failure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Restored:
    """How often an entry was written back, and when last (monotonic seconds)."""

    times: int
    at: float

    @property
    def next_at(self) -> float:
        """When it may be again."""
        return self.at + backoff_s(FIRST_PAUSE_S, LONGEST_PAUSE_S, self.times, growth=GROWTH)


class InventoryRestoring:
    """Compares the inventory's files with the results when the branch moves. Used by the loop's thread
    only.

    Args:
        components: clone, audit log, and the inventory.
        view: of the ops repo.
        claims: the open claims, by id; a live view.
        pollers: run what may block.
        tracker: notified of what is written back.
        led: raises if the lead is lost.
        moved: called when the clone may show another head.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        components: Components,
        view: View,
        claims: Mapping[str, Claim],
        *,
        pollers: Pollers,
        tracker: Tracker,
        led: Callable[[], None],
        moved: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._components, self._view, self._claims = components, view, claims
        self._pollers, self._tracker, self._led = pollers, tracker, led
        self._moved, self._clock = moved, clock
        self._compared = ""  # the head that was compared last
        self._due_at = float("inf")
        self._restored: dict[str, _Restored] = {}
        self._held: tuple[Altered, ...] = ()
        self._pauses = Pauses(*PAUSES_S, clock=clock)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Entries that are not written back yet, because that was done before, for people."""
        shown = [self._warning(each) for each in self._held[:SHOWN]]
        more = len(self._held) - len(shown)
        return (*shown, *([f"{more} more entries of the inventory were altered"] if more else []))

    @property
    def pending(self) -> bool:
        """Whether a head has yet to be compared."""
        return self._view.tree.commit != self._compared and not self._pauses.left()

    def work(self, *, ready: bool) -> None:
        """Compare, if the branch moved or a pause ended.

        Args:
            ready: whether the head is followed and recorded, and the lead confirmed.
        """
        commit = self._view.tree.commit
        due = commit != self._compared or self._clock() >= self._due_at
        if not (ready and due) or self._pauses.left() or not self._pollers.free(None, NAME):
            return
        self._compared, self._due_at = commit, float("inf")
        tree, reader = self._view.tree, self._components.inventory

        def locate(action_id: str) -> InGit | None:
            return in_git(tree, action_id)

        self._pollers.run(
            None,
            lambda: reader.altered(
                commit, locate, kept=lambda: kept_in(list(self._claims.values()))
            ),
            lambda altered: self._found(commit, altered),
            name=NAME,
            failed=self._failed,
        )

    def next_in(self) -> float | None:
        """Seconds until there is something to do; None if nothing falls due by itself."""
        if not self._pollers.free(None, NAME):
            return None
        left = self._pauses.left()
        if self._view.tree.commit != self._compared:
            return left
        return max(left, self._due_at - self._clock()) if self._due_at != float("inf") else None

    def _found(self, commit: str, altered: Sequence[Altered]) -> None:
        now = self._clock()
        self._restored = {p: r for p, r in self._restored.items() if now - r.at < FORGOTTEN_S}
        ready = [each for each in altered if self._next_at(each) <= now]
        self._held = tuple(each for each in altered if self._next_at(each) > now)
        self._due_at = min(map(self._next_at, self._held), default=float("inf"))
        if not ready:
            self._pauses.succeeded()
            return
        if not self._pollers.free(Dependency.REMOTE, NAME):
            self._again_later()
            return
        self._pollers.run(
            Dependency.REMOTE,
            lambda: self._write(commit, ready[:AT_ONCE]),
            self._written,
            name=NAME,
            failed=self._failed,
        )

    def _next_at(self, altered: Altered) -> float:
        restored = self._restored.get(altered.path)
        return restored.next_at if restored else float("-inf")

    def _write(self, commit: str, altered: Sequence[Altered]) -> Sequence[Altered]:
        """Write the genuine state back, unless the inventory changed meanwhile."""

        def check() -> None:
            self._led()
            if not self._unchanged_since(commit):
                raise Conflict("the inventory changed meanwhile")

        lines = "\n".join(f"{each.path}: {each.reason}" for each in altered)
        published = self._components.repo.publish(
            [
                NewFile(
                    path=each.path,
                    data=each.genuine,
                    keeps=lambda _data: False,
                    clears=True,
                    removed=not each.genuine,
                )
                for each in altered
            ],
            message=f"Restore {len(altered)} entries of the inventory\n\n{lines}",
            check=check,
        )
        written = [each for each in altered if each.path in published.written]
        for each in written:
            self._components.audit.append(
                "inventory_restored", entry=each.path, reason=each.reason, commit=commit
            )
        return written

    def _unchanged_since(self, commit: str) -> bool:
        repo = self._components.repo
        head = repo.local_head()
        if head is None or head.commit == commit:
            return True
        same = repo.entry_at(head.commit, INVENTORY_PATH) == repo.entry_at(commit, INVENTORY_PATH)
        return same and not repo.inventory_changes(head.commit, since=commit)

    def _written(self, altered: Sequence[Altered]) -> None:
        now = self._clock()
        for each in altered:
            before = self._restored.get(each.path)
            self._restored[each.path] = _Restored(times=before.times + 1 if before else 1, at=now)
        self._pauses.succeeded()
        if altered:
            self._tracker.event("inventory_restored", entries=len(altered))
        self._moved()

    def _failed(self, error: Exception) -> None:
        self._again_later()
        if isinstance(error, Conflict):
            self._moved()

    def _again_later(self) -> None:
        self._pauses.failed(Conflict("not written back"))
        self._compared = ""

    def _warning(self, altered: Altered) -> str:
        restored = self._restored[altered.path]
        in_s = max(0.0, restored.next_at - self._clock())
        times = "once" if restored.times == 1 else f"{restored.times} times"
        return (
            f"{altered.path} was altered: {altered.reason}. It was written back {times} and will be "
            f"again in {took(in_s)}; protect the branch"
        )
