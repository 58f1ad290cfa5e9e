"""More rows of ``attack_table``: tiers and signatures, on real git and OpenSSH."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.policy import parse_policy
from tests.acceptance.attack_table import shows
from tests.acceptance.test_attacks import ends
from tests.forge_stage import action_path, action_text
from tests.signed_stage import SignedStage

pytestmark = pytest.mark.needs("git", "ssh-keygen")

X = action_path("x")
POLICY = b"""
[tiers]
greet = "low"
deploy = "low"
[formulas.deploy]
secrets = ["PROD_*"]
[secrets]
"STAGING_*" = "low"
[mounts]
ssh = "high"
"""


@pytest.fixture
def signed(tmp_path: Path) -> SignedStage:
    return SignedStage.build(tmp_path)


@pytest.fixture
def strict(signed: SignedStage) -> SignedStage:
    """With a policy that judges secrets and mounts."""
    signed.judge.policy = parse_policy(POLICY, path="policy.toml")
    signed.judge.secrets = ("PROD_DB_PASSWORD", "STAGING_TOKEN")
    return signed


@shows("secret_under_low")
def test_secret_under_low(strict: SignedStage) -> None:
    strict.push({X: action_text("x", formula="greet", secrets='"STAGING_TOKEN"')})
    assert strict.outcome().outcome == "approved"
    strict.push({X: action_text("x", formula="greet", secrets='"PROD_DB_PASSWORD"')})
    ends("secret_under_low", strict.outcome())


@shows("mount_under_low")
def test_mount_under_low(strict: SignedStage) -> None:
    strict.push({X: action_text("x", formula="greet", extra='mounts = ["ssh"]\n')})
    ends("mount_under_low", strict.outcome())


@shows("trust_of_another_formula")
def test_trust_of_another_formula(strict: SignedStage) -> None:
    strict.push({X: action_text("x", formula="deploy", secrets='"PROD_DB_PASSWORD"')})
    assert strict.outcome().outcome == "approved"
    strict.push({X: action_text("x", formula="greet", secrets='"PROD_DB_PASSWORD"')})
    ends("trust_of_another_formula", strict.outcome())
