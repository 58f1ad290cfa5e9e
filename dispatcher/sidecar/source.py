"""The source of sidecars: what the watcher knows becomes wishes for action files. Calls no forge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from dispatcher.decide.sidecar_rules import Sidecars
from dispatcher.decide.sidecars import (
    BUDGETS,
    Decision,
    Runs,
    Why,
    decide_by_hand,
    decide_project,
    last_ended,
    next_decision_at,
    params_of,
)
from dispatcher.sidecar.requests import requests_in
from dispatcher.sidecar.runs import KIND, RunIndex
from dispatcher.sidecar.watcher import ProjectState, Watcher
from dispatcher.sources import Look, SourceNote, SourceState, Wanted, Wants
from dispatcher.sources.base import ENDED_LIMIT, WANTED_LIMIT


class SidecarSource:
    """Wants a run for each issue that a rule applies to; see ``dispatcher.sources.Source``.

    Args:
        rules: those in force.
        watcher: of the projects' issues.
        state_dir: where requests of operators are.
    """

    def __init__(self, rules: Callable[[], Sidecars], watcher: Watcher, *, state_dir: Path) -> None:
        self._rules, self._watcher, self._state_dir = rules, watcher, state_dir
        self._index = RunIndex()

    @property
    def kind(self) -> str:
        """``sidecar``."""
        return KIND

    def look(self, look: Look) -> Wants:
        """See ``Source``."""
        sidecars = self._rules()
        runs = self._index.read(look, sidecars)
        self._watcher.learn(sidecars, runs, look.is_used)
        wanted = list(self._requested(look, sidecars, runs))
        by_hand = {each.action_id.rpartition("-")[0] for each in wanted}
        next_at, notes = [], []
        for name, project in sidecars.projects.items():
            state = self._watcher.state(name)
            if state.repository != project.repository:
                state = ProjectState(problem=state.problem)  # what it knows is of another one
            decisions = self._decide(look, sidecars, name, state, runs)
            notes.append(_note(name, state, decisions))
            if (at := next_decision_at(decisions)) is not None:
                next_at.append(at)
            wanted += [
                _wanted(sidecars, made)
                for made in self._permitted(sidecars, name, state, decisions)
                if made.action_id.rpartition("-")[0] not in by_hand
            ]
        return Wants(
            actions=tuple(wanted[:WANTED_LIMIT]),
            next_at=min(next_at, default=None),
            notes=tuple(notes),
            ended=last_ended(runs, now=look.now)[-ENDED_LIMIT:],
        )

    def _decide(
        self, look: Look, sidecars: Sidecars, name: str, state: ProjectState, runs: Runs
    ) -> list[Decision]:
        if not state.complete:
            return []
        return list(
            decide_project(
                sidecars,
                name,
                state.issues.values(),
                runs,
                now=look.now,
                is_used=look.is_used,
                refused=state.refused(sidecars.rules),
            )
        )

    def _permitted(
        self, sidecars: Sidecars, name: str, state: ProjectState, decisions: Iterable[Decision]
    ) -> list[Decision]:
        """What starts with the forge's permission; the watcher is asked to get that of the rest."""
        now = time.monotonic()
        made = [each for each in decisions if each.why is Why.START]
        permitted = [
            each
            for each in made
            if each.digest and state.permitted(each, sidecars.rules[each.rule], now)
        ]
        if len(permitted) < len(made):
            self._watcher.want(name)
        return permitted

    def _requested(self, look: Look, sidecars: Sidecars, runs: Runs) -> Iterable[Wanted]:
        """What operators ask for; a request that was carried out, or cannot be, is removed. Of several
        for one rule and issue the first counts.
        """
        taken: set[tuple[str, int, str]] = set()
        for path, request in requests_in(self._state_dir).items():
            known = request.rule in sidecars.rules_of(request.project)
            if not known or look.is_used(request.action_id):
                path.unlink(missing_ok=True)
                continue
            wish = Decision(
                project=request.project,
                issue=request.issue,
                rule=request.rule,
                why=Why.START,
                digest=request.digest,
                attempt=request.attempt,
            )
            key = (wish.project, wish.issue, wish.rule)
            if key not in taken and decide_by_hand(wish, runs).why is Why.START:
                taken.add(key)
                yield _wanted(sidecars, wish)
            else:
                path.unlink(missing_ok=True)


def _wanted(sidecars: Sidecars, made: Decision) -> Wanted:
    rule, project = sidecars.rules[made.rule], sidecars.projects[made.project]
    action: dict[str, object] = {
        "formula": rule.formula,
        "context": "",
        "secrets": [],
        "timeout_minutes": rule.timeout_minutes,
    }
    if rule.model:
        action["model"] = rule.model
    if rule.tools:
        action["tools"] = list(rule.tools)
    action["params"] = dict(params_of(sidecars, made, repository=project.repository))
    return Wanted(
        action_id=made.action_id,
        action=action,
        name=made.project,
        occasion=f"rule {made.rule}, issue {made.issue}, attempt {made.attempt}",
    )


def _note(name: str, state: ProjectState, decisions: Iterable[Decision]) -> SourceNote:
    budgets = [made for made in decisions if made.why in BUDGETS]
    problem = state.problem
    if not problem and not state.complete:
        problem = "reading its issues"
    if not problem and budgets:
        first = budgets[0]
        more = f" (and {len(budgets) - 1} more)" if len(budgets) > 1 else ""
        problem = f"{first.rule} on issue {first.issue}: {first.reason}{more}"
    return SourceNote(
        kind=KIND,
        name=name,
        state=SourceState.LIMITED if problem else SourceState.ACTIVE,
        reason=problem,
        next_at=next_decision_at(decisions),
    )
