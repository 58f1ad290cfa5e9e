"""Plain http to another machine is named wherever somebody looks; to the loopback it is right."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from dispatcher.assembly import build_components
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Misconfigured
from dispatcher.operate.doctor import Openers, diagnose
from dispatcher.settings import Settings, plain_addresses, settings_model
from dispatcher.settings.models import (
    ForgeSettings,
    OpsRepoSettings,
    VaultSettings,
)


def keys(settings: Settings) -> list[str]:
    return [plain.key for plain in plain_addresses(settings)]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8200",
        "http://127.8.9.1:8200",
        "http://[::1]:8200",
        "http://localhost:8200",
        "http://vault.localhost.:8200",
        "https://vault.example:8200",
        "HTTPS://vault.example",
    ],
)
def test_loopback_and_tls_are_right(address: str) -> None:
    assert keys(settings_model()(vault=VaultSettings(addr=address))) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://vault.example:8200",
        "HTTP://vault.example",
        "http://10.0.0.7:8200",
        "http://[fd00::7]:8200",
        "http://localhost.example:8200",
        "http://127.0.0.1.example:8200",
        "http://0.0.0.0:8200",
    ],
)
def test_another_machine_is_told(address: str) -> None:
    assert keys(settings_model()(vault=VaultSettings(addr=address))) == ["[vault] addr"]


def test_each_address_in_use_is_looked_at() -> None:
    settings = settings_model()(
        scheduler="nomad",
        vault=VaultSettings(addr="http://a.example", runner_addr="http://b.example"),
        nomad=NomadSettings(addr="http://c.example"),
        forge=ForgeSettings(url="http://d.example"),
        ops_repo=OpsRepoSettings(remote="http://ann:word@e.example:3000/ops/repo.git"),
    )
    assert keys(settings) == [
        "[vault] addr",
        "[vault] runner_addr",
        "[nomad] addr",
        "[forge] url",
        "[ops_repo] remote",
    ]
    assert plain_addresses(settings)[-1].address == "http://e.example:3000"
    local = settings.model_copy(update={"scheduler": "local"})
    assert "[nomad] addr" not in keys(local)


def never() -> NoReturn:
    raise Misconfigured("not looked at here")


def test_doctor_warns_and_finds_nothing_wrong_in_it() -> None:
    openers = Openers(
        repo=never,
        vault=never,
        ledger=never,
        leadership=never,
        policy=never,
        gate=never,
        forge=never,
    )
    settings = settings_model()(vault=VaultSettings(addr="http://vault.example:8200"))
    checks = {check.name: check for check in diagnose(settings, openers, {})}
    check = checks["encryption: [vault] addr"]
    assert check.ok
    assert "http://vault.example:8200" in check.detail
    assert "https://" in check.remedy


def test_status_and_health_warn(tmp_path: Path) -> None:
    settings = settings_model()(
        state_dir=tmp_path,
        ops_repo=OpsRepoSettings(remote=str(tmp_path / "ops.git")),
        vault=VaultSettings(addr="http://vault.example:8200"),
    )
    (warning,) = build_components(settings).warnings()
    assert warning.startswith("[vault] addr is http://vault.example:8200")
