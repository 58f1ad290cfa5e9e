"""The name of an action's lock, and the keys and tables that controls have."""

from __future__ import annotations

import pytest

from dispatcher.decide.locks import lock_of
from dispatcher.decide.policy import Policy, parse_policy
from dispatcher.decide.tiers import effective_tier
from dispatcher.errors import InvalidInput
from dispatcher.ledger.codec import decode, encode
from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.run import Claim, Phase, RunKey, Tier
from dispatcher.operate.schema import action_schema, policy_schema

BASE = 'id = "a"\nformula = "deploy"\ncontext = ""\nsecrets = []\n'


def parsed(more: str) -> Action:
    action = parse_action((BASE + more).encode(), path="a.toml", stem="a")
    assert isinstance(action, Action), action
    return action


def problems(more: str) -> str:
    action = parse_action((BASE + more).encode(), path="a.toml", stem="a")
    assert isinstance(action, InvalidAction)
    return "\n".join(str(p) for p in action.problems)


def policy(text: str) -> Policy:
    return parse_policy(text.encode(), path="policy.toml")


TEMPLATE = '[formulas.deploy]\ntier = "low"\nlock = "deploy-{host}-{n}"\n'


def test_a_lock_is_the_actions_own_or_that_of_its_formula() -> None:
    assert lock_of(Policy(), parsed("")).name == ""
    assert lock_of(Policy(), parsed('lock = "web"')).name == "web"
    filled = 'params = {host = "web1", n = 2}'
    assert lock_of(policy(TEMPLATE), parsed(filled)).name == "deploy-web1-2"
    same = lock_of(policy(TEMPLATE), parsed(f'lock = "deploy-web1-2"\n{filled}'))
    assert (same.name, same.problem) == ("deploy-web1-2", "")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", "needs the parameter host"),
        ('params = {host = "web1"}', "needs the parameter n"),
        ("params = {host = true, n = 1}", "needs the parameter host"),
        ("params = {host = [1], n = 1}", "needs the parameter host"),
        ('params = {host = "", n = 1}', "cannot be part of the lock"),
        ('params = {host = "{n}", n = 1}', "cannot be part of the lock"),
        ('params = {host = "../x", n = 1}', "cannot be part of the lock"),
        (f'params = {{host = "{"h" * 99}", n = 1}}', "cannot be used as the name of a lock"),
        ('lock = "other"\nparams = {host = "h", n = 1}', "cannot take another"),
    ],
)
def test_an_action_cannot_leave_the_lock_of_its_formula(more: str, words: str) -> None:
    found = lock_of(policy(TEMPLATE), parsed(more))
    assert words in found.problem
    assert found.name == ""


def test_superseding_needs_a_lock_from_anywhere() -> None:
    assert "needs a lock" in lock_of(Policy(), parsed("supersedes = true")).problem
    more = 'supersedes = true\nparams = {host = "h", n = 1}'
    assert lock_of(policy(TEMPLATE), parsed(more)).problem == ""


def test_a_protected_lock_raises_the_tier_of_an_action_that_names_it() -> None:
    protected = policy(f'{TEMPLATE}[locks]\n"prod-*" = "high"\n"prod-docs" = "low"\n')
    free = {"prod-web": Tier.HIGH, "prod-docs": Tier.LOW, "staging": Tier.LOW}
    for name, tier in free.items():
        assert effective_tier(protected, parsed(f'lock = "{name}"')).tier is tier
    reason = effective_tier(protected, parsed('lock = "prod-web"')).reason
    assert "lock prod-web raises it to high ([locks] prod-*)" in reason
    given = policy('[formulas.deploy]\ntier = "low"\nlock = "prod-web"\n[locks]\n"*" = "high"\n')
    assert effective_tier(given, parsed("")).tier is Tier.LOW


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[formulas.d]\nlock = "Deploy"', "cannot become the name of a lock"),
        ('[formulas.d]\nlock = "a-{host"', "cannot become the name of a lock"),
        ('[formulas.d]\nlock = "a-{}"', "cannot become the name of a lock"),
        ('[locks]\n"PROD" = "high"', "matches no lock"),
        ('[max_age]\nhigh = "soon"', "is not an age"),
        ('[max_age]\nhigh = "0s"', "is not an age"),
        ('[max_age]\nhigh = "99999d"', "is not an age"),
        ('[max_age]\nhuge = "1d"', "max_age"),
    ],
)
def test_a_wrong_policy_is_told(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        policy(text)
    assert words in str(caught.value)


def test_the_age_of_an_approval_is_given_by_tier() -> None:
    given = policy('[max_age]\nhigh = "7d"\nmedium = "12h"\n')
    assert [given.max_age_s(tier) for tier in Tier] == [None, 43_200.0, 604_800.0]


@pytest.mark.parametrize(
    "text",
    ['"2026-12-01T22:00:00+01:00"', "2026-12-01T22:00:00+01:00", '"2026-12-01T21:00:00.000Z"',
     "2026-12-01 21:00:00Z"],
)  # fmt: skip
def test_a_time_is_a_date_time_or_a_text(text: str) -> None:
    assert parsed(f"not_before = {text}").starts_at == 1_796_158_800.0
    assert parsed(f"expires = {text}").expires_at == 1_796_158_800.0


@pytest.mark.parametrize(
    "text",
    ['"2026-12-01T22:00:00"', "2026-12-01T22:00:00", "2026-12-01", "22:00:00", '"tomorrow"', '""',
     '"2026-13-01T22:00:00Z"', '"2026-12-01T22:00:60Z"', '"2026-12-01T22:00:00+01:00\\n"',
     f'"{"2" * 5_000}"'],
)  # fmt: skip
def test_a_time_without_an_offset_is_refused_with_an_example(text: str) -> None:
    told = problems(f"not_before = {text}")
    assert "is not a time with an offset" in told
    assert "a.toml:5:" in told


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('lock = "Prod"', "the name of a lock"),
        ('lock = ""', "the name of a lock"),
        ("lock = 1", "lock must be a string"),
        ('supersedes = "yes"', "supersedes must be true or false"),
        (
            "not_before = 2026-12-01T22:00:00Z\nexpires = 2026-12-01T23:00:00+01:00",
            "not later than not_before",
        ),
        ('after = ["a"]', "cannot run after itself"),
        ('after = ["b", "b"]', "repeats"),
        ('after = ["B"]', "an action's id"),
        ("after = " + str([f"b{n}" for n in range(21)]), "at most 20"),
        ('superseeds = true', 'Did you mean "supersedes"?'),
    ],
)  # fmt: skip
def test_a_wrong_key_is_told(more: str, words: str) -> None:
    assert words in problems(more)


def test_the_schemas_know_the_keys() -> None:
    keys = action_schema()["properties"]
    assert keys["not_before"]["format"] == "date-time"
    assert keys["after"]["maxItems"] == 20
    assert {"lock", "supersedes", "expires"} <= keys.keys()
    assert {"locks", "max_age"} <= policy_schema()["properties"].keys()


def test_a_claim_keeps_its_lock_and_one_of_before_has_none() -> None:
    claim = Claim(
        key=RunKey(action_id="a", blob="b"), phase=Phase.CLAIMED, commit="c", lock="web", version=3
    )
    assert decode(encode(claim), version=3, place="here") == claim
    before = encode(claim).replace('"lock":"web",', "")
    assert decode(before, version=3, place="here").lock == ""
