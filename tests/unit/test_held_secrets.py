"""No notification contains a credential that the dispatcher read for itself, wherever it was from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.engines.nomad.api.connection import _Token
from dispatcher.host.held_secrets import _KEPT, held_secrets, hold
from dispatcher.notify.secrets import known_secrets
from dispatcher.notify.text import Cleaner
from dispatcher.settings import Settings, VaultSettings
from dispatcher.vault.bot_secrets import bot_token
from dispatcher.vault.http import Reply
from dispatcher.vault.login import Login, token_source
from dispatcher.vault.token import TokenKeeper


def cleaned(text: str) -> str:
    return Cleaner(lambda: known_secrets(Settings(), {})).line(text)


def reads_a_bots_token(_home: Path, canary: str) -> None:
    """Such as ``[forge] token_secret``."""
    reply = Reply(status=200, body={"data": {"data": {"value": canary}}})
    vault: Any = SimpleNamespace(settings=VaultSettings(), call=lambda *_a, **_k: reply)
    assert bot_token(vault, "forge") == canary


def logs_in(_home: Path, canary: str) -> None:
    log_in: Any = SimpleNamespace(log_in=lambda: Login(token=canary, ttl_s=0.0, renewable=False))
    assert TokenKeeper(log_in).current().token == canary


def logs_in_again(home: Path, canary: str) -> None:
    tokens = iter(["canary-of-a-dead-token", canary])
    log_in: Any = SimpleNamespace(
        log_in=lambda: Login(token=next(tokens), ttl_s=0.0, renewable=False)
    )
    keeper = TokenKeeper(log_in)
    assert keeper.replaced(keeper.current()).token == canary
    assert "canary" not in cleaned("it was canary-of-a-dead-token"), home


def reads_the_persons_token(home: Path, canary: str) -> None:
    (home / ".vault-token").write_text(canary)
    assert token_source(VaultSettings(), {"HOME": str(home)})[0] == canary


def reads_nomads_identity(home: Path, canary: str) -> None:
    (home / "nomad_token").write_text(canary)
    header = _Token(None, {"NOMAD_SECRETS_DIR": str(home)}).header()
    assert list(header.values()) == [canary]


@pytest.mark.parametrize(
    "reads",
    [
        reads_a_bots_token,
        logs_in,
        logs_in_again,
        reads_the_persons_token,
        reads_nomads_identity,
    ],
)
def test_what_was_read_is_redacted(tmp_path: Path, reads: Any) -> None:
    canary = f"canary-of-{reads.__name__}-0123456789"
    reads(tmp_path, canary)
    told = cleaned(f"fatal: https://bot:{canary}@git.example/ops failed, and {canary[:-1]} is cut")
    assert canary not in told
    assert "[redacted:" in told


def test_what_is_held_is_bounded_and_the_newest_stay() -> None:
    for number in range(_KEPT * 2):
        assert hold("a token", f"canary-{number}") == f"canary-{number}"
    hold("nothing", "")
    held = held_secrets()
    assert len(held) == _KEPT
    assert held[-1] == ("a token", f"canary-{_KEPT * 2 - 1}")
    assert "canary" not in cleaned(f"canary-{_KEPT} canary-{_KEPT * 2 - 1}")
