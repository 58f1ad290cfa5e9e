"""What ``disinto doctor`` says of approvals that a tier or formula can or cannot get."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from dispatcher.decide.policy import parse_policy
from dispatcher.errors import Misconfigured
from dispatcher.forge import ForgeApi
from dispatcher.forge.records import User
from dispatcher.model.checks import Check
from dispatcher.operate.approval_checks import check_approvals
from dispatcher.settings import Settings


def key(seed: str) -> str:
    """A public key, a different one for each seed."""
    name = b"ssh-ed25519"
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + seed.encode() * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


THREE = {"ada": "1", "bob": "2", "carol": "3"}


class Teams:
    """A forge with one team."""

    def team_members(self, team: str) -> Sequence[User]:
        members = {"o/two": ("sam", "sue"), "o/none": ()}
        if team not in members:
            raise Misconfigured(f"the forge has no team {team!r}", remedy="Correct it.")
        return [User(id=n, login=login) for n, login in enumerate(members[team], start=1)]


def checked(
    text: str, folder: Path, *, keys: dict[str, str] | None = None, **settings: Any
) -> list[Check]:
    lines = [f"{name} {key(seed)}\n" for name, seed in (THREE if keys is None else keys).items()]
    (folder / "allowed").write_text("".join(lines))
    made = Settings.model_validate(
        {
            "policy": {"gate": "signed"},
            "signed": {"allowed_signers": str(folder / "allowed")},
            **settings,
        }
    )
    policy = parse_policy(text.encode(), path="policy.toml")
    return list(check_approvals(policy, made, lambda: cast(ForgeApi, Teams())))


FORGE = {"policy": {"gate": "forgejo"}, "forge": {"url": "https://f.test", "repository": "o/r"}}


def test_nothing_is_said_of_a_policy_without_these_tables(tmp_path: Path) -> None:
    assert checked("[tiers]\nx = 'high'\n", tmp_path) == []
    assert checked("[approval.high]\napprovals = 1\n", tmp_path) == []


def test_enough_people(tmp_path: Path) -> None:
    (check,) = checked("[approval.high]\napprovals = 2\n", tmp_path)
    assert check.ok
    assert not check.remedy
    assert check.detail == "[approval.high] needs 2 approvals; 3 could give one"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[approval.high]\napprovals = 4",
            "needs 4 approvals, but only 3 could give one (ada, bob",
        ),
        (
            "[approval.high]\napprovals = 3\n[people]\nada = ['bob']",
            "needs 3 approvals, but only 2 could give one (ada or carol)",
        ),
        (
            "[approval.medium]\napprovals = 2\nteams = ['t']\n[teams]\nt = ['ada', 'nobody']",
            "needs 2 approvals of t, but only 1 could give one (ada)",
        ),
        ("[approval.high]\nteams = ['t']\n[teams]\nt = []", "team t has no members"),
        ("[approval.high]\nteams = ['o/two']", "o/two is a team of a forge"),
        (
            "[approval.high]\napprovals = 3\nauthor_may_sign = false",
            "the only approvers are the authors: 3 people have a key (ada, bob or carol)",
        ),
        (
            "[formulas.x.approval]\napprovals = 9",
            "[formulas.x.approval] needs 9 approvals, but only 3 could give one",
        ),
    ],
)
def test_what_can_never_be_approved_fails(text: str, words: str, tmp_path: Path) -> None:
    (check,) = checked(text, tmp_path)
    assert not check.ok
    assert words in check.detail
    assert check.remedy


def test_a_revoked_key_gives_no_approval(tmp_path: Path) -> None:
    (tmp_path / "revoked").write_text(key("1") + "\n")
    signed = {
        "allowed_signers": str(tmp_path / "allowed"),
        "revoked_keys": str(tmp_path / "revoked"),
    }
    (check,) = checked("[approval.high]\napprovals = 3\n", tmp_path, signed=signed)
    assert "only 2 could give one" in check.detail


def test_patterns_and_authorities_may_stand_for_anybody(tmp_path: Path) -> None:
    (check,) = checked("[approval.high]\napprovals = 3\n", tmp_path, keys={"*@example.org": "1"})
    assert check.ok


def test_a_warning_if_nobody_may_be_missing_and_if_two_share_a_key(tmp_path: Path) -> None:
    (all_of_them,) = checked("[approval.high]\napprovals = 3\n", tmp_path)
    assert all_of_them.warning
    shared = {"ada": "1", "bob": "1", "carol": "2"}
    checks = checked("[approval.high]\napprovals = 2\n", tmp_path, keys=shared)
    assert [c.detail for c in checks if c.name == "approvals: keys"] == [
        "ada and bob have a key in common, so they count as one person"
    ]


def test_without_a_gate_nothing_can_be_approved(tmp_path: Path) -> None:
    (check,) = checked("[approval.high]\napprovals = 2\n", tmp_path, policy={"gate": "none"})
    assert (check.ok, check.detail) == (False, "no gate is configured")


@pytest.mark.parametrize(
    ("text", "ok", "words"),
    [
        ("[approval.high]\napprovals = 2", True, "needs 2 approvals"),
        ("[approval.high]\napprovals = 2\nteams = ['o/two']", True, "2 could give one"),
        ("[approval.high]\napprovals = 3\nteams = ['o/two']", False, "only 2 could give one"),
        ("[approval.high]\nteams = ['o/none']", False, "only 0 could give one (nobody)"),
        ("[approval.high]\nteams = ['o/typo']", False, "the forge has no team 'o/typo'"),
    ],
)
def test_with_a_forge_its_teams_are_asked_for(
    text: str, ok: bool, words: str, tmp_path: Path
) -> None:
    (check,) = checked(text, tmp_path, **FORGE)
    assert check.ok is ok
    assert words in check.detail


def test_named_approvers_are_counted_too(tmp_path: Path) -> None:
    forge = {"forge": {**FORGE["forge"], "approvers": ["boss"]}}
    (check,) = checked("[approval.high]\napprovals = 2\n", tmp_path, **{**FORGE, **forge})
    assert "only 1 could give one (boss)" in check.detail
