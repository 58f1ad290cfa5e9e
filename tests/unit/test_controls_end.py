"""Actions that hold each other up by ``after``, ``lock`` and ``supersedes``: all of them end, whatever
waits for whom and in whatever order things happen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.decide.steps import Launch, Plan, Reject
from dispatcher.decide.world import Candidate, Ended, GateState
from dispatcher.model.health import WaitingFor
from dispatcher.model.run import Tier
from dispatcher.model.verdicts import Verdict
from tests.unit.test_reconcile import RUNNING, claim, decide, of_tier
from tests.unit.test_reconcile_controls import candidate, rejected, waits

IDS = tuple("abcd")
ROUNDS = 30
"""More than what can happen to so many actions."""

some = st.just(()) | st.lists(st.sampled_from(IDS), unique=True, max_size=2)
locks = st.sampled_from(["", "web", "web", "db"])


@dataclass
class Repository:
    """Actions, those of them that run, and how those ended that did."""

    actions: dict[str, Candidate]
    running: set[str] = field(default_factory=set)
    ended: dict[str, Verdict] = field(default_factory=dict)

    def plan(self) -> Plan:
        claims = [claim(i, lock=self.actions[i].lock) for i in self.running]
        return decide(
            *(one for i, one in self.actions.items() if i not in self.ended),
            *claims,
            published=frozenset(self.ended),
            ended={i: Ended(verdict=verdict) for i, verdict in self.ended.items()},
            seen=dict.fromkeys(self.running, RUNNING),
        )

    def go_on(self, which: int, *, succeeds: bool) -> bool:
        """One of the things that may happen next; False if nothing can."""
        steps = [s for s in self.plan().steps if isinstance(s, Launch | Reject)]
        events: list[Launch | Reject | str] = [*steps, *sorted(self.running)]
        if not events:
            return False
        match events[which % len(events)]:
            case Launch(candidate=launched):
                self.running.add(launched.key.action_id)
            case Reject(candidate=refused, verdict=verdict):
                self.ended[refused.key.action_id] = verdict
            case str(action_id):
                self.running.remove(action_id)
                self.ended[action_id] = Verdict.SUCCEEDED if succeeds else Verdict.FAILED
        return True


@st.composite
def actions(draw: st.DrawFn, tiers: st.SearchStrategy[Tier]) -> dict[str, Candidate]:
    found = {}
    for order, action_id in enumerate(draw(st.permutations(IDS))):
        lock = draw(locks)
        found[action_id] = candidate(
            action_id,
            order=order,
            lock=lock,
            supersedes=bool(lock) and draw(st.booleans()),
            after=tuple(i for i in draw(some) if i != action_id),
            path=f"{action_id}.toml",
            tier_decision=of_tier(draw(tiers)),
        )
    return found


def _played(repository: Repository, random: Random) -> Repository:
    """Until nothing can happen any more."""
    for _ in range(ROUNDS):
        if not repository.go_on(random.randrange(8), succeeds=random.random() < 0.7):
            return repository
    raise AssertionError("it does not come to rest")


@given(actions(st.just(Tier.HIGH)), st.randoms(use_true_random=False))
def test_all_of_one_tier_end(found: dict[str, Candidate], random: Random) -> None:
    repository = _played(Repository(actions=found), random)
    assert repository.ended.keys() == set(IDS), waits(repository.plan())


@given(actions(st.sampled_from(Tier)), st.randoms(use_true_random=False))
def test_of_several_tiers_a_person_is_asked_where_two_hold_each_other_up(
    found: dict[str, Candidate], random: Random
) -> None:
    """An older one of a higher tier is never dropped, so it holds up one that supersedes it and that
    it runs after itself. The reason names what to cancel, and with that all of them end.
    """
    repository = Repository(actions=found)
    for _ in IDS:
        repository = _played(repository, random)
        left = waits(repository.plan())
        if not left:
            break
        asked = [reason for _, reason in left.values() if "; cancel " in reason]
        assert asked, left
        repository.ended[asked[0].split("; cancel ")[1].split(",")[0]] = Verdict.CANCELLED
    assert repository.ended.keys() == set(IDS)


def test_the_older_one_that_is_never_dropped_is_named_and_others_get_the_lock() -> None:
    """``low`` would give way, but ``medium`` does not, and both run after the one that waits."""
    low = candidate("low", order=0, after=("new",), tier_decision=of_tier(Tier.LOW))
    medium = candidate("medium", order=1, after=("new",), tier_decision=of_tier(Tier.MEDIUM))
    new = candidate("new", order=2, supersedes=True, tier_decision=of_tier(Tier.LOW))
    plan = decide(low, medium, new, candidate("other", order=3))
    assert "; cancel medium, or give this one" in waits(plan)["new"][1]
    assert [s.action_id for s in plan.steps] == ["other"]


# -- cycles ----------------------------------------------------------------------------------------


def one(action_id: str, *others: str, **facts: Any) -> Candidate:
    return candidate(action_id, lock="", after=others, path=f"{action_id}.toml", **facts)


@pytest.mark.parametrize("lock", ["", "web"])
def test_a_cycle_that_a_change_of_a_file_closes_is_invalid(lock: str) -> None:
    known: dict[str, Any] = {"lock": lock, "path": "f.toml"}
    waiting = candidate("b", gate_state=GateState.WAITING, **known)
    first = candidate("a", after=("b",), **known)
    assert waits(decide(first, waiting))["a"][0] is WaitingFor.AFTER
    changed = candidate("b", after=("a",), gate_state=GateState.WAITING, **known)
    assert rejected(decide(first, changed)) == {"a": Verdict.INVALID, "b": Verdict.INVALID}


def test_a_cycle_that_a_later_push_would_close_is_invalid_at_its_first_half() -> None:
    assert rejected(decide(one("a", "b"))) == {"a": Verdict.INVALID}, "b is not there yet"
    ended = {"a": Ended(verdict=Verdict.INVALID)}
    plan = decide(one("a", "b"), one("b", "a"), published=frozenset({"a"}), ended=ended)
    assert rejected(plan) == {"b": Verdict.REFUSED}


def test_one_that_runs_is_no_part_of_a_cycle() -> None:
    plan = decide(one("a", "b"), one("b", "a"), claim("b"), seen={"b": RUNNING})
    assert not rejected(plan)
    assert waits(plan)["a"] == (WaitingFor.AFTER, "runs after b")


def test_a_forged_result_in_a_cycle_leaves_the_other_waiting_with_the_reason() -> None:
    foreign = {"b": Ended(problem="not signed by us")}
    plan = decide(one("a", "b"), one("b", "a"), published=frozenset({"b"}), ended=foreign)
    assert not rejected(plan)
    assert waits(plan)["a"] == (WaitingFor.AFTER, "runs after b; not signed by us")
