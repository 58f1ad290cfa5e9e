"""Tiers: read with care, raised by action, secrets and mounts, never lowered."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.decide.policy import FormulaPolicy, Policy, load_policy, parse_policy
from dispatcher.decide.tiers import Item, effective_tier
from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.model.action import Action
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Tier


def action(
    formula: str = "hello",
    asked: Tier | None = None,
    *,
    secrets: tuple[str, ...] = (),
    mounts: tuple[Mount, ...] = (),
) -> Action:
    return Action(
        id="a", formula=formula, context="", secrets=secrets, mounts=mounts, blast_radius=asked
    )


def test_a_policy_gives_tiers_to_formulas() -> None:
    policy = parse_policy(b'[tiers]\nhello = "low"\ndeploy = "high"\n', path="policy.toml")
    assert policy == Policy(tiers={"hello": Tier.LOW, "deploy": Tier.HIGH})
    assert parse_policy(b"", path="policy.toml") == Policy()


def test_a_policy_gives_tiers_to_secrets_and_mounts() -> None:
    text = b"""
[tiers]
deploy = "low"
[formulas.deploy]
secrets = ["DEPLOY_*"]
mounts = ["ssh"]
[formulas.report]
tier = "medium"
[secrets]
"PROD_*" = "high"
[mounts]
ssh = "medium"
"""
    assert parse_policy(text, path="policy.toml") == Policy(
        tiers={"deploy": Tier.LOW},
        formulas={
            "deploy": FormulaPolicy(secrets=("DEPLOY_*",), mounts=(Mount.SSH,)),
            "report": FormulaPolicy(tier=Tier.MEDIUM),
        },
        secrets={"PROD_*": Tier.HIGH},
        mounts={Mount.SSH: Tier.MEDIUM},
    )


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
            'policy.toml:1:2: unknown key "tier". Did you mean "ti',
        ),
        (
            '[tiers]\n"Hello" = "low"',
            'policy.toml:2:11: "Hello" cannot be used as a formula\'s name',
        ),
        ("tiers = ['a']", "policy.toml:1:9: tiers must be a table, not a list"),
        ("tiers = {", "policy.toml:1:"),
        ("[tiers]\na = 'low'\na = 'high'", "policy.toml:3:1: tiers.a is given twice"),
        (
            '[secrets]\nA = "low"\n"prod-*" = "high"',
            'policy.toml:3:12: "prod-*" matches no secret. Use A-Z, 0-9 and _, and * or ?',
        ),
        ('[secrets]\n"[AB]*" = "low"', 'policy.toml:2:11: "[AB]*" matches no secret'),
        ('[secrets]\nA = "lwo"', "policy.toml:2:5: secrets.A must be low, medium or high"),
        (
            '[mounts]\nshh = "low"',
            'policy.toml:2:1: unknown key "shh" in [mounts]. Did you mean "ssh',
        ),
        (
            '[formulas.deploy]\nsecrets = ["A", "b"]',
            'policy.toml:2:17: "b" matches no secret',
        ),
        ('[formulas.deploy]\nmounts = ["shh"]', "policy.toml:2:11: formulas.deploy.mounts[0] must"),
        (
            '[formulas.deploy]\nsecret = ["A"]',
            'policy.toml:2:1: unknown key "secret" in [formulas.de',
        ),
        ('[formulas.Deploy]\ntier = "low"', '"Deploy" cannot be used as a formula\'s name'),
        (
            '[tiers]\ndeploy = "low"\n[formulas.deploy]\ntier = "high"',
            'policy.toml:4:8: the tier of "deploy" is given twice. Remove it here or from [tiers]',
        ),
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
        'the policy does not name "other", so it is high; the action requests low, and an action '
        "cannot lower it"
    )
    raised = effective_tier(policy, action(asked=Tier.HIGH))
    assert raised.raised == "the action raises it to high"
    assert raised.reason.endswith("; the action raises it to high")


LOW, MEDIUM, HIGH = Tier
SECRETS = {
    "*": MEDIUM,
    "PROD_*": HIGH,
    "PROD_READ*": MEDIUM,
    "PROD_READ_ONLY": LOW,
    "SAME_?X": LOW,
    "SAME_X?": MEDIUM,
    "SAME_*": HIGH,
}
TRUSTED = FormulaPolicy(secrets=("DEPLOY_*", "PROD_DB"), mounts=(Mount.SSH,))


@pytest.mark.parametrize(
    ("policy", "asked", "tier", "raised"),
    [
        # a policy without the tables keeps its meaning
        (Policy(tiers={"hello": LOW}), action(secrets=("PROD_DB",), mounts=(Mount.SSH,)), LOW, ""),
        # with the tables, what is not named is high
        (
            Policy(tiers={"hello": LOW}, secrets={}),
            action(secrets=("TOKEN",)),
            HIGH,
            "secret TOKEN raises it to high (not named in [secrets])",
        ),
        (
            Policy(tiers={"hello": LOW}, mounts={}),
            action(mounts=(Mount.SSH,)),
            HIGH,
            "mount ssh raises it to high (not named in [mounts])",
        ),
        # the tables do not judge each other's items
        (Policy(tiers={"hello": LOW}, secrets={}), action(mounts=(Mount.SSH,)), LOW, ""),
        (Policy(tiers={"hello": LOW}, mounts={}), action(secrets=("TOKEN",)), LOW, ""),
        # nothing handed over, nothing raised
        (Policy(tiers={"hello": LOW}, secrets={}, mounts={}), action(), LOW, ""),
        # the most specific entry counts
        (
            Policy(tiers={"hello": LOW}, secrets=SECRETS),
            action(secrets=("OTHER",)),
            MEDIUM,
            "secret OTHER raises it to medium ([secrets] *)",
        ),
        (
            Policy(tiers={"hello": LOW}, secrets=SECRETS),
            action(secrets=("PROD_DB_PASSWORD",)),
            HIGH,
            "secret PROD_DB_PASSWORD raises it to high ([secrets] PROD_*)",
        ),
        (
            Policy(tiers={"hello": LOW}, secrets=SECRETS),
            action(secrets=("PROD_READER",)),
            MEDIUM,
            "secret PROD_READER raises it to medium ([secrets] PROD_READ*)",
        ),
        (
            Policy(tiers={"hello": LOW}, secrets=SECRETS),
            action(secrets=("PROD_READ_ONLY",)),
            LOW,
            "",
        ),
        # of two that are equally specific the higher tier counts: never the order in the file
        (
            Policy(tiers={"hello": LOW}, secrets={"A*Z": LOW, "A?Z": HIGH}),
            action(secrets=("AXZ",)),
            HIGH,
            "secret AXZ raises it to high ([secrets] A?Z)",
        ),
        (
            Policy(tiers={"hello": LOW}, secrets={"A?Z": HIGH, "A*Z": LOW}),
            action(secrets=("AXZ",)),
            HIGH,
            "secret AXZ raises it to high ([secrets] A?Z)",
        ),
        # globs know case, and match whole names
        (
            Policy(tiers={"hello": LOW}, secrets={"TOKEN": LOW}),
            action(secrets=("TOKEN_B",)),
            HIGH,
            "secret TOKEN_B raises it to high (not named in [secrets])",
        ),
        # a formula's own list
        (
            Policy(tiers={"hello": LOW}, formulas={"hello": TRUSTED}, secrets=SECRETS, mounts={}),
            action(secrets=("DEPLOY_TOKEN", "PROD_DB"), mounts=(Mount.SSH,)),
            LOW,
            "",
        ),
        (
            Policy(tiers={"hello": LOW}, formulas={"hello": TRUSTED}, secrets=SECRETS),
            action(secrets=("DEPLOY_TOKEN", "PROD_DB_2")),
            HIGH,
            "secret PROD_DB_2 raises it to high ([secrets] PROD_*)",
        ),
        # ... is for that formula alone
        (
            Policy(tiers={"hello": LOW, "other": LOW}, formulas={"hello": TRUSTED}, secrets={}),
            action("other", secrets=("DEPLOY_TOKEN",)),
            HIGH,
            "secret DEPLOY_TOKEN raises it to high (not named in [secrets])",
        ),
        # ... and makes secrets count where the policy has no table for them
        (
            Policy(tiers={"hello": LOW, "other": LOW}, formulas={"hello": TRUSTED}),
            action("other", secrets=("DEPLOY_TOKEN",)),
            HIGH,
            "secret DEPLOY_TOKEN raises it to high (not named in [secrets])",
        ),
        # it does not lower what the formula or the action asks for
        (
            Policy(formulas={"hello": TRUSTED}, secrets={}),
            action(secrets=("DEPLOY_TOKEN",)),
            HIGH,
            "",
        ),
        (
            Policy(tiers={"hello": LOW}, formulas={"hello": TRUSTED}, secrets={}),
            action(asked=MEDIUM, secrets=("DEPLOY_TOKEN",)),
            MEDIUM,
            "the action raises it to medium",
        ),
        # all that raise it are named, up to a few
        (
            Policy(tiers={"hello": LOW}, secrets={}, mounts={}),
            action(asked=HIGH, secrets=("A",), mounts=(Mount.SSH,)),
            HIGH,
            "the action, secret A and mount ssh raise it to high",
        ),
        (
            Policy(tiers={"hello": LOW}, secrets={"LOW_*": LOW, "M": MEDIUM}),
            action(secrets=("A", "B", "LOW_X", "M")),
            HIGH,
            "secret A and secret B raise it to high",
        ),
        (
            Policy(tiers={"hello": LOW}, secrets={}),
            action(secrets=("A", "B", "C", "D", "E")),
            HIGH,
            "secret A, secret B, secret C and 2 more raise it to high",
        ),
    ],
)
def test_the_highest_of_all_contributions_counts(
    policy: Policy, asked: Action, tier: Tier, raised: str
) -> None:
    decision = effective_tier(policy, asked)
    assert (decision.tier, decision.raised) == (tier, raised)
    assert decision.reason.endswith(raised)


def test_all_contributions_are_listed() -> None:
    policy = Policy(
        tiers={"hello": LOW}, formulas={"hello": TRUSTED}, secrets=SECRETS, mounts={Mount.GPG: LOW}
    )
    asked = action(asked=MEDIUM, secrets=("DEPLOY_A", "PROD_B"), mounts=(Mount.SSH, Mount.GPG))
    listed = [(str(c), c.tier, c.source) for c in effective_tier(policy, asked).contributions]
    assert listed == [
        ("formula hello", LOW, 'the policy gives "hello" the tier low'),
        ("the action", MEDIUM, "blast_radius"),
        ("secret DEPLOY_A", LOW, "[formulas.hello] secrets DEPLOY_*"),
        ("secret PROD_B", HIGH, "[secrets] PROD_*"),
        ("mount ssh", LOW, "[formulas.hello] mounts"),
        ("mount gpg", LOW, "[mounts] gpg"),
    ]
    assert effective_tier(policy, asked).of(Item.SECRET) == {"DEPLOY_A": LOW, "PROD_B": HIGH}


tiers = st.sampled_from(list(Tier))
formulas = st.sampled_from(["hello", "deploy", "report"])
names = st.sampled_from(["A", "AB", "B_C"])
globs = st.sampled_from(["*", "A", "A*", "?B", "B_*"])
policies = st.builds(
    Policy,
    tiers=st.dictionaries(formulas, tiers),
    formulas=st.dictionaries(
        formulas, st.builds(FormulaPolicy, secrets=st.lists(globs, max_size=2).map(tuple))
    ),
    secrets=st.none() | st.dictionaries(globs, tiers),
    mounts=st.none() | st.dictionaries(st.sampled_from(list(Mount)), tiers),
)


@given(
    policy=policies,
    formula=formulas,
    asked=st.none() | tiers,
    secrets=st.lists(names, unique=True).map(tuple),
)
def test_nothing_lowers_a_tier(
    policy: Policy, formula: str, asked: Tier | None, secrets: tuple[str, ...]
) -> None:
    decision = effective_tier(policy, action(formula, asked, secrets=secrets))
    plain = effective_tier(policy, action(formula))
    assert plain.tier is policy.tiers.get(formula, HIGH)
    assert decision.contributions[0].tier is plain.tier
    assert decision.tier.rank >= max(plain.tier.rank, asked.rank if asked else 0)
    assert decision.tier.rank == max(c.tier.rank for c in decision.contributions)
    assert bool(decision.raised) == (decision.tier is not plain.tier)
    fewer = effective_tier(policy, action(formula, asked, secrets=secrets[1:]))
    assert fewer.tier.rank <= decision.tier.rank
