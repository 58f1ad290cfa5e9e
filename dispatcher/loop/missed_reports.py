"""Results that a dispatcher before this one may not have reported: its claim is released after one
attempt, and what was left in its outbox stays on its machine.

Which they are, the sources name (``Wants.ended``); what counts of them is what git proves. What was
reported is remembered for the term only: reports are idempotent, so that another leader costs a few calls
of the forge and changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dispatcher.loop.components import Components
from dispatcher.loop.pollers import Pollers
from dispatcher.loop.reports import Reports
from dispatcher.loop.written_runs import written_run
from dispatcher.model.result import Result
from dispatcher.model.run import Claim
from dispatcher.model.times import epoch
from dispatcher.ops_repo import Tree

NAME = "missed reports"
"""Of the poller that reads them."""

BATCH = 100
"""Results read at once; the rest is read when the sources have been asked again."""


class MissedReports:
    """Has results reported whose claims are gone. Used by the loop's thread only.

    Args:
        tree: of the branch; a live view.
        claims: the open claims, by id; a live view.
    """

    def __init__(
        self,
        components: Components,
        tree: Tree,
        claims: Mapping[str, Claim],
        *,
        reports: Reports,
        pollers: Pollers,
    ) -> None:
        self._components, self._tree, self._claims = components, tree, claims
        self._reports, self._pollers = reports, pollers
        self._read_before: set[str] = set()

    def look(self, action_ids: Collection[str]) -> None:
        """Have those of these actions reported that this dispatcher does not know of: what has a claim
        is reported before that is released.
        """
        self._read_before.intersection_update(action_ids)
        fresh = [
            action_id
            for action_id in action_ids
            if action_id not in self._read_before
            and action_id not in self._claims
            and not self._reports.knows(action_id)
        ]
        if fresh:
            batch = fresh[:BATCH]
            self._pollers.run(
                None,
                lambda: self._read(batch),
                lambda results: self._learn(batch, results),
                name=NAME,
            )

    def _read(self, action_ids: Sequence[str]) -> list[Result]:
        """On another thread: those results that we signed, of actions that we wrote."""
        runs = [written_run(self._components, self._tree, {}, i) for i in action_ids]
        return [run.result for run in runs if run is not None and run.result is not None]

    def _learn(self, action_ids: Sequence[str], results: Sequence[Result]) -> None:
        self._read_before.update(action_ids)
        for result in results:
            self._reports.recall(result, ended_at=epoch(result.timestamp))
