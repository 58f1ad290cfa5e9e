"""Locks, superseding, times and ``after``: rule by rule, then as properties of any world."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.decide import predecessors
from dispatcher.decide.reconcile import reconcile
from dispatcher.decide.steps import Launch, Plan, Reject, ResolveOrphan
from dispatcher.decide.world import Candidate, Ended, GateState, Limits, World
from dispatcher.errors import Dependency
from dispatcher.model.action import Action
from dispatcher.model.health import LockPlace, WaitingFor
from dispatcher.model.run import Phase, Tier
from dispatcher.model.verdicts import Verdict
from tests.unit.test_reconcile import ENDED, RUNNING, claim, decide, key, of_tier
from tests.unit.test_reconcile import candidate as plain

NOON = 1_800_000_000.0
MORNING, EVENING = "2027-01-15T06:00:00Z", "2027-01-15T09:00:00+01:00"  # NOON is 08:00 UTC


def candidate(action_id: str, *, order: int = 0, **facts: Any) -> Candidate:
    """An approved one of tier high; ``lock``, ``supersedes``, times and ``after`` go to its file."""
    keys = {k: facts.pop(k) for k in ("supersedes", "not_before", "expires", "after") if k in facts}
    priority = facts.pop("priority", 0)
    action = Action(
        id=action_id,
        formula="hello",
        context="",
        secrets=(),
        priority=priority,
        lock=facts.get("lock", "web") or None,
        **keys,
    )
    known = {"lock": "web", "tier_decision": of_tier(Tier.HIGH), "action": action}
    return plain(action_id, order=order, **{**known, **facts})


def launched(plan: Plan) -> list[str]:
    return [s.action_id for s in plan.steps if isinstance(s, Launch)]


def rejected(plan: Plan) -> dict[str, Verdict]:
    return {s.action_id: s.verdict for s in plan.steps if isinstance(s, Reject)}


def waits(plan: Plan) -> dict[str, tuple[WaitingFor, str]]:
    return {w.action_id: (w.waiting_for, w.reason) for w in plan.waits}


# -- lock ------------------------------------------------------------------------------------------


def test_one_of_a_lock_starts_and_the_others_wait_for_it_in_commit_order() -> None:
    plan = decide(*(candidate(f"a{n}", order=n) for n in (3, 1, 2)))
    assert launched(plan) == ["a1"]
    assert waits(plan) == {
        "a2": (WaitingFor.LOCK, "lock web: a1 is next"),
        "a3": (WaitingFor.LOCK, "lock web: a1 is next; a2 is before this action"),
    }


def test_one_that_is_ready_lets_an_older_one_be_judged_first() -> None:
    older = candidate("a1", order=1, gate_state=GateState.UNASKED)
    newer = candidate("a2", order=2)
    for busy in (set[str](), {"a1"}):
        plan = decide(older, newer, busy=busy)
        assert not launched(plan)
        assert waits(plan)["a2"] == (
            WaitingFor.LOCK,
            "lock web: a1, which comes first, is being judged",
        )
    free: list[tuple[Candidate, dict[str, Any]]] = [
        (candidate("a1", order=1, gate_state=GateState.WAITING), {}),
        (candidate("a1", order=1, gate_state=GateState.UNASKED, lock="db"), {}),
        (candidate("a1", order=3, gate_state=GateState.UNASKED), {}),
        (candidate("a1", order=1, gate_state=GateState.UNASKED, priority=-1), {}),
        (candidate("a1", order=1, gate_state=GateState.UNASKED, problem="bad"), {}),
        (older, {"paused": {"a1": "the gate says nonsense"}}),
        (older, {"down": {Dependency.FORGE}}),
    ]
    for other, facts in free:
        if "down" in facts:
            newer = candidate("a2", order=2, tier_decision=of_tier(Tier.LOW))
        assert launched(decide(other, newer, **facts)) == ["a2"], (other, facts)


def test_one_that_is_ready_lets_an_older_file_be_read_first() -> None:
    newer = candidate("a2", order=2)
    plan = decide(newer, unread={"a1": 1})
    assert waits(plan)["a2"] == (WaitingFor.LOCK, "lock web: a1, which is older, is being read")
    assert launched(decide(newer, unread={"a3": 3})) == ["a2"]
    assert launched(decide(newer, unread={"a1": 1}, paused={"a1": "unreadable"})) == ["a2"]
    assert launched(decide(candidate("a2", order=2, lock=""), unread={"a1": 1})) == ["a2"]


def test_a_wait_names_the_holder_the_first_and_how_many_are_ahead() -> None:
    queue = [candidate(f"a{n}", order=n) for n in range(3)]
    places = {
        w.action_id: w.lock for w in decide(claim(lock="web"), *queue, seen={"x": RUNNING}).waits
    }
    assert [places[f"a{n}"] for n in range(3)] == [
        LockPlace(name="web", holder="x"),
        LockPlace(name="web", holder="x", first="a0", ahead=1),
        LockPlace(name="web", holder="x", first="a0", ahead=2),
    ]
    free = {w.action_id: w.lock for w in decide(*queue).waits}
    assert free["a2"] == LockPlace(name="web", holder="", first="a0", ahead=2)
    two = (claim("x", lock="web", claimed_at=1.0), claim("y", lock="web", claimed_at=2.0))
    (orphan,) = (w for w in decide(*two, seen={"y": RUNNING}).waits if w.action_id == "x")
    assert orphan.lock == LockPlace(name="web", holder="y")


def test_a_claim_in_flight_holds_its_lock_and_an_ended_one_does_not() -> None:
    for phase in Phase:
        plan = decide(claim(phase=phase, lock="web"), candidate("y"), seen={"x": RUNNING})
        held = phase in (Phase.CLAIMED, Phase.SUBMITTED)
        assert launched(plan) == ([] if held else ["y"])
        if held:
            assert waits(plan)["y"][1] == "lock web is held by x; this action is next"


def test_a_run_that_has_ended_holds_its_lock_until_its_verdict_is_recorded() -> None:
    plan = decide(claim(lock="web"), candidate("y"), seen={"x": ENDED})
    assert launched(plan) == []


def test_another_lock_is_nobody_elses_business() -> None:
    plan = decide(claim(lock="web"), candidate("y", lock="db"), seen={"x": RUNNING})
    assert launched(plan) == ["y"]


def test_a_higher_priority_gets_the_lock_first() -> None:
    plan = decide(candidate("late", order=9, priority=5), candidate("early", order=1))
    assert launched(plan) == ["late"]


def test_a_launch_under_way_holds_its_lock_whatever_became_of_its_file() -> None:
    plan = decide(candidate("y"), busy={"x"}, starting={"x": "web"})
    assert launched(plan) == []


def test_nobody_overtakes_where_the_next_of_a_lock_has_no_room() -> None:
    first = candidate("a", order=1)
    limits = Limits(max_in_flight=10, formulas={"hello": 0})
    other = candidate("b", order=2)
    assert other.formula is not None
    free = replace(other.formula, ref=replace(other.formula.ref, name="other"))
    plan = decide(first, replace(other, formula=free), limits=limits)
    assert launched(plan) == []


def test_no_lock_is_given_while_the_ledger_may_hold_another_claim() -> None:
    plan = decide(candidate("y"), candidate("free", lock=""), claims_in_doubt=True)
    assert launched(plan) == ["free"]


def test_an_orphan_is_not_submitted_again_while_another_of_its_lock_may_run() -> None:
    one, other = claim("x", lock="web", claimed_at=1.0), claim("y", lock="web", claimed_at=2.0)
    plan = decide(one, other, seen={"y": RUNNING})
    assert waits(plan)["x"] == (WaitingFor.LOCK, "lock web is held by y")
    both = decide(one, other, seen={})
    assert [s.action_id for s in both.steps if isinstance(s, ResolveOrphan)] == ["x"]
    fresh = decide(one, other, seen={}, unsettled={"y"})
    assert not fresh.steps


# -- supersedes ------------------------------------------------------------------------------------


def test_an_older_one_that_waits_gives_way_to_a_newer_one_before_that_starts() -> None:
    older = candidate("old", order=1, gate_state=GateState.WAITING)
    newer = candidate("new", order=2, supersedes=True)
    plan = decide(older, newer)
    assert rejected(plan) == {"old": Verdict.SUPERSEDED}
    assert launched(plan) == []
    assert launched(decide(newer)) == ["new"]


@pytest.mark.parametrize("gate_state", [GateState.UNASKED, GateState.WAITING, GateState.HELD])
def test_one_that_is_not_approved_supersedes_nothing(gate_state: GateState) -> None:
    newer = candidate("new", order=2, supersedes=True, gate_state=gate_state)
    plan = decide(candidate("old", order=1), newer)
    assert launched(plan) == ["old"]
    assert not rejected(plan)


@pytest.mark.parametrize("key_", ["not_before", "after"])
def test_one_whose_time_has_not_come_supersedes_nothing(key_: str) -> None:
    value = {"not_before": EVENING.replace("09", "23"), "after": ("dep",)}[key_]
    newer = candidate("new", order=2, supersedes=True, **{key_: value})
    plan = decide(candidate("old", order=1), newer, claim("dep"), seen={"dep": RUNNING}, now=NOON)
    assert launched(plan) == ["old"]
    assert not rejected(plan)


def test_what_nobody_had_to_approve_supersedes_nothing_that_somebody_did() -> None:
    older = candidate("old", order=1, gate_state=GateState.WAITING)
    newer = candidate("new", order=2, supersedes=True, tier_decision=of_tier(Tier.LOW))
    plan = decide(older, newer, candidate("last", order=3))
    assert not rejected(plan)
    assert launched(plan) == ["last"]
    assert "old is older and of tier high" in waits(plan)["new"][1]


def test_nothing_gives_way_to_one_that_an_older_one_keeps_from_starting() -> None:
    guarded = candidate("guarded", order=1, gate_state=GateState.WAITING)
    low = {"tier_decision": of_tier(Tier.LOW)}
    plan = decide(
        guarded, candidate("old", order=2, **low), candidate("new", order=3, supersedes=True, **low)
    )
    assert not rejected(plan)
    assert launched(plan) == ["old"]


def test_a_running_one_finishes_and_the_newer_one_waits_for_it() -> None:
    plan = decide(
        claim("old", lock="web"), candidate("new", supersedes=True), seen={"old": RUNNING}
    )
    assert plan.steps == ()
    assert waits(plan)["new"][1] == "lock web is held by old; this action is next"


def test_of_several_newer_ones_the_newest_starts() -> None:
    ids = [candidate(f"a{n}", order=n, supersedes=True) for n in range(4)]
    plan = decide(*ids)
    assert rejected(plan) == dict.fromkeys(("a0", "a1", "a2"), Verdict.SUPERSEDED)
    assert all("a3" in s.reason for s in plan.steps if isinstance(s, Reject))


@pytest.mark.parametrize(
    "facts",
    [
        {"busy": {"old"}},
        {"paused": {"old": "it failed"}},
        {"busy": {"old"}, "starting": {"old": "web"}},
    ],
)
def test_it_does_not_start_before_each_older_one_has_its_result(facts: dict[str, Any]) -> None:
    plan = decide(candidate("old", order=1), candidate("new", order=2, supersedes=True), **facts)
    assert launched(plan) == []
    assert "new" in waits(plan)


def test_it_does_not_start_while_an_older_file_is_being_read() -> None:
    newer = candidate("new", order=5, supersedes=True)
    assert launched(decide(newer, unread={"old": 4})) == []
    assert launched(decide(newer, unread={"newer": 6})) == ["new"]


def test_of_two_whose_order_nobody_knows_none_gives_way_and_the_newer_one_waits() -> None:
    long_ago = {"order_known": False, "supersedes": True}
    one, other = candidate("a", order=1, **long_ago), candidate("b", order=2, **long_ago)
    plan = decide(one, other)
    assert plan.steps == ()
    assert all("nobody can tell" in reason for _, reason in waits(plan).values())
    newer = candidate("c", order=3, supersedes=True)
    assert rejected(decide(one, other, newer)) == {
        "a": Verdict.SUPERSEDED,
        "b": Verdict.SUPERSEDED,
    }


# -- times -----------------------------------------------------------------------------------------


def test_it_starts_when_its_time_has_come_and_the_plan_says_when_that_is() -> None:
    one = candidate("a", not_before=EVENING)
    early = decide(one, now=NOON - 1)
    assert waits(early) == {"a": (WaitingFor.TIME, f"starts at {EVENING} (not_before)")}
    assert early.next_at == NOON
    assert launched(decide(one, now=NOON)) == ["a"]


@pytest.mark.parametrize("gate_state", list(GateState))
def test_past_its_time_one_that_has_not_started_expires(gate_state: GateState) -> None:
    one = candidate("a", expires=EVENING, gate_state=gate_state, reason="r")
    assert decide(one, now=NOON - 1).next_at == NOON
    assert rejected(decide(one, now=NOON)) == {"a": Verdict.EXPIRED}


def test_no_clock_expires_what_is_claimed_or_being_started() -> None:
    one = candidate("x", expires=EVENING, lock="")
    for now in (0.0, NOON, NOON * 2):
        plan = decide(one, claim("x"), seen={"x": RUNNING}, now=now)
        assert plan.steps == ()
        assert decide(one, busy={"x"}, now=now).steps == ()


@pytest.mark.parametrize(
    ("approved_at", "words"),
    [
        (NOON - 86_400 * 7, "older than 7 days, the maximum ([max_age] high)"),
        (0.0, "unknown whether its approval is older than 7 days"),
        (NOON + 3_600, "dated in the future"),
        (NOON - 86_400 * 7 + 1, ""),
        (NOON + 60, ""),
    ],
)
def test_an_approval_that_is_too_old_starts_nothing(approved_at: float, words: str) -> None:
    one = candidate("a", approved_at=approved_at, approval_lasts_s=86_400 * 7.0)
    plan = decide(one, now=NOON)
    if not words:
        assert launched(plan) == ["a"]
        return
    waiting_for, reason = waits(plan)["a"]
    assert waiting_for is WaitingFor.APPROVAL
    assert words in reason
    assert "submit it under a new id" in reason


# -- after -----------------------------------------------------------------------------------------


def after(*ids: str, action_id: str = "a", **facts: Any) -> Candidate:
    return candidate(action_id, lock="", after=ids, path=f"{action_id}.toml", **facts)


def one_is_over(verdict: Verdict | None, problem: str = "", **facts: Any) -> Plan:
    ended = {"dep": Ended(verdict=verdict, problem=problem)}
    return decide(after("dep"), published=frozenset({"dep"}), ended=ended, **facts)


def test_it_starts_when_all_that_it_runs_after_have_succeeded() -> None:
    assert launched(one_is_over(Verdict.SUCCEEDED)) == ["a"]
    waiting = waits(decide(after("dep", "other"), plain("dep"), plain("other")))
    assert waiting["a"] == (WaitingFor.AFTER, "runs after dep and 1 more")


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.SUCCEEDED])
def test_it_is_refused_if_one_of_them_ended_otherwise(verdict: Verdict) -> None:
    plan = one_is_over(verdict)
    assert rejected(plan) == {"a": Verdict.REFUSED}
    (step,) = plan.steps
    assert isinstance(step, Reject)
    assert step.reason == f"it runs after dep, which ended as {verdict}"


def test_a_result_that_is_not_ours_neither_releases_nor_refuses() -> None:
    plan = one_is_over(None, "it is not ours")
    assert not plan.steps
    assert waits(plan)["a"] == (WaitingFor.AFTER, "runs after dep; it is not ours")


def test_a_result_that_was_read_and_is_gone_does_not_count() -> None:
    ended = {"dep": Ended(verdict=Verdict.SUCCEEDED)}
    plan = decide(after("dep"), claim("dep", phase=Phase.TOMBSTONE), ended=ended)
    assert waits(plan)["a"][1] == "runs after dep; its result is gone"


def test_an_id_that_is_not_there_is_invalid() -> None:
    for known in (
        {"published": frozenset({"dep"})},
        {"archived": frozenset({"dep"})},
        {"unread": {"dep": 1}},
        {"busy": {"dep"}},
    ):
        assert not rejected(decide(after("dep"), **known))
    assert rejected(decide(after("dep"))) == {"a": Verdict.INVALID}


def test_those_that_wait_for_each_other_are_invalid_and_name_the_cycle() -> None:
    plan = decide(
        after("b", action_id="a"),
        after("c", action_id="b"),
        after("a", action_id="c"),
        after("a", action_id="d"),
        after("e", action_id="c2"),
        plain("e"),
    )
    assert rejected(plan) == dict.fromkeys("abc", Verdict.INVALID)
    (of_a,) = (s.reason for s in plan.steps if isinstance(s, Reject) and s.action_id == "a")
    assert "a → b → c → a" in of_a
    assert "d" in waits(plan)


def test_a_long_cycle_is_followed_once_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    count, reads = 200, 0

    class Counted(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            nonlocal reads
            reads += 1
            return super().__getitem__(key)

    knotted = predecessors._knotted
    monkeypatch.setattr(predecessors, "_knotted", lambda world: Counted(knotted(world)))
    plan = decide(*(after(f"n{(i + 1) % count}", action_id=f"n{i}") for i in range(count)))
    assert rejected(plan) == {f"n{i}": Verdict.INVALID for i in range(count)}
    assert "n7 → n8 → n9 → n10 → … → n7." in plan.steps[7].reason  # type: ignore[union-attr]
    assert reads <= 5 * count


def test_a_long_chain_is_no_cycle_and_costs_little() -> None:
    chain = [after(f"n{i + 1}", action_id=f"n{i}") for i in range(3_000)]
    plan = decide(*chain, plain("n3000"))
    assert launched(plan) == ["n3000"]
    assert len(plan.waits) == 3_000


# -- in any world ----------------------------------------------------------------------------------

ids = st.sampled_from([f"a{n}" for n in range(7)])
locks = st.sampled_from(["", "web", "db"])
tiers = st.sampled_from([of_tier(t) for t in Tier])


def build_all(facts: dict[str, dict[str, Any]]) -> dict[str, Candidate]:
    return {
        i: candidate(i, **{**f, "supersedes": f["supersedes"] and bool(f["lock"])})
        for i, f in facts.items()
    }


candidates = st.dictionaries(
    ids,
    st.fixed_dictionaries(
        {
            "order": st.integers(0, 9),
            "order_known": st.sampled_from([True, True, True, False]),
            "lock": locks,
            "supersedes": st.booleans(),
            "priority": st.integers(-1, 1),
            "tier_decision": tiers,
            "gate_state": st.sampled_from([GateState.APPROVED, *GateState]),
            "not_before": st.sampled_from([None, None, MORNING, EVENING]),
            "expires": st.sampled_from([None, None, "2027-01-15T12:00:00Z"]),
            "after": st.lists(st.sampled_from(["b0", "b1"]), unique=True, max_size=2).map(tuple),
        }
    ),
).map(build_all)
claims = st.dictionaries(ids, st.tuples(st.sampled_from(list(Phase)), locks)).map(
    lambda d: {i: claim(i, phase=p, lock=lock) for i, (p, lock) in d.items()}
)
worlds = st.builds(
    World,
    candidates=candidates,
    published=st.frozensets(ids).map(lambda s: s | {"b0"}),
    claims=claims,
    observations=st.none() | st.dictionaries(ids.map(key), st.sampled_from([ENDED, RUNNING])),
    down=st.sampled_from([frozenset(), frozenset(), frozenset({Dependency.FORGE})]),
    limits=st.builds(Limits, max_in_flight=st.integers(1, 9)),
    unsettled=st.frozensets(ids),
    busy=st.frozensets(ids),
    starting=st.dictionaries(st.sampled_from(["a0", "z"]), locks),
    paused=st.dictionaries(ids, st.just("it failed")),
    now=st.sampled_from([NOON - 10_000, NOON, NOON + 86_400]),
    ended=st.dictionaries(
        st.sampled_from(["b0", "b1"]),
        st.builds(Ended, verdict=st.none() | st.sampled_from(Verdict)),
    ),
    unread=st.dictionaries(st.just("u"), st.integers(0, 9)),
    claims_in_doubt=st.sampled_from([False, False, True]),
)


def _held(world: World) -> set[str]:
    in_flight = (c.lock for c in world.claims.values() if c.in_flight)
    return {lock for lock in (*in_flight, *world.starting.values()) if lock}


def _unstarted(world: World) -> Iterable[Candidate]:
    for action_id, one in world.candidates.items():
        known = world.claims.get(action_id)
        if (known is None or known.phase is Phase.TOMBSTONE) and action_id not in world.published:
            yield one


@given(worlds)
def test_a_lock_is_given_to_one_and_only_if_it_is_free(world: World) -> None:
    given_ = [world.candidates[i].lock for i in launched(reconcile(world))]
    given_ = [lock for lock in given_ if lock]
    assert len(given_) == len(set(given_))
    assert not set(given_) & _held(world)
    assert not (world.claims_in_doubt and given_)


@given(worlds)
def test_none_that_supersedes_starts_while_an_older_one_may_still_start(world: World) -> None:
    for action_id in launched(reconcile(world)):
        one = world.candidates[action_id]
        assert one.action is not None
        if not one.action.supersedes:
            continue
        for other in _unstarted(world):
            if other.lock == one.lock and other.key != one.key:
                assert other.order_known, "nobody could tell"
                assert not one.order_known or other.order >= one.order, other


@given(worlds)
def test_what_gives_way_gives_way_to_a_newer_approved_one_of_its_tier(world: World) -> None:
    for step in reconcile(world).steps:
        if not isinstance(step, Reject) or step.verdict is not Verdict.SUPERSEDED:
            continue
        older = step.candidate
        newer = world.candidates[step.reason.split(",")[0]]
        assert newer.gate_state is GateState.APPROVED
        assert newer.action is not None
        assert newer.action.supersedes
        assert newer.lock == older.lock
        assert newer.order_known
        assert not older.order_known or older.order < newer.order
        assert newer.tier is not None
        assert older.tier is not None
        assert newer.tier.rank >= older.tier.rank
        assert not [
            other
            for other in _unstarted(world)
            if other.lock == newer.lock
            and (not other.order_known or other.order < newer.order)
            and (other.tier is None or other.tier.rank > newer.tier.rank)
        ], "it may never start"


@given(worlds)
def test_equals_of_a_lock_start_in_commit_order(world: World) -> None:
    plan = reconcile(world)
    waiting = {i for i, (kind, _) in waits(plan).items() if kind is WaitingFor.LOCK}
    for action_id in launched(plan):
        one = world.candidates[action_id]
        for i in waiting & world.candidates.keys():
            other = world.candidates[i]
            assert one.action is not None
            assert other.action is not None
            if not one.lock or other.lock != one.lock or other.action.supersedes:
                continue
            before = (-other.action.priority, other.order) < (-one.action.priority, one.order)
            assert not before, f"{action_id} overtook {i}"


@given(
    st.dictionaries(
        ids,
        st.fixed_dictionaries(
            {
                "order": st.integers(0, 9),
                "priority": st.integers(-1, 1),
                "gate_state": st.sampled_from(
                    [GateState.APPROVED, GateState.UNASKED, GateState.WAITING]
                ),
            }
        ),
    ),
    st.frozensets(ids),
)
def test_no_answer_of_a_gate_lets_one_overtake(
    facts: dict[str, dict[str, Any]], failed: frozenset[str]
) -> None:
    """Whatever order the gate answers in: the first of a lock that could start does."""
    paused = dict.fromkeys(failed, "it failed")
    plan = decide(*(candidate(i, **f) for i, f in facts.items()), paused=paused)
    turns = sorted(
        (-f["priority"], f["order"], i, f["gate_state"])
        for i, f in facts.items()
        if f["gate_state"] is not GateState.WAITING and i not in failed
    )
    first = [turns[0][2]] if turns and turns[0][3] is GateState.APPROVED else []
    assert launched(plan) == first


@given(worlds)
def test_nothing_is_dropped(world: World) -> None:
    plan = reconcile(world)
    named = [item.action_id for item in (*plan.steps, *plan.waits)]
    assert len(named) == len(set(named))
    idle = {o.key.action_id for o in _unstarted(world)} - set(world.busy) - set(named)
    assert all(i in world.claims for i in idle), "but for tombstones whose own turn comes first"


@given(worlds)
def test_the_times_and_verdicts_hold(world: World) -> None:
    plan = reconcile(world)
    for action_id in launched(plan):
        action = world.candidates[action_id].action
        assert action is not None
        assert action.starts_at is None or world.now >= action.starts_at
        assert action.expires_at is None or world.now < action.expires_at
        for other in action.after:
            assert world.ended[other].verdict is Verdict.SUCCEEDED
            assert other in world.published
    for one, verdict in rejected(plan).items():
        assert one not in world.claims or world.claims[one].phase is Phase.TOMBSTONE, verdict
    assert plan.next_at is None or plan.next_at > world.now
