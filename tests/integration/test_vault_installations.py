"""Several installations on one Vault, and policies that are not ours: nobody harms another."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hvac.exceptions
import pytest

from dispatcher.errors import Denied, Misconfigured
from dispatcher.settings import OpsRepoSettings, Settings, VaultSettings
from dispatcher.vault import Vault, names
from dispatcher.vault.apply import ChangeKind, NotOurs, apply_changes, plan_vault
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao
from tests.support.vault_stage import KEY, Stage

pytestmark = pytest.mark.needs("bao")

THEIRS = 'path "sys/*" { capabilities = ["sudo"] }\n'


@contextmanager
def installed(server: Bao, name: str, *, remote: str = "ops.git", **vault: Any) -> Iterator[Stage]:
    """An installation of this name, applied."""
    own = VaultSettings(addr=server.addr, kv_mount=server.kv_mount, installation=name, **vault)
    settings = Settings(vault=own, ops_repo=OpsRepoSettings(remote=remote))
    operator = Vault.of_operator(own, environ={"VAULT_TOKEN": server.root_token})
    try:
        made = Stage(server=server, settings=settings, operator=operator)
        made.apply()
        yield made
    finally:
        operator.close()


@pytest.fixture
def name() -> str:
    """Of an installation that no other test uses."""
    return f"t-{secrets.token_hex(4)}"


def policy(server: Bao, policy_name: str) -> str | None:
    try:
        return str(server.client().sys.read_acl_policy(policy_name)["data"]["policy"])
    except hvac.exceptions.InvalidPath:
        return None


def left(staged: Stage, *, remove: bool = False) -> dict[str, ChangeKind]:
    plan = plan_vault(staged.operator, staged.settings, remove_stale=remove)
    kinds = (ChangeKind.STALE, ChangeKind.DELETE)
    return {change.path: change.kind for change in plan if change.kind in kinds}


# -- what somebody else wrote -------------------------------------------------------------------


def test_a_policy_of_somebody_else_is_neither_written_over_nor_deleted(vault, name):
    with installed(vault, name) as staged:
        taken = f"disinto.{name}.runner.ci"
        vault.client().sys.create_or_update_acl_policy(taken, THEIRS)
        store = Secrets(staged.operator, staged.settings)
        for write in (
            lambda: store.put("CI", "value"),
            lambda: store.rm("CI"),
        ):
            with pytest.raises(NotOurs, match=rf"{taken} was not written by disinto") as told:
                write()
            assert "installation" in str(told.value)
        assert store.list() == []
        vault.put("CI", "value")
        with pytest.raises(NotOurs, match="left unchanged"):
            staged.apply()
        assert policy(vault, taken) == THEIRS


def test_remove_stale_leaves_what_is_not_ours(vault, name):
    with installed(vault, name) as staged:
        for other in (f"disinto.{name}.runner.theirs", "runner-theirs-ci", "runner-nobody_s"):
            vault.client().sys.create_or_update_acl_policy(other, THEIRS)
        assert not [path for path in left(staged, remove=True) if "theirs" in path or "_s" in path]
        apply_changes(
            staged.operator, plan_vault(staged.operator, staged.settings, remove_stale=True)
        )
        assert policy(vault, "runner-theirs-ci") == policy(vault, "runner-nobody_s") == THEIRS
        assert policy(vault, f"disinto.{name}.runner.theirs") == THEIRS


def test_doctor_names_policies_under_our_prefix_that_are_not_ours(vault, name):
    with installed(vault, name) as staged:
        own = Vault(staged.settings.vault, environ={"VAULT_TOKEN": staged.dispatcher_token()})
        assert all(check.ok for check in check_vault(own, staged.settings))
        vault.client().sys.create_or_update_acl_policy(f"disinto.{name}.runner.x", THEIRS)
        checks = {check.name: check for check in check_vault(own, staged.settings)}
        assert not checks["vault: owner of policies"].ok
        assert f"disinto.{name}.runner.x" in checks["vault: owner of policies"].detail
        own.close()


def test_a_token_role_for_other_policies_is_left_alone(vault, name):
    path = f"auth/token/roles/{name}"
    vault.client().write_data(path, data={"allowed_policies_glob": ["ci-*"]})
    with (
        pytest.raises(NotOurs, match=r"is for the policies ci-\*"),
        installed(vault, name, token_role=name),
    ):
        pass
    assert vault.client().read(path)["data"]["allowed_policies_glob"] == ["ci-*"]


# -- two installations ---------------------------------------------------------------------------


def test_no_installation_mints_with_a_policy_of_another(vault, name):
    """Also where the one's name begins with the other's."""
    with installed(vault, name) as one, installed(vault, f"{name}-eu", remote="eu.git") as two:
        one.put(TOKEN="one")
        two.put(TOKEN="two")
        for mine, other in ((one, two), (two, one)):
            client = vault.client(mine.dispatcher_token())
            role = names.token_role(mine.settings.vault)
            for foreign in (
                names.policy_of(other.settings.vault, "TOKEN"),
                names.lookup_self_policy(other.settings.vault),
                names.dispatcher_policy(other.settings.vault),
                "runner-anything",
            ):
                with pytest.raises(hvac.exceptions.VaultError):
                    client.write_data(
                        f"auth/token/create/{role}", data={"policies": [foreign]}, wrap_ttl="60s"
                    )
            other_role = names.token_role(other.settings.vault)
            with pytest.raises(hvac.exceptions.Forbidden):
                client.write_data(f"auth/token/create/{other_role}", data={}, wrap_ttl="60s")
            assert mine.grants().mint(KEY, ["TOKEN"], lifetime_s=60).grant.policies


@pytest.mark.parametrize("adopt", [False, True])
def test_a_copy_of_the_settings_redirects_no_policy_of_the_original(vault, name, adopt):
    """Staging, from production's file: another ops repo, another folder of secrets, the same name."""
    with installed(vault, name) as production:
        production.put(TOKEN="of production")
        before = policy(vault, f"disinto.{name}.runner.token")
        own = VaultSettings(
            addr=vault.addr,
            kv_mount=vault.kv_mount,
            installation=name,
            kv_prefix="staging/runner",
            bots_prefix="staging/bots",
        )
        staging = Settings(vault=own, ops_repo=OpsRepoSettings(remote="staging.git"))
        if adopt:  # said deliberately
            plan = plan_vault(production.operator, staging, adopt=True)
            assert any(change.kind is ChangeKind.UPDATE for change in plan)
            return
        with pytest.raises(NotOurs, match="belongs to the installation") as told:
            plan_vault(production.operator, staging)
        assert "--adopt" in str(told.value)
        with pytest.raises(NotOurs):
            Secrets(production.operator, staging).put("TOKEN", "of staging")
        assert policy(vault, f"disinto.{name}.runner.token") == before
        checks = check_vault(
            Vault(own, environ={"VAULT_TOKEN": production.dispatcher_token()}), staging
        )
        failed = {check.name: check.detail for check in checks if not check.ok}
        assert "not written by the installation" in failed["vault: owner of policies"]


# -- from an earlier release ---------------------------------------------------------------------


def legacy(server: Bao, *, kv_mount: str) -> None:
    """What version 1 wrote: names without an installation, texts without a mark."""
    client = server.client()
    path = f"{kv_mount}/data/disinto/runner/TOKEN"
    head = "# One secret of actions. A run's token holds one such policy for each secret its action names."
    client.sys.create_or_update_acl_policy(
        "runner-token", f'{head}\npath "{path}" {{\n  capabilities = ["read"]\n}}\n'
    )
    client.write_data(
        "auth/token/roles/disinto-runner",
        data={
            "allowed_policies_glob": ["runner-*"],
            "orphan": True,
            "renewable": True,
            "token_no_default_policy": True,
            "token_type": "service",
        },
    )


def test_the_step_from_an_earlier_release_is_a_diff(vault, name):
    legacy(vault, kv_mount=vault.kv_mount)
    vault.put("TOKEN", "kept")
    own = VaultSettings(addr=vault.addr, kv_mount=vault.kv_mount, installation=name)
    settings = Settings(vault=own, ops_repo=OpsRepoSettings(remote="ops.git"))
    operator = Vault.of_operator(own, environ={"VAULT_TOKEN": vault.root_token})
    staged = Stage(server=vault, settings=settings, operator=operator)
    created = {c.path for c in plan_vault(operator, settings) if c.kind is ChangeKind.CREATE}
    assert created == {
        f"sys/policies/acl/disinto.{name}.dispatcher",
        f"sys/policies/acl/disinto.{name}.page",
        f"sys/policies/acl/disinto.{name}.runner.lookup-self",
        f"sys/policies/acl/disinto.{name}.runner.token",
        f"auth/token/roles/disinto.{name}.runner",
    }
    staged.apply()
    assert policy(vault, "runner-token")  # a running dispatcher of the earlier release needs it
    stale = left(staged)
    assert stale["sys/policies/acl/runner-token"] is ChangeKind.STALE
    assert stale["auth/token/roles/disinto-runner"] is ChangeKind.STALE
    wrapped = staged.grants().mint(KEY, ["TOKEN"], lifetime_s=60)
    assert staged.read(staged.unwrap(wrapped), "TOKEN") == "kept"
    apply_changes(operator, plan_vault(operator, settings, remove_stale=True))
    assert policy(vault, "runner-token") is None
    assert left(staged) == {}
    operator.close()


def test_a_changed_policy_of_an_earlier_release_is_not_provably_ours(vault, name):
    legacy(vault, kv_mount=vault.kv_mount)
    client = vault.client()
    text = client.sys.read_acl_policy("runner-token")["data"]["policy"]
    client.sys.create_or_update_acl_policy("runner-token", text + THEIRS)
    with installed(vault, name) as staged:
        assert "sys/policies/acl/runner-token" not in left(staged)


# -- the longest life -----------------------------------------------------------------------------


def test_no_grant_outlives_the_longest_run_and_the_longest_run_can_be_had(vault, name):
    with installed(vault, name) as staged:
        limits, grants = staged.settings.limits, staged.settings.grants
        longest = round(limits.max_run_s) + grants.placement_wait_s + grants.margin_s
        role = vault.client().read(f"auth/token/roles/disinto.{name}.runner")["data"]
        assert role["token_explicit_max_ttl"] == longest + grants.provisional_ttl_s
        mine = staged.grants()
        wrapped = mine.mint(KEY, [], lifetime_s=longest)
        mine.extend(wrapped.grant, lifetime_s=longest)
        token = vault.client().auth.token.lookup_accessor(wrapped.grant.accessor)["data"]
        assert longest - 5 < token["ttl"] <= longest
        with pytest.raises(Misconfigured, match="disinto apply"):
            mine.extend(wrapped.grant, lifetime_s=2 * longest)
        with pytest.raises(Denied):
            Vault(staged.settings.vault, environ={"VAULT_TOKEN": staged.unwrap(wrapped)}).call(
                "POST", "auth/token/renew-self", {"increment": "100h"}
            )
