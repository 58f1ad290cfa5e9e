"""What is decided from git, ledger and engine: rule by rule, then as properties of any world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import Phase as HypothesisPhase
from hypothesis import example, find, given, settings
from hypothesis import strategies as st

from dispatcher.decide.reconcile import ARCHIVED, USED, reconcile
from dispatcher.decide.steps import (
    Ask,
    Conclude,
    Inspect,
    Launch,
    Plan,
    Publish,
    Reject,
    ResolveOrphan,
    Restore,
    Retire,
    Revoke,
    StopSuperseded,
    Wait,
)
from dispatcher.decide.tiers import Contribution, Item, TierDecision
from dispatcher.decide.world import Candidate, GateState, Limits, Provenance, World
from dispatcher.errors import Dependency
from dispatcher.model.action import Action
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.health import WaitingFor
from dispatcher.model.run import (
    Claim,
    Formula,
    FormulaKind,
    FormulaRef,
    Grant,
    Observation,
    Outcome,
    Phase,
    Placement,
    RunKey,
    RunState,
    Tier,
)
from dispatcher.model.verdicts import Verdict

FORMULA = FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="f" * 40, sha256="0" * 64)
BYTES = Formula(ref=FORMULA, path="", text=b"")
IN_REPO = replace(BYTES, ref=replace(FORMULA, commit="c"), path="formulas/hello.sh")
GRANT = Grant(wrapping_accessor="w", accessor="a")
OK = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True)
ENDED = Observation(state=RunState.ENDED, engine_id="e", engine=Placement(kind="local"), outcome=OK)
RUNNING = replace(ENDED, state=RunState.RUNNING, outcome=None)


def of_tier(tier: Tier) -> TierDecision:
    formula = Contribution(item=Item.FORMULA, name="hello", tier=tier, source="")
    return TierDecision(contributions=(formula,), reason="", need=PLAIN, formula_need=PLAIN)


NOTHING_ELSE: Mapping[str, object] = {
    "cancels": {},
    "archived": frozenset(),
    "unsettled": frozenset(),
    "busy": frozenset(),
    "paused": {},
    "down": frozenset(),
    "outages": {},
    "commit": "",
    "revision": 0,
    "now": 0.0,
    "unread": {},
    "starting": {},
    "claims_in_doubt": False,
    "ended": {},
}
"""Facts of a world in which nothing is the matter."""


def key(action_id: str) -> RunKey:
    return RunKey(action_id=action_id, blob="b" * 40)


def candidate(action_id: str = "x", *, priority: int = 0, **facts: object) -> Candidate:
    action = Action(id=action_id, formula="hello", context="", secrets=(), priority=priority)
    known = {"gate_state": GateState.APPROVED, "order": 0, "action": action, "formula": BYTES}
    return Candidate(key=key(action_id), **{**known, **facts})  # type: ignore[arg-type]


def claim(action_id: str = "x", phase: Phase = Phase.SUBMITTED, **facts: object) -> Claim:
    known = {"commit": "c", "formula": FORMULA, "grant": GRANT, "version": 1}
    return Claim(key=key(action_id), phase=phase, **{**known, **facts})  # type: ignore[arg-type]


def decide(
    *items: Candidate | Claim,
    published: frozenset[str] = frozenset(),
    provenance: Provenance | None = Provenance.OURS,
    seen: dict[str, Observation] | None = None,
    max_in_flight: int = 10,
    **facts: object,
) -> Plan:
    return reconcile(
        World(
            candidates={c.key.action_id: c for c in items if isinstance(c, Candidate)},
            claims={c.key.action_id: c for c in items if isinstance(c, Claim)},
            published=published,
            provenance=dict.fromkeys(published, provenance) if provenance else {},
            observations=None if seen is None else {key(i): o for i, o in seen.items()},
            **{"limits": Limits(max_in_flight=max_in_flight), **NOTHING_ELSE, **facts},  # type: ignore[arg-type]
        )
    )


def only(plan: Plan) -> object:
    (item,) = plan.steps + plan.waits
    return item


@pytest.mark.parametrize(
    ("gate_state", "kind"),
    [(GateState.UNASKED, Ask), (GateState.APPROVED, Launch), (GateState.REFUSED, Reject)],
)
def test_a_candidate_goes_as_its_gate_says(gate_state: GateState, kind: type) -> None:
    assert isinstance(only(decide(candidate(gate_state=gate_state))), kind)


@pytest.mark.parametrize(
    ("gate_state", "waiting_for"),
    [(GateState.WAITING, WaitingFor.APPROVAL), (GateState.HELD, WaitingFor.REFUSAL)],
)
def test_what_may_still_be_approved_waits_with_the_reason(
    gate_state: GateState, waiting_for: WaitingFor
) -> None:
    wait = only(decide(candidate(gate_state=gate_state, reason="nobody looked")))
    assert wait == Wait(action_id="x", waiting_for=waiting_for, reason="nobody looked")


def test_a_wrong_file_is_rejected_before_any_gate_is_asked() -> None:
    step = only(decide(candidate(gate_state=GateState.UNASKED, problem="x.toml:1: no")))
    assert isinstance(step, Reject)
    assert (step.verdict, step.reason) == (Verdict.INVALID, "x.toml:1: no")


def test_an_id_that_is_used_is_invalid_and_never_launched() -> None:
    step = only(decide(candidate(), claim(phase=Phase.TOMBSTONE, grant=None)))
    assert isinstance(step, Reject)
    assert step.reason == USED


def test_an_id_with_a_result_elsewhere_gets_no_second_one() -> None:
    tombstone = claim(phase=Phase.TOMBSTONE, grant=None)
    wait = only(decide(candidate(), published=frozenset({"x"})))
    assert isinstance(wait, Wait)
    assert wait.reason == ARCHIVED
    assert only(decide(candidate(), tombstone, published=frozenset({"x"}))) == Retire(
        claim=tombstone
    )


def test_a_file_in_the_place_of_a_result_is_inspected_before_it_counts() -> None:
    for phase in Phase:
        known = claim(phase=phase, result="{}")
        plan = decide(known, seen={"x": RUNNING}, published=frozenset({"x"}), provenance=None)
        assert only(plan) == Inspect(claim=known)


def test_a_foreign_file_in_the_place_of_a_result_changes_nothing() -> None:
    foreign: dict[str, Any] = {
        "published": frozenset({"x"}),
        "provenance": Provenance.FOREIGN,
    }
    running = claim()
    assert isinstance(only(decide(running, seen={"x": RUNNING}, **foreign)), Wait)
    assert isinstance(only(decide(running, seen={"x": ENDED}, **foreign)), Conclude)
    assert isinstance(only(decide(running, seen={}, **foreign)), ResolveOrphan)
    ended = claim(phase=Phase.ENDED, result="{}", revoked=True)
    assert only(decide(ended, **foreign)) == Publish(claim=ended)
    tombstone = claim(phase=Phase.TOMBSTONE, result="{}", grant=None)
    assert decide(tombstone, **foreign).steps == ()
    wait = only(decide(candidate(), tombstone, **foreign))
    assert isinstance(wait, Wait)
    assert wait.reason == ARCHIVED


def test_a_tombstone_gives_its_text_back_to_the_action_it_belongs_to() -> None:
    tombstone = claim(phase=Phase.TOMBSTONE, grant=None, result="{}")
    assert only(decide(candidate(), tombstone)) == Restore(claim=tombstone)
    other = replace(tombstone, key=RunKey(action_id="x", blob="another"))
    assert isinstance(only(decide(candidate(), other)), Reject)
    assert decide(tombstone).steps == ()


def test_a_claim_without_a_visible_run_is_settled_only_by_a_fresh_look() -> None:
    assert only(decide(claim(), seen={})) == ResolveOrphan(claim=claim())
    assert decide(claim(), seen={}, unsettled={"x"}).steps == ()
    assert isinstance(only(decide(claim(), seen=None)), Wait)


def test_an_ended_run_is_concluded_then_published_then_revoked_then_retired() -> None:
    assert isinstance(only(decide(claim(), seen={"x": ENDED})), Conclude)
    ended = claim(phase=Phase.ENDED, result="{}")
    assert isinstance(only(decide(ended)), Publish)
    assert isinstance(only(decide(ended, published=frozenset({"x"}))), Revoke)
    dead = replace(ended, revoked=True)
    assert isinstance(only(decide(dead, published=frozenset({"x"}))), Retire)


def test_a_result_in_git_ends_a_run_for_ever() -> None:
    plan = decide(claim(), seen={"x": RUNNING}, published=frozenset({"x"}))
    assert isinstance(only(plan), StopSuperseded)


def test_a_run_is_stopped_without_the_vault_and_its_grant_revoked_with_it() -> None:
    facts = {"seen": {"x": RUNNING}, "published": frozenset({"x"}), "down": {Dependency.VAULT}}
    assert isinstance(only(decide(claim(), **facts)), StopSuperseded)  # type: ignore[arg-type]
    assert isinstance(only(decide(claim(stopped=True), **facts)), Wait)  # type: ignore[arg-type]
    facts["down"] = set()
    assert isinstance(only(decide(claim(stopped=True), **facts)), StopSuperseded)  # type: ignore[arg-type]


def test_a_stopped_run_keeps_its_claim_until_its_engine_says_how_it_ended() -> None:
    published = frozenset({"x"})
    stopped = claim(revoked=True)
    assert isinstance(only(decide(stopped, seen={"x": RUNNING}, published=published)), Wait)
    assert isinstance(only(decide(stopped, seen={"x": ENDED}, published=published)), Conclude)
    assert isinstance(only(decide(claim(), seen={"x": ENDED}, published=published)), Conclude)
    assert isinstance(only(decide(stopped, seen={}, published=published)), ResolveOrphan)


def test_an_action_in_the_archive_without_a_result_is_spent_but_owes_one() -> None:
    archived = frozenset({"x"})
    assert isinstance(only(decide(candidate(), archived=archived)), Reject)
    ended = claim(phase=Phase.ENDED, revoked=True, result="{}")
    assert isinstance(only(decide(ended, archived=archived)), Publish)
    assert isinstance(only(decide(claim(), seen={"x": RUNNING}, archived=archived)), Wait)


def test_what_is_paused_waits_with_the_reason_and_takes_no_place() -> None:
    plan = decide(candidate("a"), candidate("b"), paused={"a": "no policy"}, max_in_flight=1)
    assert [s.candidate.key.action_id for s in plan.steps if isinstance(s, Launch)] == ["b"]
    assert [(w.action_id, "no policy" in w.reason) for w in plan.waits] == [("a", True)]


@pytest.mark.parametrize(
    ("facts", "asks"),
    [
        ({"tier_decision": of_tier(Tier.LOW)}, True),
        ({"tier_decision": of_tier(Tier.HIGH)}, False),
        ({"tier_decision": of_tier(Tier.LOW), "formula": IN_REPO}, False),
    ],
)
def test_only_what_needs_an_approval_waits_for_a_forge_that_is_away(
    facts: dict[str, Any], *, asks: bool
) -> None:
    plan = decide(candidate(gate_state=GateState.UNASKED, **facts), down={Dependency.FORGE})
    assert isinstance(only(plan), Ask if asks else Wait)


def test_busy_ids_are_left_alone() -> None:
    assert decide(claim(), candidate("y"), seen={}, busy={"x", "y"}) == Plan(steps=(), waits=())


@pytest.mark.parametrize("down", [Dependency.VAULT, Dependency.SCHEDULER])
def test_nothing_is_launched_while_a_needed_dependency_is_down(down: Dependency) -> None:
    wait = only(decide(candidate(), down={down}))
    assert isinstance(wait, Wait)
    assert down in wait.reason


def test_what_is_held_up_gives_the_words_of_what_is_down() -> None:
    refused = {Dependency.REMOTE: "the ops repository refused the push to main"}
    wait = only(decide(claim(phase=Phase.ENDED), down=refused.keys(), outages=refused))
    assert isinstance(wait, Wait)
    assert wait.reason == "the ops repository refused the push to main"


def test_a_run_is_concluded_and_published_while_the_vault_is_down() -> None:
    down = {Dependency.VAULT}
    assert isinstance(only(decide(claim(), seen={"x": ENDED}, down=down)), Conclude)
    assert isinstance(only(decide(claim(phase=Phase.ENDED), down=down)), Publish)


def test_free_places_go_to_higher_priority_then_to_the_earlier_commit() -> None:
    plan = decide(
        candidate("late", order=3),
        candidate("early", order=1),
        candidate("urgent", order=9, priority=5),
        max_in_flight=2,
    )
    assert [s.candidate.key.action_id for s in plan.steps if isinstance(s, Launch)] == [
        "urgent",
        "early",
    ]
    assert [(w.action_id, w.waiting_for) for w in plan.waits] == [("late", WaitingFor.PLACE)]


def test_a_formula_has_a_limit_of_its_own() -> None:
    limits = Limits(max_in_flight=10, formulas={"hello": 2})
    plan = decide(claim("r"), candidate("a"), candidate("b"), seen={"r": RUNNING}, limits=limits)
    assert len([s for s in plan.steps if isinstance(s, Launch)]) == 1


def test_a_launch_under_way_takes_a_place() -> None:
    plan = decide(candidate("a"), candidate("b"), busy={"a"}, max_in_flight=1)
    assert [w.waiting_for for w in plan.waits] == [WaitingFor.PLACE]


HAVE_A_RESULT = (Phase.ENDED, Phase.TOMBSTONE)

ids = st.sampled_from([f"a{n}" for n in range(6)])
T = TypeVar("T")


def mostly(rare: st.SearchStrategy[T], usual: T) -> st.SearchStrategy[T]:
    """What stands in the way of steps is rare, or else there would be none."""
    return st.sampled_from(["usual"] * 4 + ["rare"]).flatmap(
        lambda which: rare if which == "rare" else st.just(usual)
    )


worlds = st.builds(
    World,
    candidates=st.dictionaries(ids, st.sampled_from(list(GateState))).map(
        lambda d: {i: candidate(i, gate_state=s) for i, s in d.items()}
    ),
    published=st.frozensets(ids),
    provenance=st.dictionaries(ids, mostly(st.sampled_from(list(Provenance)), Provenance.OURS)),
    claims=st.dictionaries(ids, st.tuples(st.sampled_from(list(Phase)), st.booleans())).map(
        lambda d: {
            i: claim(i, phase=p, revoked=r, result="{}" if p in HAVE_A_RESULT else "")
            for i, (p, r) in d.items()
        }
    ),
    observations=mostly(st.none(), {})
    | st.dictionaries(ids.map(key), st.sampled_from([ENDED, RUNNING])),
    limits=st.builds(Limits, max_in_flight=st.integers(1, 4)),
    archived=st.frozensets(ids),
    unsettled=mostly(st.frozensets(ids), frozenset()),
    busy=mostly(st.frozensets(ids), frozenset()),
    paused=mostly(st.dictionaries(ids, st.just("it failed")), {}),
    down=mostly(st.frozensets(st.sampled_from(list(Dependency))), frozenset()),
)


@pytest.mark.parametrize(
    "kind",
    [Ask, Reject, Launch, Inspect, ResolveOrphan, Conclude, StopSuperseded, Publish, Restore,
     Revoke, Retire],
)  # fmt: skip
def test_the_worlds_lead_to_every_kind_of_step(kind: type) -> None:
    """Or else the properties below would hold of nothing."""
    find(
        worlds,
        lambda world: any(isinstance(step, kind) for step in reconcile(world).steps),
        settings=settings(max_examples=5_000, deadline=None, phases=[HypothesisPhase.generate]),
    )


VANISHED = World(
    candidates={"x": candidate()},
    claims={"x": claim(phase=Phase.TOMBSTONE, result="{}")},
    published=frozenset(),
    provenance={"x": Provenance.FOREIGN},
    observations={},
    limits=Limits(max_in_flight=1),
    **NOTHING_ELSE,  # type: ignore[arg-type]
)
"""A result that somebody replaced and then removed, which is to be restored."""


@given(worlds)
@example(VANISHED)
def test_in_any_world(world: World) -> None:
    plan = reconcile(world)
    touched = [each.action_id for each in (*plan.steps, *plan.waits)]
    assert len(touched) == len(set(touched)), "an id is in one step or wait at most"
    assert not set(touched) & set(world.busy)
    launches = {s.candidate.key.action_id for s in plan.steps if isinstance(s, Launch)}
    assert not launches & set(world.claims), "what is claimed is never launched"
    assert not any(i in world.published for i in launches), "what has a result is never launched"
    assert not any(i in world.archived for i in launches), "what was archived is never launched"
    assert not launches & set(world.paused)
    assert all(world.candidates[i].gate_state is GateState.APPROVED for i in launches)
    in_flight = [c for c in world.claims.values() if c.phase in (Phase.CLAIMED, Phase.SUBMITTED)]
    assert len(launches) <= max(0, world.limits.max_in_flight - len(in_flight))
    settled = {s.claim.key.action_id for s in plan.steps if isinstance(s, ResolveOrphan)}
    assert not settled & set(world.unsettled)
    for step in plan.steps:
        if isinstance(step, Retire) and step.claim.phase is Phase.ENDED:
            assert step.claim.revoked
            assert step.claim.key.action_id in world.published
            assert world.provenance[step.claim.key.action_id] is Provenance.OURS


@given(worlds)
def test_nothing_is_dropped_silently(world: World) -> None:
    """Every idle claim and candidate is in a step or a wait, but for three kinds of rest."""
    plan = reconcile(world)
    named = {each.action_id for each in (*plan.steps, *plan.waits)}
    for action_id in (set(world.candidates) | set(world.claims)) - set(world.busy) - named:
        known = world.claims.get(action_id)
        assert known is not None
        tombstone = known.phase is Phase.TOMBSTONE
        assert tombstone or action_id in world.unsettled


def test_what_is_wrong_with_a_run_that_goes_on_is_its_reason() -> None:
    down = replace(RUNNING, reason="node client-2 is down")
    (wait,) = decide(claim(), seen={"x": down}).waits
    assert (wait.waiting_for, wait.reason) == (WaitingFor.ENGINE, "node client-2 is down")
    (wait,) = decide(claim(), seen={"x": RUNNING}).waits
    assert (wait.reason, wait.run) == ("", RunState.RUNNING)
