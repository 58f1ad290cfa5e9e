"""``disinto secrets`` about tokens of sidecars' bots: none that may write is stored by mistake."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.cli import secrets
from dispatcher.cli.edge import run
from dispatcher.errors import Exit, Misconfigured
from dispatcher.vault import Vault, bot_secrets
from tests.fakes.token_scopes import forge_for

RULES = """
[projects.app]
repository = "own/app"
bot = "reader"
[rules.triage]
formula = "triage"
labels = ["bug"]
"""


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A directory of an operator, and what Vault holds: scopes in place of a token."""
    (tmp_path / "disinto.toml").write_text(
        '[forge]\nurl = "http://forge.test"\n[sidecars]\nfile = "sidecars.toml"\n'
        '[formulas.classes]\ntriage = "own"\n[jobs.own]\n'
    )
    (tmp_path / "sidecars.toml").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISINTO_CONFIG", raising=False)
    tokens: dict[str, str] = {}

    def put_bot(name: str, token: str) -> int:
        tokens[name] = token
        return len(tokens)

    def bot_token(_vault: object, name: str) -> str:
        if name not in tokens:
            raise Misconfigured("there is none")
        return tokens[name]

    vault: Any = SimpleNamespace(put_bot=put_bot, bots=lambda: sorted(tokens))
    monkeypatch.setattr(secrets, "_secrets", lambda _session: vault)
    monkeypatch.setattr(secrets, "_opened", lambda _s: lambda token: forge_for(token.split()))
    monkeypatch.setattr(Vault, "of_operator", lambda *_a, **_k: None)
    monkeypatch.setattr(bot_secrets, "bot_token", bot_token)
    return tokens


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], int]:
    def call(name: str, token: str) -> int:
        given = io.TextIOWrapper(io.BytesIO(token.encode()))
        monkeypatch.setattr(sys, "stdin", given)
        return run(["secrets", "put", "--bot", name])

    return call


def test_a_token_that_only_reads_is_stored(
    stored: dict[str, str], put: Callable[[str, str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert put("reader", "read:issue") == Exit.OK
    assert stored == {"reader": "read:issue"}
    assert "it only reads" in capsys.readouterr().err


def test_a_token_that_may_write_is_not(
    stored: dict[str, str],
    put: Callable[[str, str], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert put("reader", "write:issue") == Exit.DATAERR
    said = capsys.readouterr().err
    assert "not stored: it may write (issue)" in said
    assert "writing_token = true" in said
    assert stored == {}
    # other bots are not the sidecars' affair
    assert put("another", "write:issue") == Exit.OK
    # a rule may ask for it
    (tmp_path / "sidecars.toml").write_text(f"{RULES}writing_token = true\n")
    assert put("reader", "write:issue") == Exit.OK
    assert "as rule triage asks for" in capsys.readouterr().err


def test_a_token_that_cannot_be_checked_is_stored_and_that_is_said(
    stored: dict[str, str], put: Callable[[str, str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert put("reader", "read:repository") == Exit.OK
    assert "it cannot be checked: the forge answered 403" in capsys.readouterr().err


def test_those_that_are_stored_are_checked(
    stored: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["secrets", "list", "--bots", "--check"]) == Exit.OK
    )  # it is missing, as the list says
    stored["reader"] = "read:issue"
    assert run(["secrets", "list", "--bots", "--check"]) == Exit.OK
    assert "ok     reader: it only reads" in capsys.readouterr().out
    stored["reader"] = "write:issue"
    assert run(["secrets", "list", "--bots", "--check"]) == Exit.FAILED
    assert "FAIL   reader: it may write (issue)" in capsys.readouterr().out
    assert run(["secrets", "list", "--bots", "--check", "--json"]) == Exit.FAILED
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["check"]["ok"], row["check"]["writes"]) == ("reader", False, True)
    assert run(["secrets", "list", "--bots"]) == Exit.OK
    assert run(["secrets", "list", "--check"]) == Exit.USAGE
