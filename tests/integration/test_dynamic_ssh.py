"""Dynamic secrets from OpenBao's SSH engine: signed certificates, and passwords that work once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import hvac.exceptions
import pytest
import tenacity

from dispatcher.settings.dynamic import DynamicSettings
from tests.servers.bao import Bao
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")

HOST = "127.0.0.1"


@pytest.fixture
def public_key(tmp_path: Path) -> str:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return key.with_suffix(".pub").read_text().strip()


@pytest.fixture
def staged(vault: Bao, public_key: str, request: pytest.FixtureRequest) -> Iterator[Stage]:
    client, mount = vault.client(), f"ssh-{request.node.name[5:15].replace('_', '-')}"
    client.sys.enable_secrets_engine("ssh", path=mount)
    client.write_data(f"{mount}/config/ca", data={"generate_signing_key": True})
    certificate = {
        "key_type": "ca",
        "allow_user_certificates": True,
        "allowed_users": "deploy",
        "default_user": "deploy",
        "max_ttl": "1h",
    }
    once = {"key_type": "otp", "default_user": "deploy", "cidr_list": f"{HOST}/32"}
    client.write_data(f"{mount}/roles/deploy", data=certificate)
    client.write_data(f"{mount}/roles/once", data=once)
    dynamic = {
        "CERT": DynamicSettings(
            path=f"{mount}/sign/deploy",
            fields={"CERT": "signed_key"},
            write={"public_key": public_key, "ttl": "15m"},
            require_lease=False,
        ),
        "PASSWORD": DynamicSettings(
            path=f"{mount}/creds/once", fields={"PASSWORD": "key"}, write={"ip": HOST}
        ),
    }
    with stage(vault, dynamic=dynamic) as made:
        yield made


def test_a_certificate_is_for_the_key_and_the_time_of_the_settings(
    staged: Stage, public_key: str, tmp_path: Path
) -> None:
    section = staged.settings.vault.dynamic["CERT"]
    assert section.write is not None
    token = staged.unwrap(staged.grants().mint(KEY, ["CERT"], lifetime_s=60))
    client = staged.server.client(token)
    answer = client.write_data(section.path, data=section.write)
    assert answer["lease_id"] == "", "which is why the settings say require_lease = false"

    file = tmp_path / "signed.pub"
    file.write_text(answer["data"]["signed_key"])
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", file], capture_output=True, text=True, check=True
    ).stdout
    assert "user certificate" in shown
    assert "deploy" in shown.split("Principals:")[1].split("Critical")[0]

    for other in ({"ttl": "1h"}, {"valid_principals": "root"}, {"cert_type": "host"}):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.write_data(section.path, data={**section.write, **other})


def test_a_password_does_not_work_after_the_run(staged: Stage) -> None:
    section = staged.settings.vault.dynamic["PASSWORD"]
    mount = section.path.partition("/")[0]
    grants = staged.grants()
    wrapped = grants.mint(KEY, ["PASSWORD"], lifetime_s=600)
    client = staged.server.client(staged.unwrap(wrapped))
    used, unused = (client.write_data(section.path, data=section.write) for _ in range(2))
    assert used["lease_id"]
    assert unused["lease_duration"] > 60
    with pytest.raises(hvac.exceptions.Forbidden):
        client.write_data(section.path, data={"ip": HOST, "username": "root"})

    def login(password: str) -> str:
        """What the host asks Vault when somebody logs in: whose password that is."""
        data = staged.root.write_data(f"{mount}/verify", data={"otp": password})["data"]
        return str(data["username"])

    assert login(used["data"]["key"]) == "deploy"

    grants.revoke(wrapped.grant)

    @tenacity.retry(stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.1), reraise=True)
    def refused() -> None:
        accessor = staged.root.list(f"sys/leases/lookup/{section.path}")
        assert accessor is None, "leases are left"

    refused()
    with pytest.raises(hvac.exceptions.InvalidRequest):
        login(unused["data"]["key"])
