"""What approvals name: repository, branch, and one thing."""

from __future__ import annotations

import shlex

import pytest

from dispatcher.gate.trailer import Place
from dispatcher.operate.gate_checks import signed_gate
from dispatcher.settings import Settings
from dispatcher.settings.checks import contradictions
from dispatcher.settings.repository import name_from_remote

HERE = Place(repository="acme/ops", branch="main")


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("/srv/git/acme/ops.git", "acme/ops"),
        ("/srv/git/acme/ops.git/", "acme/ops"),
        ("/srv/acme/ops/.git", "acme/ops"),
        ("/ops.git", "ops"),
        ("ssh://git@forge.example:2222/acme/ops.git", "acme/ops"),
        ("https://forge.example/git/acme/ops.git", "acme/ops"),
        ("https://forge.example/ops", "ops"),
        ("git@forge.example:acme/ops.git", "acme/ops"),
        ("forge.example:ops.git", "ops"),
        ("/srv/a:b/ops.git", "a:b/ops"),
        ("", ""),
    ],
)
def test_the_remote_gives_the_default_name(remote: str, name: str) -> None:
    assert name_from_remote(remote) == name


@pytest.mark.parametrize(
    ("path", "trailer"),
    [
        ("vault/actions/deploy-website.toml", "Disinto-Approve: acme/ops@main deploy-website"),
        ("formulas/deploy.sh", "Disinto-Approve: acme/ops@main formulas/deploy.sh"),
        ("formulas/report.toml", "Disinto-Approve: acme/ops@main formulas/report.toml"),
    ],
)
def test_a_trailer_names_actions_by_id_and_formulas_by_path(path: str, trailer: str) -> None:
    assert HERE.trailer(path) == trailer


def test_the_command_is_safe_to_paste() -> None:
    odd = Place(repository="acme/ops;rm -rf ~", branch="main;x")
    words = shlex.split(odd.command("vault/actions/x.toml"))
    assert "Disinto-Approve: acme/ops;rm -rf ~@main;x x" in words
    assert "HEAD:main;x" in words


def settings(repository: str = "", remote: str = "/srv/acme/ops.git") -> Settings:
    return Settings.model_validate(
        {
            "ops_repo": {"remote": remote},
            "policy": {"gate": "signed"},
            "signed": {"allowed_signers": "/etc/disinto/allowed_signers"},
            "gate": {"repository": repository},
        }
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (settings(), []),
        (settings("production"), []),
        (settings(remote="/srv/my git/ops.git"), ['"my git/ops", which the remote gives, cannot']),
        (settings("a b"), ['"a b" cannot be']),
        (settings("a@b"), ['"a@b" cannot be']),
        (settings("production", remote="/srv/my git/ops.git"), []),
    ],
)
def test_the_name_is_one_word(given: Settings, words: list[str]) -> None:
    found = [c.message for c in contradictions(given)]
    assert len(found) == len(words)
    assert all(word in message for word, message in zip(words, found, strict=True))


def test_doctor_warns_while_the_name_is_the_default() -> None:
    checks = list(signed_gate(settings()))
    assert [check.name for check in checks if check.warning] == ["gate: repository"]
    assert "Disinto-Approve: acme/ops@main <id" in checks[0].detail
    assert not any(check.warning for check in signed_gate(settings("acme/ops")))
