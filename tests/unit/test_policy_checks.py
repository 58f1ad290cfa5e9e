"""What ``disinto doctor`` says of a policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.decide.policy import FormulaPolicy, Policy, parse_policy
from dispatcher.model.checks import Check
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Tier
from dispatcher.operate.policy_checks import check_names, check_policy

FILE = Path("policy.toml")
LOW = {"hello": Tier.LOW, "report": Tier.MEDIUM, "deploy": Tier.HIGH}


def warnings(policy: Policy) -> list[str]:
    checks: list[Check] = list(check_policy(policy, FILE))
    assert all(check.ok for check in checks)
    return [check.name for check in checks if check.warning]


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (Policy(tiers=LOW), ["policy: secrets", "policy: mounts"]),
        (Policy(tiers=LOW, secrets={}), ["policy: mounts"]),
        (Policy(tiers=LOW, mounts={}), ["policy: secrets"]),
        (Policy(tiers=LOW, secrets={}, mounts={}), []),
        (
            Policy(
                tiers=LOW, formulas={"hello": FormulaPolicy(secrets=("A",), mounts=(Mount.SSH,))}
            ),
            [],
        ),
        (
            Policy(formulas={"hello": FormulaPolicy(tier=Tier.LOW)}),
            ["policy: secrets", "policy: mounts"],
        ),
        (Policy(tiers={"deploy": Tier.HIGH}), []),
        (Policy(), []),
    ],
)
def test_a_policy_that_leaves_secrets_or_mounts_open_is_warned_about(
    policy: Policy, names: list[str]
) -> None:
    assert warnings(policy) == names


def test_the_warning_says_what_to_write() -> None:
    check = next(c for c in check_policy(Policy(tiers=LOW), FILE) if c.name == "policy: secrets")
    assert "pass any of the secrets to hello and 1 more" in check.detail
    assert "[formulas.hello] secrets = [...]" in check.remedy


def test_without_a_file_there_is_nothing_to_warn_about() -> None:
    (check,) = check_policy(Policy(), None)
    assert not check.warning


CONTROLS = """
[tiers]
nothing = "low"
[freeze]
zone = "Europe/Berlin"
[freeze.windows.weekend]
days = ["sat"]
formulas = ["deploy", "deplyo", "restrat"]
[freeze.windows.night]
start = "22:00"
exempt = ["backup", "bakcup"]
[formulas.hallo]
lock = "x"
[formulas.hello]
lock = "x"
[formulas.zzz]
approval = { approvals = 2 }
"""


def test_controls_of_formulas_that_do_not_exist_are_warned_about() -> None:
    policy = parse_policy(CONTROLS.encode(), path="policy.toml")
    known = {"deploy", "restart", "backup", "hello"}
    checks = list(check_names(policy, FILE, known))
    assert all(check.ok and check.warning for check in checks)
    assert {check.name: check.remedy for check in checks} == {
        "policy: freeze.windows.weekend.formulas": 'Did you mean "deploy"?',
        "policy: freeze.windows.night.exempt": 'Did you mean "backup"?',
        "policy: formulas.hallo.lock": 'Did you mean "hello"?',
        "policy: formulas.zzz.approval": "Correct the name, add the formula, or remove the entry.",
    }
    assert "the formula deplyo and 1 more in freeze" in checks[0].detail
    every = known | {"deplyo", "restrat", "bakcup", "hallo", "zzz"}
    assert not list(check_names(policy, FILE, every))
