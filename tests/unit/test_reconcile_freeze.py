"""Freezes: what waits and until when, what an emergency overrides and what it does not."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.decide.policy import Policy, parse_policy
from dispatcher.decide.steps import Launch, Plan
from dispatcher.decide.tiers import Item, effective_tier
from dispatcher.decide.times import overridden
from dispatcher.decide.world import Candidate, GateState, Requested
from dispatcher.ledger.codec import decode, encode
from dispatcher.loop.results import of_run
from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.health import WaitingFor
from dispatcher.model.result import Result
from dispatcher.model.run import Placement, Tier
from dispatcher.model.verdicts import Verdict
from tests.unit.test_reconcile import OK, RUNNING, claim, decide, of_tier
from tests.unit.test_reconcile import candidate as plain

FREEZE = """
[tiers]
hello = "low"
deploy = "medium"
[freeze]
zone = "Europe/Berlin"
[freeze.windows.weekend]
days = ["fri"]
start = "16:00"
end = "mon 06:00"
"""
BASE = 'id = "a"\nformula = "{formula}"\ncontext = ""\nsecrets = []\n'
END = datetime.fromisoformat("2026-11-23T06:00+01:00").timestamp()
SUNDAY = END - 30 * 3_600
REASON = "freeze weekend, until 2026-11-23T06:00+01:00 (Europe/Berlin)"


def policy(more: str = "") -> Policy:
    return parse_policy((FREEZE + more).encode(), path="policy.toml")


def parsed(more: str = "", formula: str = "hello", action_id: str = "a") -> Action:
    text = BASE.format(formula=formula).replace('"a"', f'"{action_id}"') + more
    action = parse_action(text.encode(), path="a.toml", stem=action_id)
    assert isinstance(action, Action), action
    return action


def candidate(more: str = "", *, rules: str = "", action_id: str = "a", **facts: Any) -> Candidate:
    """One that is approved, as it is vetted by the policy."""
    action, by = parsed(more, action_id=action_id), policy(rules)
    tier = effective_tier(by, action)
    freezes = by.freeze.calendar(tier.without_emergency, action.formula)
    known = {"action": action, "tier_decision": tier, "freezes": freezes}
    return plain(action_id, **{**known, **facts})


def launched(plan: Plan) -> list[Launch]:
    return [s for s in plan.steps if isinstance(s, Launch)]


def waits(plan: Plan) -> dict[str, tuple[WaitingFor, str]]:
    return {w.action_id: (w.waiting_for, w.reason) for w in plan.waits}


# -- waiting -----------------------------------------------------------------------------------------


def test_it_waits_for_the_end_of_the_freeze_and_the_plan_wakes_then() -> None:
    plan = decide(candidate(), now=SUNDAY)
    assert waits(plan) == {"a": (WaitingFor.FREEZE, REASON)}
    assert plan.waits[0].until == plan.next_at == END
    assert waits(decide(candidate(), now=END - 0.1)) == {"a": (WaitingFor.FREEZE, REASON)}
    (start,) = launched(decide(candidate(), now=END))
    assert overridden(start.candidate, END) == ""


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Niue"])
@pytest.mark.parametrize("key", ["not_before", "expires"])
@pytest.mark.parametrize("day", ["01T00:00:00Z", "30T23:59:59Z", "31T23:59:59Z"])
def test_a_time_at_the_end_of_all_years_holds_up_nobody(key: str, day: str, zone: str) -> None:
    rules = f'[freeze.windows.more]\nzone = "{zone}"\nstart = "08:00"\n'
    far = candidate(f"{key} = 9999-12-{day}\n", rules=rules)
    assert set(waits(decide(far, now=SUNDAY))) == {"a"}


def test_weekly_freezes_are_in_force_where_no_date_tells_their_end() -> None:
    far = datetime.fromisoformat("9999-12-29T12:00Z").timestamp()
    assert launched(decide(candidate(), now=far)) == []


def test_a_freeze_without_an_end_wakes_nobody() -> None:
    forever = candidate(rules='[freeze.windows.all]\ndates = ["2026-01-01/.."]\n')
    plan = decide(forever, now=SUNDAY)
    assert waits(plan)["a"][1] == "freezes weekend, all, with no end within a year"
    assert (plan.next_at, plan.waits[0].until) == (None, None)


def test_what_runs_goes_on_and_what_is_claimed_is_not_frozen() -> None:
    plan = decide(candidate(), claim("a"), seen={"a": RUNNING}, now=SUNDAY)
    assert [w.waiting_for for w in plan.waits] == [WaitingFor.ENGINE]
    orphan = decide(candidate(), claim("a"), seen={}, now=SUNDAY)
    assert [type(s).__name__ for s in orphan.steps] == ["ResolveOrphan"]


def test_a_cancellation_is_never_frozen() -> None:
    one = candidate()
    asked = {"a": Requested(blob=one.key.blob, gate_state=GateState.APPROVED, by="ada")}
    plan = decide(one, cancels=asked, now=SUNDAY)
    assert [type(s).__name__ for s in plan.steps] == ["Cancel"]


def test_an_approval_is_waited_for_in_a_freeze_and_counts_after_it() -> None:
    waiting = candidate(gate_state=GateState.WAITING, reason="by ada")
    plan = decide(waiting, now=SUNDAY)
    assert waits(plan) == {"a": (WaitingFor.APPROVAL, "by ada")}
    assert plan.next_at is None


@pytest.mark.parametrize(
    ("expires", "words"),
    [
        ("2026-11-23T05:59:00+01:00", "; it expires before that, at 2026-11-23T05:59:00+01:00"),
        ("2026-11-23T06:00:00+01:00", "; it expires before that, at 2026-11-23T06:00:00+01:00"),
        ("2026-11-23T06:00:01+01:00", ""),
    ],
)
def test_it_says_if_it_expires_before_the_freeze_ends(expires: str, words: str) -> None:
    one = candidate(f"expires = {expires}")
    assert waits(decide(one, now=SUNDAY))["a"][1] == REASON + words
    ends = [s.verdict for s in decide(one, now=END).steps if not isinstance(s, Launch)]
    assert ends == ([Verdict.EXPIRED] if words else [])


def test_it_says_if_its_approval_is_too_old_before_the_freeze_ends() -> None:
    one = candidate(approved_at=SUNDAY - 3_600, approval_lasts_s=86_400.0)
    assert (
        "; its approval is too old before that, from 2026-11-22T22:00"
        in (waits(decide(one, now=SUNDAY))["a"][1])
    )


def test_a_start_in_a_freeze_is_said_before() -> None:
    one = candidate("not_before = 2026-11-21T08:00:00+01:00")
    plan = decide(one, now=SUNDAY - 5 * 86_400)
    assert waits(plan)["a"] == (
        WaitingFor.TIME,
        f"starts at 2026-11-21T08:00:00+01:00 (not_before), and not in {REASON}",
    )
    assert plan.waits[0].until == END
    free = decide(candidate("not_before = 2026-11-24T08:00:00+01:00"), now=SUNDAY)
    assert waits(free)["a"][0] is WaitingFor.TIME


def test_one_that_is_frozen_supersedes_nothing_and_keeps_no_lock() -> None:
    newer = candidate('lock = "web"\nsupersedes = true', action_id="new", order=2, lock="web")
    older = candidate('lock = "web"', action_id="old", order=1, lock="web", freezes=None)
    plan = decide(older, newer, now=SUNDAY)
    assert [s.action_id for s in plan.steps] == ["old"]
    assert waits(plan)["new"][0] is WaitingFor.FREEZE


# -- emergencies -------------------------------------------------------------------------------------

SHOP = 'emergency = "shop is down"'


def test_an_emergency_starts_in_a_freeze_and_is_marked() -> None:
    (start,) = launched(decide(candidate(SHOP), now=SUNDAY))
    assert overridden(start.candidate, SUNDAY) == f"shop is down (overrides {REASON})"
    (later,) = launched(decide(candidate(SHOP), now=END))
    assert overridden(later.candidate, END) == "", "nothing was overridden"


@pytest.mark.parametrize("state", [s for s in GateState if s is not GateState.APPROVED])
def test_an_emergency_overrides_no_approval(state: GateState) -> None:
    assert not launched(decide(candidate(SHOP, gate_state=state), now=SUNDAY))


def test_an_emergency_needs_the_approval_of_its_tier_whenever_a_window_covers_it() -> None:
    tier = effective_tier(policy(), parsed(SHOP))
    assert tier.tier is Tier.HIGH
    assert tier.without_emergency is Tier.LOW
    assert "the emergency raises it to high ([freeze] emergency_tier)" in tier.reason
    base = FREEZE.replace(
        'zone = "Europe/Berlin"', 'zone = "Europe/Berlin"\nemergency_tier = "low"'
    )
    assert effective_tier(parse_policy(base.encode(), path="p"), parsed(SHOP)).tier is Tier.LOW
    medium = base.replace('emergency_tier = "low"', 'emergency_tier = "medium"')
    high = parsed(f'{SHOP}\nblast_radius = "high"')
    assert effective_tier(parse_policy(medium.encode(), path="p"), high).tier is Tier.HIGH


def test_an_emergency_without_a_freeze_changes_nothing() -> None:
    for text in ("[tiers]\nhello = 'low'\n", FREEZE + 'min_tier = "medium"\n'):
        by = parse_policy(text.encode(), path="p")
        tier = effective_tier(by, parsed(SHOP))
        assert tier.tier is Tier.LOW
        assert by.freeze.calendar(tier.without_emergency, "hello") is None


def test_raising_the_own_tier_leaves_no_freeze() -> None:
    by = policy('min_tier = "medium"\n')
    for own in Tier:
        tier = effective_tier(by, parsed(f'blast_radius = "{own}"'))
        assert (by.freeze.calendar(tier.without_emergency, "hello") is None) == (own is Tier.LOW)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('emergency = ""', "must say why"),
        ('emergency = "  "', "must say why"),
        ('emergency = "a\\nb"', "must say why, in one line"),
        ('emergency = "a\\u2028b"', "must say why, in one line"),
        ('emergency = "\\u200b"', "printable"),
        ('emergency = "a test \\u202e 1174 tnedicni ees"', "printable"),
        (f'emergency = "{"x" * 501}"', "at most 500 characters"),
        ("emergency = true", "emergency must be a string"),
        ('emergncy = "x"', 'Did you mean "emergency"?'),
    ],
)
def test_a_wrong_emergency_is_an_error(more: str, words: str) -> None:
    text = BASE.format(formula="hello") + more
    action = parse_action(text.encode(), path="a.toml", stem="a")
    assert isinstance(action, InvalidAction)
    assert words in str(action.problems[0])
    assert str(action.problems[0]).startswith("a.toml:5:")


# -- records -----------------------------------------------------------------------------------------


def test_claim_and_result_keep_the_mark_and_others_have_none() -> None:
    marked = claim("a", emergency="why (overrides freeze x)")
    assert decode(encode(marked), version=marked.version, place="p") == marked
    before = encode(claim("a")).replace('"emergency":"",', "")
    assert decode(before, version=0, place="p").emergency == ""
    result = of_run(marked, OK, Placement(kind="local"), now=SUNDAY)
    assert json.loads(result.to_json())["emergency"] == marked.emergency
    assert Result.model_validate_json(result.to_json()) == result
    other = of_run(claim("a"), OK, Placement(kind="local"), now=SUNDAY).to_json()
    assert "emergency" not in json.loads(other)


# -- in any world ------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from(list(GateState))),
        min_size=1,
        max_size=5,
    ),
    st.floats(END - 8 * 86_400, END + 8 * 86_400),
)
def test_nothing_starts_in_a_freeze_but_an_approved_emergency(
    kinds: list[tuple[bool, bool, GateState]], now: float
) -> None:
    all_ = [
        candidate(SHOP if emergency else "", action_id=f"a{n}", order=n, gate_state=state)
        if covered
        else plain(f"a{n}", order=n, gate_state=state, tier_decision=of_tier(Tier.LOW))
        for n, (covered, emergency, state) in enumerate(kinds)
    ]
    plan = decide(*all_, now=now)
    for step in launched(plan):
        one = step.candidate
        frozen = one.freezes.frozen(now) if one.freezes else None
        action = one.action
        assert bool(overridden(one, now)) == bool(frozen)
        assert not frozen or (action is not None and action.emergency)
        assert one.gate_state is GateState.APPROVED
    assert {s.action_id for s in plan.steps} | waits(plan).keys() == {
        f"a{n}" for n in range(len(kinds))
    }
    for wait in plan.waits:
        if wait.waiting_for is WaitingFor.FREEZE:
            assert wait.until is not None
            assert plan.next_at is not None
            assert now < plan.next_at <= wait.until


def test_the_tier_names_an_emergency_as_itself() -> None:
    assert [str(c) for c in effective_tier(policy(), parsed(SHOP)).contributions] == [
        "formula hello",
        "the emergency",
    ]
    assert effective_tier(policy(), parsed(SHOP)).of(Item.EMERGENCY) == {"a": Tier.HIGH}
