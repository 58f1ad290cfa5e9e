"""``disinto secrets`` on a real OpenBao."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from dispatcher.errors import Denied, Misconfigured, PermanentError
from dispatcher.settings import Settings, VaultSettings
from dispatcher.vault import Vault
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")


@pytest.fixture
def staged(vault: Bao) -> Iterator[Stage]:
    with stage(vault) as made:
        yield made


@pytest.fixture
def secrets(staged):
    return Secrets(staged.operator, staged.settings)


def test_a_secret_that_was_put_can_be_granted(staged, secrets):
    assert secrets.put("FRESH", "one") == 1
    assert secrets.put("FRESH", "two\nlines\n") == 2
    token = staged.unwrap(staged.grants().mint(KEY, ["FRESH"], lifetime_s=60))
    assert staged.read(token, "FRESH") == "two\nlines\n"


def test_the_listing_tells_versions_and_no_values(secrets, staged):
    secrets.put("LISTED", "canary-value")
    secrets.put("LISTED", "canary-value")
    staged.server.put("NO_POLICY", "x")
    staged.server.put("lower", "x")
    listed = {secret.name: secret for secret in secrets.list()}
    assert set(listed) == {"LISTED", "NO_POLICY"}
    assert listed["LISTED"].version == 2
    assert listed["LISTED"].has_policy
    assert not listed["NO_POLICY"].has_policy
    assert listed["LISTED"].updated_at.startswith("20")
    assert "canary-value" not in repr(listed)


def test_a_deleted_version_is_told(secrets, staged):
    secrets.put("DELETED", "x")
    staged.root.secrets.kv.v2.delete_latest_version_of_secret(
        path="disinto/runner/DELETED", mount_point=staged.server.kv_mount
    )
    assert [secret.deleted for secret in secrets.list()] == [True]


def test_removing_takes_the_policy_along(secrets, staged):
    secrets.put("GONE", "x")
    assert secrets.rm("GONE") is True
    assert secrets.rm("GONE") is False
    assert secrets.list() == []
    assert "disinto.default.runner.gone" not in staged.root.sys.list_acl_policies()["data"]["keys"]
    assert staged.grants().secret_names() == frozenset()


@pytest.mark.parametrize("name", ["lower", "WITH-HYPHEN", "1ST", "PATH", "LD_PRELOAD", "", "A/B"])
def test_a_bad_name_is_refused_with_what_would_be_right(secrets, name):
    with pytest.raises(PermanentError):
        secrets.put(name, "x")
    assert secrets.list() == []


LARGEST = 131_072 - len("FINE=\0")


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("a\0b", "contains a NUL byte"),
        ("x" * (LARGEST + 1), "has 131,067 bytes, more than the 131,066"),
        ("é" * (LARGEST // 2 + 1), "has 131,068 bytes, more than the 131,066"),
    ],
)
def test_a_value_that_cannot_be_an_environment_variable_is_refused(secrets, value, wrong):
    with pytest.raises(PermanentError, match=f"the value of FINE {wrong}") as told:
        secrets.put("FINE", value)
    assert "xx" not in str(told.value)
    assert secrets.list() == []


def test_the_largest_value_is_one_that_a_process_can_be_given(secrets):
    value = "x" * LARGEST
    assert secrets.put("FINE", value) == 1
    shown = subprocess.run(
        ["bash", "-c", 'printf %s "${#FINE}"'], env={"FINE": value}, capture_output=True, check=True
    )
    assert shown.stdout == str(LARGEST).encode()
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["/bin/true"], env={"FINE": value + "x"}, check=False)


def test_a_case_twin_is_refused_before_anything_is_written(secrets, staged):
    staged.server.put("api_token", "x")
    with pytest.raises(PermanentError, match="differ only in case"):
        secrets.put("API_TOKEN", "y")
    assert secrets.list() == []


def test_without_a_mount_it_says_what_to_do(vault):
    settings = Settings(vault=VaultSettings(addr=vault.addr, kv_mount="absent"))
    operator = Vault.of_operator(settings.vault, environ={"VAULT_TOKEN": vault.root_token})
    with pytest.raises(Misconfigured, match="no KV v2 engine at absent/"):
        Secrets(operator, settings).put("FINE", "x")


def test_the_dispatchers_own_token_may_do_none_of_it(staged):
    weak = Vault.of_operator(
        staged.settings.vault, environ={"VAULT_TOKEN": staged.dispatcher_token()}
    )
    secrets = Secrets(weak, staged.settings)
    with pytest.raises(Denied):
        secrets.put("FINE", "canary-value")
    with pytest.raises(Denied):
        secrets.rm("FINE")
