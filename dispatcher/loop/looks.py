"""What a source sees of the ops repo when it is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from dispatcher.decide.world import Ended
from dispatcher.errors import Dependency
from dispatcher.loop.components import Components
from dispatcher.loop.endings import ending
from dispatcher.loop.foreign import in_git
from dispatcher.loop.kept_results import kept_in
from dispatcher.loop.view import View
from dispatcher.loop.written_runs import written_run
from dispatcher.model.run import Claim
from dispatcher.ops_repo import Formulas, Tree
from dispatcher.sources import Look


@dataclass(frozen=True, kw_only=True, slots=True)
class Ids:
    """Which ids are open, and which are used up. Safe to call from any thread: each call is a few
    look-ups in tables, and an answer that is a moment old does no harm.

    Attributes:
        refused: ids under which nothing could be written, because something is there.
    """

    tree: Tree
    claims: Mapping[str, Claim]
    refused: Collection[str] = frozenset()

    def is_open(self, action_id: str) -> bool:
        """See ``Look``."""
        return action_id in self.tree.open

    def is_used(self, action_id: str) -> bool:
        """See ``Look``."""
        tree = self.tree
        return (
            action_id in tree.open
            or tree.has_result(action_id)
            or action_id in tree.archived
            or action_id in self.claims
            or action_id in self.refused
        )

    def all(self) -> Collection[str]:
        """See ``Look``. Copies the tables, so that they may change meanwhile."""
        tree = self.tree
        tables = (tree.open, tree.finished, tree.stray_results, tree.archived, self.claims)
        return frozenset().union(*(list(table) for table in tables))


def look_of(
    components: Components,
    view: View,
    *,
    ids: Ids,
    now: float,
    marks: Mapping[str, str],
    down: Collection[Dependency] = (),
) -> Look:
    """What a source sees of a view."""
    tree = view.tree

    def ended(action_id: str) -> Ended | None:
        file = in_git(tree, action_id)
        return None if file is None else ending(components, file)

    def result_file(action_id: str) -> tuple[str, str] | None:
        file = in_git(tree, action_id)
        return None if file is None else (file.path, file.blob)

    return Look(
        now=now,
        commit=tree.commit,
        tier_of=view.intake.tier_of,
        formulas=Formulas(commit=tree.commit, formulas=dict(tree.formulas)),
        marks=marks,
        down=frozenset(down),
        is_open=ids.is_open,
        is_used=ids.is_used,
        ended=ended,
        check=components.gate.check,
        ids=ids.all,
        written=lambda action_id: written_run(components, tree, ids.claims, action_id),
        problems=partial(view.intake.problems_of, tree=tree),
        sure=components.steady_clock.sure,
        result_file=result_file,
        kept_results=lambda: kept_in(list(ids.claims.values())),
    )
