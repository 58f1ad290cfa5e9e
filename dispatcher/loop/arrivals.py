"""Arrivals: results that came to the branch, and whether they are ours.

Whatever stands at the path of a result ends an action that was not claimed, so that a lost key does
not run everything again. But a file that we did not sign is *foreign*, and that is told: in the
audit log, in metrics, in ``status`` and ``plan``. Only what arrives is looked at, in batches, not
the thousands that were there before. For an action with a claim the step ``Inspect`` looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from dispatcher.decide.world import Provenance
from dispatcher.loop.components import Components
from dispatcher.loop.foreign import InGit, in_git, judged
from dispatcher.loop.pollers import Pauses, Pollers
from dispatcher.model.health import ForeignResult
from dispatcher.ops_repo import Changes, Replaced, Tree
from dispatcher.status.tracker import Tracker

BATCH = 200
"""Results looked at in one go."""

PAUSES_S = (0.5, 30.0)
"""First and longest pause after results could not be looked at."""

KEPT = 1_000
"""Foreign results that are kept to be listed; beyond them each is told once and forgotten."""


class Arrivals:
    """Finds out who wrote the results that come to the branch. Used by the loop's thread only.

    Args:
        components: the clone and the keys that are asked.
        tree: of the view.
        pollers: who looks.
        tracker: told of each foreign result.
        claimed: whether an id has a claim; then its result is inspected by a step of its own.
        pauses_s: first and longest pause after a failure.
    """

    def __init__(
        self,
        components: Components,
        tree: Tree,
        *,
        pollers: Pollers,
        tracker: Tracker,
        claimed: Callable[[str], bool],
        pauses_s: tuple[float, float] = PAUSES_S,
    ) -> None:
        self._components, self._tree, self._pollers, self._tracker = (
            components,
            tree,
            pollers,
            tracker,
        )
        self._claimed = claimed
        self._pending: dict[str, None] = {}
        self._foreign: dict[str, ForeignResult] = {}
        self._provenance: dict[str, Provenance] = {}
        self._inspecting: set[str] = set()
        self._pauses = Pauses(*pauses_s)

    @property
    def foreign(self) -> tuple[ForeignResult, ...]:
        """Those that are there now."""
        return tuple(self._foreign.values())

    @property
    def provenance(self) -> Mapping[str, Provenance]:
        """What inspections found, by id; for ``World.provenance``."""
        return self._provenance

    @property
    def pending(self) -> bool:
        """Whether something has still to be looked at."""
        return bool(self._pending)

    def next_try_in(self) -> float | None:
        """Seconds until what could not be looked at is retried; None if nothing waits."""
        return self._pauses.left() if self._pending else None

    def came(self, changes: Changes, *, first: bool) -> None:
        """The view moved; what was there at the ``first`` sight is not looked at."""
        for action_id in (*changes.arrived, *changes.archived, *changes.vanished):
            self._provenance.pop(action_id, None)
            self._inspecting.discard(action_id)
        for action_id in (*changes.arrived, *changes.vanished):
            self._foreign.pop(action_id, None)
            self._pending.pop(action_id, None)
        if not first:
            self._pending.update(dict.fromkeys(sorted(changes.arrived)))

    def inspecting(self, action_id: str) -> InGit | None:
        """A step is about to look at this id's result."""
        self._inspecting.add(action_id)
        return in_git(self._tree, action_id)

    def inspected(self, action_id: str, foreign: ForeignResult | None) -> None:
        """It looked; dropped if something else came meanwhile."""
        if action_id in self._inspecting:
            self._inspecting.discard(action_id)
            self._pending.pop(action_id, None)
            self._provenance[action_id] = Provenance.FOREIGN if foreign else Provenance.OURS
            if foreign is not None:
                self._enter([foreign])

    def forget(self, action_id: str) -> None:
        """Its claim was let go."""
        self._provenance.pop(action_id, None)

    def replaced(self, action_id: str, other: Replaced) -> None:
        """A result of ours took the place of a foreign file."""
        reason = "replaced by the genuine result"
        if action_id not in self._foreign:
            self._tracker.event(
                "foreign_result",
                action=action_id,
                commit=other.commit,
                path=other.path,
                reason=reason,
            )
        self._components.audit.append(
            "foreign_replaced",
            action=action_id,
            path=other.path,
            commit=other.commit,
            oid=other.oid,
            reason=reason,
        )

    def look(self) -> None:
        """Look at some of what arrived."""
        if not self._pending or self._pauses.left():
            return
        batch = [i for i in islice(self._pending, BATCH) if not self._claimed(i)]
        for action_id in [i for i in islice(self._pending, BATCH) if self._claimed(i)]:
            del self._pending[action_id]
        files = [file for i in batch if (file := in_git(self._tree, i)) is not None]

        def learned(found: list[ForeignResult]) -> None:
            self._pauses.succeeded()
            current = [f for f in found if f.action_id in self._pending]
            for action_id in batch:
                self._pending.pop(action_id, None)
            self._enter(current)

        self._pollers.run(
            None,
            lambda: [
                found for file in files if (found := judged(self._components, file)) is not None
            ],
            learned,
            name="arrivals",
            failed=self._pauses.failed,
        )

    def _enter(self, found: Iterable[ForeignResult]) -> None:
        for foreign in found:
            if self._foreign.get(foreign.action_id) == foreign:
                continue
            if len(self._foreign) < KEPT:
                self._foreign[foreign.action_id] = foreign
            facts = {
                "action": foreign.action_id,
                "path": foreign.path,
                "commit": foreign.commit,
                "reason": foreign.reason,
            }
            self._components.audit.append("foreign_result", oid=foreign.oid, **facts)
            self._tracker.event("foreign_result", **facts)
