"""Checks the provenance of results that arrive on the branch.

Any file at the path of a result ends an action that was not claimed, so that a lost key does not run
everything again. But a file that we did not sign is *foreign*, and is reported in the audit log, in
metrics, in ``status`` and ``plan``. Only new arrivals are checked, in batches, not the thousands that
were there before. For an action with a claim, the step ``Inspect`` does it.
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
"""Results checked in one batch."""

PAUSES_S = (0.5, 30.0)
"""First and longest pause after results could not be checked."""

LISTED = 1_000
"""Foreign results that are kept to be listed; beyond them each is reported once and forgotten."""


class Arrivals:
    """Finds out who wrote the results that come to the branch. Used by the loop's thread only.

    Args:
        components: the clone and the verifier are used.
        tree: of the view.
        pollers: run the checks.
        tracker: notified of each foreign result.
        claimed: whether an id has a claim; then a step of its own inspects the result.
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
        """The foreign results in the tree now."""
        return tuple(self._foreign.values())

    @property
    def provenance(self) -> Mapping[str, Provenance]:
        """Provenance of inspected results by id, for ``World.provenance``."""
        return self._provenance

    @property
    def pending(self) -> bool:
        """Whether any result has yet to be checked."""
        return bool(self._pending)

    def next_try_in(self) -> float | None:
        """Seconds until a failed check is retried; None if nothing waits."""
        return self._pauses.left() if self._pending else None

    def came(self, changes: Changes, *, first: bool) -> None:
        """Note how the view moved. Results that the ``first`` head had are not checked."""
        for action_id in (*changes.arrived, *changes.archived, *changes.vanished):
            self._provenance.pop(action_id, None)
            self._inspecting.discard(action_id)
        for action_id in (*changes.arrived, *changes.vanished):
            self._foreign.pop(action_id, None)
            self._pending.pop(action_id, None)
        if not first:
            self._pending.update(dict.fromkeys(sorted(changes.arrived)))

    def inspecting(self, action_id: str) -> InGit | None:
        """Note that a step is about to inspect this id's result; returns the file."""
        self._inspecting.add(action_id)
        return in_git(self._tree, action_id)

    def inspected(self, action_id: str, foreign: ForeignResult | None) -> None:
        """Record what the inspection found, unless another file arrived meanwhile."""
        if action_id in self._inspecting:
            self._inspecting.discard(action_id)
            self._pending.pop(action_id, None)
            self._provenance[action_id] = Provenance.FOREIGN if foreign else Provenance.OURS
            if foreign is not None:
                self._enter([foreign])

    def forget(self, action_id: str) -> None:
        """Forget the provenance of an id whose claim was released."""
        self._provenance.pop(action_id, None)

    def replaced(self, action_id: str, other: Replaced) -> None:
        """Report that one of our results replaced a foreign file."""
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
        """Check a batch of the results that arrived."""
        if not self._pending or self._pauses.left():
            return
        batch = [i for i in islice(self._pending, BATCH) if not self._claimed(i)]
        for action_id in [i for i in islice(self._pending, BATCH) if self._claimed(i)]:
            del self._pending[action_id]
        files = [file for i in batch if (file := in_git(self._tree, i)) is not None]

        def learned(foreign: list[ForeignResult]) -> None:
            self._pauses.succeeded()
            current = [f for f in foreign if f.action_id in self._pending]
            for action_id in batch:
                self._pending.pop(action_id, None)
            self._enter(current)

        self._pollers.run(
            None,
            lambda: [
                result for file in files if (result := judged(self._components, file)) is not None
            ],
            learned,
            name="arrivals",
            failed=self._pauses.failed,
        )

    def _enter(self, results: Iterable[ForeignResult]) -> None:
        for foreign in results:
            if self._foreign.get(foreign.action_id) == foreign:
                continue
            if len(self._foreign) < LISTED:
                self._foreign[foreign.action_id] = foreign
            facts = {
                "action": foreign.action_id,
                "path": foreign.path,
                "commit": foreign.commit,
                "reason": foreign.reason,
            }
            self._components.audit.append("foreign_result", oid=foreign.oid, **facts)
            self._tracker.event("foreign_result", **facts)
