"""Planning and writing what Vault must hold, on a real OpenBao."""

from __future__ import annotations

import pytest

from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Denied, Misconfigured, PermanentError
from dispatcher.settings import (
    AttestationSettings,
    Settings,
    VaultAuth,
    VaultSettings,
    settings_model,
)
from dispatcher.vault import Vault
from dispatcher.vault.apply import (
    ChangeKind,
    apply_changes,
    plan_jwt,
    plan_vault,
)
from dispatcher.vault.ownership import owner
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao, serve
from tests.support.vault_stage import stage

pytestmark = pytest.mark.needs("bao")


def kinds(changes):
    return {change.path: change.kind for change in changes}


def operator(server: Bao, settings: Settings) -> Vault:
    return Vault.of_operator(settings.vault, environ={"VAULT_TOKEN": server.root_token})


def test_an_empty_server_is_set_up_and_a_second_plan_changes_nothing():
    with serve() as server:
        settings = settings_model()(
            vault=VaultSettings(addr=server.addr, kv_mount="team/kv", auth=VaultAuth.APPROLE),
            attestation=AttestationSettings(transit_key="disinto"),
        )
        vault = operator(server, settings)
        plan = plan_vault(vault, settings)
        assert set(kinds(plan).values()) == {ChangeKind.CREATE}
        assert all(change.after and not change.before for change in plan)
        assert apply_changes(vault, plan) == plan
        Secrets(vault, settings).put("API_TOKEN", "x")
        again = plan_vault(vault, settings)
        assert set(kinds(again).values()) == {ChangeKind.UNCHANGED}
        assert "sys/policies/acl/disinto.default.runner.api_token" in kinds(again)
        assert all(change.before == change.after for change in again)
        assert apply_changes(vault, again) == []


def test_drift_is_shown_and_mended(vault):
    with stage(vault) as staged:
        staged.put(DRIFTS="x")
        text = owner(staged.settings).mark + 'path "*" {}'
        staged.root.sys.create_or_update_policy("disinto.default.runner.drifts", text)
        staged.root.write_data(
            "auth/token/roles/disinto.default.runner", data={"orphan": False, "token_period": "1h"}
        )
        plan = [c for c in plan_vault(staged.operator, staged.settings) if c.drift]
        assert kinds(plan) == {
            "sys/policies/acl/disinto.default.runner.drifts": ChangeKind.UPDATE,
            "auth/token/roles/disinto.default.runner": ChangeKind.UPDATE,
        }
        role = next(c for c in plan if "roles" in c.path)
        assert '"orphan": false' in role.before
        assert '"orphan": true' in role.after
        apply_changes(staged.operator, plan)
        assert not any(c.drift for c in plan_vault(staged.operator, staged.settings))


def test_a_secret_that_came_by_another_way_gets_its_policy(vault):
    with stage(vault) as staged:
        staged.server.put("BY_HAND", "x")
        staged.server.put("folder/INSIDE", "x")
        staged.server.put("lower_case", "x")
        plan = [c for c in plan_vault(staged.operator, staged.settings) if c.drift]
        assert kinds(plan) == {"sys/policies/acl/disinto.default.runner.by_hand": ChangeKind.CREATE}


def test_a_policy_without_secret_is_reported_and_removed_when_asked(vault):
    with stage(vault) as staged:
        path = "sys/policies/acl/disinto.default.runner.left_over"
        text = owner(staged.settings).mark + 'path "x" {}'
        staged.root.sys.create_or_update_policy("disinto.default.runner.left_over", text)
        plan = plan_vault(staged.operator, staged.settings)
        assert kinds(plan)[path] is ChangeKind.STALE
        apply_changes(staged.operator, plan)
        assert (
            "disinto.default.runner.left_over"
            in staged.root.sys.list_acl_policies()["data"]["keys"]
        )
        plan = plan_vault(staged.operator, staged.settings, remove_stale=True)
        assert kinds(plan)[path] is ChangeKind.DELETE
        assert (
            kinds(plan)["sys/policies/acl/disinto.default.runner.lookup-self"]
            is ChangeKind.UNCHANGED
        )
        apply_changes(staged.operator, [c for c in plan if c.path == path])
        assert (
            "disinto.default.runner.left_over"
            not in staged.root.sys.list_acl_policies()["data"]["keys"]
        )


def test_names_that_differ_only_in_case_are_refused(vault):
    with stage(vault) as staged:
        staged.server.put("API_TOKEN", "x")
        staged.server.put("api_token", "x")
        with pytest.raises(PermanentError, match="API_TOKEN and api_token differ only in case"):
            plan_vault(staged.operator, staged.settings)


def test_a_mount_of_another_kind_is_refused(vault):
    vault.client().sys.enable_secrets_engine("kv", path="old", options={"version": "1"})
    vault.client().sys.enable_secrets_engine("transit", path="enc")
    for mount, found in {"old": "kv version 1", "enc": "transit"}.items():
        settings = settings_model()(vault=VaultSettings(addr=vault.addr, kv_mount=mount))
        with pytest.raises(Misconfigured, match=f"{mount}/ is of type {found}"):
            plan_vault(operator(vault, settings), settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kv_mount", 'kv" { capabilities = ["sudo"] } path "x'),
        ("kv_prefix", "disinto/*"),
        ("kv_prefix", "disinto/+"),
        ("kv_prefix", "a/{{identity.entity.id}}"),
        ("kv_prefix", ""),
        ("kv_prefix", "a/../b"),
        ("bots_prefix", "a\nb"),
        ("bots_prefix", "disinto"),  # holds the actions' folder
        ("bots_prefix", "disinto/runner/bots"),
        ("token_role", "x/y*"),
    ],
)
def test_a_setting_that_would_widen_a_policy_is_refused(vault, key, value):
    settings = settings_model()(
        vault=VaultSettings.model_validate(
            {"addr": vault.addr, "kv_mount": vault.kv_mount, key: value}
        )
    )
    with pytest.raises(Misconfigured, match=key):
        plan_vault(operator(vault, settings), settings)


def test_the_dispatchers_own_token_cannot_plan(vault):
    with stage(vault) as staged:
        weak = Vault.of_operator(
            staged.settings.vault, environ={"VAULT_TOKEN": staged.dispatcher_token()}
        )
        with pytest.raises(Denied):
            plan_vault(weak, staged.settings)


def test_a_nomad_that_cannot_be_reached_stops_the_jwt_configuration(vault):
    settings = settings_model()(
        vault=VaultSettings(addr=vault.addr, auth_mount="jwt-unreachable"),
        nomad=NomadSettings(addr="http://127.0.0.1:1"),
    )
    plan = plan_jwt(operator(vault, settings), settings)
    assert {c.kind for c in plan} == {ChangeKind.CREATE}
    with pytest.raises(PermanentError, match="jwt-unreachable/config"):
        apply_changes(operator(vault, settings), plan)
    # What was written stays, and the next plan shows the rest.
    rest = [c.path for c in plan_jwt(operator(vault, settings), settings) if c.drift]
    assert rest == [
        "auth/jwt-unreachable/config",
        "auth/jwt-unreachable/role/disinto.default.dispatcher",
        "auth/jwt-unreachable/role/disinto.default.page",
    ]


@pytest.mark.needs("nomad")
def test_the_keys_of_a_real_nomad_are_trusted_and_a_second_plan_changes_nothing(vault, nomad):
    settings = settings_model()(
        vault=VaultSettings(addr=vault.addr, auth_mount="jwt-live"),
        nomad=NomadSettings(addr=nomad.addr),
    )
    own = operator(vault, settings)
    assert len(apply_changes(own, plan_jwt(own, settings))) == 4
    assert {c.kind for c in plan_jwt(own, settings)} == {ChangeKind.UNCHANGED}
