"""What an action runs after: wrong names, cycles, and how the others ended. Pure.

A verdict counts only if it stands in a result that we signed: a file that somebody put in the place
of one neither releases nor refuses anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from dispatcher.decide.steps import Reject, Wait
from dispatcher.decide.world import Candidate, World
from dispatcher.model.health import WaitingFor
from dispatcher.model.run import Phase
from dispatcher.model.verdicts import Verdict
from dispatcher.toml.source import quoted

_NAMED = 5
"""Ids of a cycle that a message names."""


class Predecessors:
    """Judges ``after`` in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._edges = _knotted(world)
        self._cycles = _cycles(self._edges)

    def problem(self, candidate: Candidate) -> str:
        """Why it can never run: it names an id that is not there, or waits for itself."""
        action = candidate.action
        if action is None or not action.after:
            return ""
        unknown = [i for i in action.after if not self._known(i)]
        if unknown:
            return (
                f"{candidate.path}: after: there is no action {quoted(unknown[0])} at this head. Merge "
                "it first, or together with this one; then submit this one under a new id"
            )
        if candidate.key.action_id in self._edges:
            return (
                f"{candidate.path}: after: the actions wait for each other: "
                f"{self._cycle(candidate.key.action_id)}. Submit them under new ids without a cycle"
            )
        return ""

    def refusal(self, candidate: Candidate) -> Reject | None:
        """Its end, if one that it runs after did not succeed."""
        for action_id in candidate.action.after if candidate.action else ():
            verdict = self._verdict(action_id)
            if verdict not in (None, Verdict.SUCCEEDED):
                return Reject(
                    candidate=candidate,
                    verdict=Verdict.REFUSED,
                    reason=f"it runs after {action_id}, which ended as {verdict}",
                    commit=self._world.commit,
                )
        return None

    def wait(self, candidate: Candidate) -> Wait | None:
        """What it waits for, if not all of them have succeeded."""
        after = candidate.action.after if candidate.action else ()
        left = [i for i in after if self._verdict(i) is not Verdict.SUCCEEDED]
        if not left:
            return None
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        problem = self._problem_of_result(left[0])
        reason = f"runs after {left[0]}{more}" + (f"; {problem}" if problem else "")
        return Wait(action_id=candidate.key.action_id, waiting_for=WaitingFor.AFTER, reason=reason)

    def _known(self, action_id: str) -> bool:
        world = self._world
        return (
            action_id in world.candidates
            or action_id in world.unread
            or action_id in world.claims
            or action_id in world.busy
            or action_id in world.published
            or action_id in world.archived
        )

    def _verdict(self, action_id: str) -> Verdict | None:
        """How it ended; None while that is not known, or stands in nothing of ours."""
        ended = self._world.ended.get(action_id)
        return ended.verdict if ended and action_id in self._world.published else None

    def _problem_of_result(self, action_id: str) -> str:
        world = self._world
        if action_id in world.published:
            ended = world.ended.get(action_id)
            return ended.problem if ended else "checking its result"
        claim = world.claims.get(action_id)
        gone = action_id in world.archived or (claim and claim.phase is Phase.TOMBSTONE)
        return "its result is gone" if gone else ""

    def _cycle(self, start: str) -> str:
        """A cycle that an action is part of, or leads to."""
        begin, length = self._cycles[start]
        shown = [begin]
        while len(shown) < min(length, _NAMED - 1):
            shown.append(self._edges[shown[-1]][0])
        more = ["…"] if length > len(shown) else []
        return " → ".join([*shown, *more, begin])


def _cycles(edges: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, int]]:
    """For each action, where it enters a cycle by the first of those that it runs after, and how many
    actions that cycle has. Each is visited once: a push can hold thousands of them.
    """
    found: dict[str, tuple[str, int]] = {}
    for start in edges:
        path: dict[str, int] = {}
        here = start
        while here not in found and here not in path:
            path[here] = len(path)
            here = edges[here][0]
        first = path.get(here, len(path))
        begin, length = found.get(here, (here, len(path) - first))
        for action_id, position in path.items():
            found[action_id] = (action_id if position >= first else begin, length)
    return found


def _knotted(world: World) -> Mapping[str, tuple[str, ...]]:
    """Open actions that are part of a cycle, or stand between two: for each those of them that it
    runs after. What only waits for a cycle is not among them: it is refused when that has ended.
    """
    edges = {
        i: [other for other in candidate.action.after if _open(world, other)]
        for i, candidate in world.candidates.items()
        if candidate.action and candidate.action.after and _open(world, i)
    }
    if not edges:
        return {}
    edges = _peeled(edges)
    reverse: defaultdict[str, list[str]] = defaultdict(list)
    for action_id, others in edges.items():
        for other in others:
            reverse[other].append(action_id)
    knotted = _peeled({i: reverse[i] for i in edges}).keys()
    return {i: tuple(o for o in edges[i] if o in knotted) for i in knotted}


def _peeled(edges: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """A graph without what leads to no cycle."""
    left = {i: [o for o in others if o in edges] for i, others in edges.items()}
    waiting_for: defaultdict[str, list[str]] = defaultdict(list)
    for action_id, others in left.items():
        for other in others:
            waiting_for[other].append(action_id)
    counts = Counter({i: len(others) for i, others in left.items()})
    free = [i for i, others in left.items() if not others]
    while free:
        gone = free.pop()
        del left[gone]
        for action_id in waiting_for[gone]:
            counts[action_id] -= 1
            if counts[action_id] == 0:
                free.append(action_id)
    return {i: [o for o in others if o in left] for i, others in left.items()}


def _open(world: World, action_id: str) -> bool:
    """Whether it has not started: what is claimed ends by itself."""
    return (
        action_id in world.candidates
        and action_id not in world.claims
        and action_id not in world.published
    )
