"""``[approval.<tier>]``, ``[formulas.<name>.approval]``, ``[teams]`` and ``[people]`` of the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.decide.approvals import need_of
from dispatcher.decide.policy import FormulaPolicy, Policy, parse_policy
from dispatcher.decide.policy_approval import ApprovalRule
from dispatcher.decide.tiers import effective_tier
from dispatcher.errors import InvalidInput
from dispatcher.model.action import Action, parse_action
from dispatcher.model.approval_need import PLAIN, Need, People, Rule, Team
from dispatcher.model.run import Tier

LOW, MEDIUM, HIGH = Tier.LOW, Tier.MEDIUM, Tier.HIGH


def parsed(text: str) -> Policy:
    return parse_policy(text.encode(), path="policy.toml")


def test_a_policy_without_these_keys_needs_one_approval_by_anybody() -> None:
    for tier in Tier:
        need = need_of(parsed("[tiers]\ndeploy = 'high'"), tier, "deploy")
        assert need == PLAIN
        assert need.plain


def test_a_tier_says_how_many_and_whose() -> None:
    policy = parsed(
        "[approval.high]\napprovals = 2\nteams = ['release', 'acme/ops']\nauthor_may_sign = false\n"
        "[teams]\nrelease = ['ada', 'bob@example.org']\n[people]\nada = ['ada@example.org', 'gpg:AB']"
    )
    release = Team(name="release", members=("ada", "bob@example.org"))
    assert need_of(policy, HIGH, "any") == Need(
        rules=(
            Rule(
                approvals=2,
                teams=(release, Team(name="acme/ops")),
                author_may_sign=False,
                source="[approval.high]",
            ),
        ),
        people=People(named=(("ada", ("ada@example.org", "gpg:AB")),)),
    )
    assert need_of(policy, MEDIUM, "any").plain


def test_high_takes_from_medium_what_it_does_not_set() -> None:
    policy = parsed(
        "[approval.medium]\napprovals = 2\nauthor_may_sign = false\n[approval.high]\nteams = ['a/b']"
    )
    (rule,) = need_of(policy, HIGH, "any").rules
    assert (rule.approvals, rule.author_may_sign) == (2, False)
    assert rule.teams == (Team(name="a/b"),)
    (only_medium,) = need_of(parsed("[approval.medium]\napprovals = 3"), HIGH, "any").rules
    assert only_medium.approvals == 3


def test_a_formula_adds_to_its_tier() -> None:
    policy = parsed(
        "[approval.high]\napprovals = 2\nteams = ['a/sre']\n"
        "[formulas.more.approval]\napprovals = 3\n"
        "[formulas.less.approval]\napprovals = 1\nauthor_may_sign = true\n"
        "[formulas.other.approval]\napprovals = 1\nteams = ['a/db']\n"
    )
    (more,) = need_of(policy, HIGH, "more").rules
    assert (more.approvals, more.teams) == (3, (Team(name="a/sre"),))
    (less,) = need_of(policy, HIGH, "less").rules
    assert (less.approvals, less.source) == (2, "[approval.high]")
    assert [(r.approvals, r.teams[0].name) for r in need_of(policy, HIGH, "other").rules] == [
        (2, "a/sre"),
        (1, "a/db"),
    ]
    (at_medium,) = need_of(policy, MEDIUM, "more").rules
    assert (at_medium.approvals, at_medium.teams) == (3, ())


def test_an_action_gets_the_need_of_the_tier_that_counts_and_its_formula_that_of_high() -> None:
    text = 'id = "x"\nformula = "f"\ncontext = ""\nsecrets = []\nblast_radius = "medium"\n'
    action = parse_action(text.encode(), path="x.toml", stem="x", limit=10_000)
    assert isinstance(action, Action)
    policy = parsed(
        "[tiers]\nf = 'low'\n[approval.medium]\napprovals = 2\n[approval.high]\napprovals = 4"
    )
    decision = effective_tier(policy, action)
    assert (decision.need.approvals, decision.formula_need.approvals) == (2, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[approval.high]\napprovals = 0", "policy.toml:2:13: approval.high.approvals must"),
        ("[approval.high]\napprovals = 11", "approval.high.approvals must"),
        ("[approval.high]\napprovals = true", "approval.high.approvals must"),
        (
            "[approval.high]\napproval = 2",
            'unknown key "approval" in [approval.high]. Did you mean',
        ),
        ("[approval.hihg]\napprovals = 2", 'unknown key "hihg" in [approval]'),
        ("[approval.low]\napprovals = 2", "actions of tier low need no approval"),
        ("[approval.high]\nteams = []", "it names no team"),
        ("[approval.high]\nteams = ['a b']", '"a b" is not a name of a team'),
        (
            "[approval.high]\nteams = ['relase']\n[teams]\nrelease = ['ada']",
            'policy.toml:2:10: there is no team "relase". Did you mean "release"?',
        ),
        ("[formulas.x.approval]\nteams = ['a']", 'there is no team "a". Add it to [teams]'),
        ("[teams]\n'a/b' = ['ada']", '"a/b" looks like a team of the forge'),
        ("[teams]\na = ['x,y']", '"x,y" names nobody'),
        (
            "[people]\nada = ['a@x']\nbob = ['A@X']",
            '"A@X" belongs to "ada" already. List each identity once',
        ),
        (
            "[approval.medium]\napprovals = 2\n[approval.high]\napprovals = 1",
            "policy.toml:4:13: tier high needs fewer approvals than tier medium, which needs 2",
        ),
        (
            "[approval.medium]\nauthor_may_sign = false\n[approval.high]\nauthor_may_sign = true",
            "authors may sign at tier high, but not at tier medium",
        ),
        (
            "[tiers]\nx = 'low'\n[formulas.x.approval]\napprovals = 2",
            '"x" is of tier low, which needs no approval',
        ),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parsed(text)
    assert words in str(caught.value)


rules = st.builds(
    ApprovalRule,
    approvals=st.none() | st.integers(1, 4),
    teams=st.none() | st.sampled_from([("o/a",), ("o/b",), ("o/a", "o/b")]),
    author_may_sign=st.none() | st.booleans(),
)
policies = st.fixed_dictionaries({}, optional={"medium": rules, "high": rules, "f": rules})


def asks_as_much(more: Need, less: Need) -> bool:
    """Whether ``more`` has, for each rule of ``less``, one that asks for as many."""
    return all(
        any(
            m.approvals >= each.approvals and (each.author_may_sign or not m.author_may_sign)
            for m in more.rules
        )
        for each in less.rules
    )


@given(policies)
def test_neither_a_higher_tier_nor_a_formula_lowers_what_is_needed(
    tables: dict[str, ApprovalRule],
) -> None:
    approval = {Tier(t): tables[t] for t in ("medium", "high") if t in tables}
    own = {"f": FormulaPolicy(approval=tables["f"])} if "f" in tables else {}
    try:
        policy = Policy(approval=approval, formulas=own)
    except ValueError:
        return  # refused as it is read
    for formula in ("f", "other"):
        medium, high = need_of(policy, MEDIUM, formula), need_of(policy, HIGH, formula)
        assert high.approvals >= medium.approvals
        assert asks_as_much(high, medium)
    for tier in (MEDIUM, HIGH):
        assert asks_as_much(need_of(policy, tier, "f"), need_of(policy, tier, "other"))
