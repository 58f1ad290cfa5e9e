"""Tiers: read with care, raised by an action, never lowered."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.action import Action
from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.policy import Policy, effective_tier, load_policy, parse_policy
from dispatcher.run import Tier


def action(formula: str = "hello", asked: Tier | None = None) -> Action:
    return Action(id="a", formula=formula, context="", secrets=(), blast_radius=asked)


def test_a_policy_gives_tiers_to_formulas() -> None:
    policy = parse_policy(b'[tiers]\nhello = "low"\ndeploy = "high"\n', path="policy.toml")
    assert policy == Policy(tiers={"hello": Tier.LOW, "deploy": Tier.HIGH})
    assert parse_policy(b"", path="policy.toml") == Policy()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[tiers]\nhello = "lwo"',
            'policy.toml:2:9: tiers.hello must be low, medium or high, not "l',
        ),
        (
            "[tiers]\nhello = 1",
            "policy.toml:2:9: tiers.hello must be one of low, medium, high, not a",
        ),
        (
            '[tier]\nhello = "low"',
            'policy.toml:1:2: "tier" is no key of the policy. Did you mean "ti',
        ),
        ('[tiers]\n"Hello" = "low"', 'policy.toml:2:11: "Hello" cannot be a formula\'s name'),
        ("tiers = ['a']", "policy.toml:1:9: tiers must be a table, not a list"),
        ("tiers = {", "policy.toml:1:"),
        ("[tiers]\na = 'low'\na = 'high'", "policy.toml:3:1: tiers.a is given twice"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_policy(text.encode(), path="policy.toml")
    assert words in str(caught.value)


def test_without_a_file_everything_is_high(tmp_path: Path) -> None:
    assert effective_tier(load_policy(None), action()).tier is Tier.HIGH
    with pytest.raises(Misconfigured, match=r"no\.toml cannot be read"):
        load_policy(tmp_path / "no.toml")


def test_a_file_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[tiers]\nhello = "medium"\n')
    assert load_policy(file).tiers == {"hello": Tier.MEDIUM}


def test_reasons_say_whose_word_counts() -> None:
    policy = Policy(tiers={"hello": Tier.MEDIUM})
    assert effective_tier(policy, action()).reason == 'the policy gives "hello" the tier medium'
    unknown = effective_tier(policy, action("other", Tier.LOW))
    assert unknown.reason == (
        'the policy does not name "other", so it is high; the action asks for low, and an action '
        "cannot lower it"
    )
    raised = effective_tier(policy, action(asked=Tier.HIGH))
    assert raised.raised_by_action
    assert raised.reason.endswith("; the action raises it to high")


tiers = st.sampled_from(list(Tier))
formulas = st.sampled_from(["hello", "deploy", "report"])


@given(
    policy=st.dictionaries(formulas, tiers).map(lambda t: Policy(tiers=t)),
    formula=formulas,
    asked=st.none() | tiers,
)
def test_an_action_may_raise_and_never_lower(
    policy: Policy, formula: str, asked: Tier | None
) -> None:
    decision = effective_tier(policy, action(formula, asked))
    assert decision.from_policy is policy.tiers.get(formula, Tier.HIGH)
    assert decision.tier.rank == max(decision.from_policy.rank, asked.rank if asked else 0)
    assert decision.raised_by_action == (decision.tier is not decision.from_policy)
    assert decision == effective_tier(policy, action(formula, asked))


@given(policy=st.dictionaries(formulas, tiers).map(lambda t: Policy(tiers=t)), formula=formulas)
def test_asking_for_nothing_changes_nothing(policy: Policy, formula: str) -> None:
    assert effective_tier(policy, action(formula)).tier is policy.tiers.get(formula, Tier.HIGH)
