"""Nobody who holds a token follows a redirect with it: runner, dispatcher, Nomad's client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Unavailable, origin_of
from dispatcher.model.payload import decode_outcome, encode_payload
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import VaultSettings
from dispatcher.vault import Vault
from dispatcher.vault.hvac_client import hvac_client
from tests.servers import redirecting
from tests.servers.bao import Bao
from tests.servers.grants import Minter

STEPS = ("sys/wrapping/lookup", "sys/wrapping/unwrap", "auth/token/lookup-self", "/data/")


@pytest.mark.needs("bao")
@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("step", STEPS)
def test_the_runner_stops_at_a_redirect_and_sends_it_no_token(
    minter: Minter, tmp_path: Path, step: str, status: int
) -> None:
    minter.put("TOKEN", "one of the secrets")
    with redirecting.serve(minter.bao.addr, status=status, where=lambda path: step in path) as pair:
        spec = replace(minter.spec("echo started", secrets=("TOKEN",)), vault_addr=pair.addr)
        payload = encode_payload(spec, minter.mint("TOKEN"))
        outcome_file = tmp_path / "outcome.json"
        subprocess.run(
            [sys.executable, "-m", "dispatcher.runner", "--outcome", outcome_file],
            input=payload,
            capture_output=True,
            timeout=60,
            check=False,
        )
    outcome = decode_outcome(outcome_file.read_bytes())
    assert pair.arrived == []
    assert outcome.verdict is Verdict.ERROR
    assert not outcome.formula_started
    assert f"Vault at {pair.addr} answered with a redirect to {pair.target}" in outcome.error
    assert "[vault] addr" in outcome.error


def test_a_redirect_is_named_by_its_origin_alone() -> None:
    """Whoever answers chose the text: no path, no credentials, no control characters."""
    assert origin_of("https://user:pw@vault.example:8200/v1/x?token=abc") == (
        "https://vault.example:8200"
    )
    assert origin_of("/v1/elsewhere") == "another path"
    assert origin_of("http://[") == "another path"
    assert "\x1b" not in origin_of("http://a\x1b[31m/x")


@pytest.mark.needs("bao")
@pytest.mark.parametrize(
    "policies",
    [
        lambda vault: vault.call("LIST", "sys/policies/acl"),
        lambda vault: hvac_client(vault).sys.list_acl_policies(),
        lambda vault: hvac_client(vault).sys.read_acl_policy("default"),
        lambda vault: hvac_client(vault).write_data("sys/policies/acl/x", data={"policy": ""}),
    ],
    ids=["thin client", "hvac LIST", "hvac GET", "hvac POST"],
)
def test_the_dispatcher_sends_its_token_to_no_redirect(
    vault: Bao, policies: Callable[[Vault], object]
) -> None:
    with redirecting.serve(vault.addr, where=lambda path: "sys/policies" in path) as pair:
        settings = VaultSettings(addr=pair.addr)
        client = Vault(settings, environ={"VAULT_TOKEN": vault.root_token})
        with pytest.raises(Unavailable, match=r"redirect to http://127.0.0.1:\d+ .*not followed"):
            policies(client)
        assert client.health().problem == ""
        client.close()
    assert pair.arrived == []


def test_nomad_s_redirect_is_no_success_and_gets_no_token() -> None:
    with redirecting.serve() as pair:
        api = NomadApi(NomadSettings(addr=pair.addr), {"NOMAD_TOKEN": "secret-token"})
        with pytest.raises(Unavailable, match="redirect"):
            api.stop("some-job")
        with pytest.raises(Unavailable, match="redirect"):
            api.jobs(prefix="x", meta=True)
        api.close()
    assert pair.arrived == []
    assert len(pair.asked) == 2
