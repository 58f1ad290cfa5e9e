"""The web page's own rights: it derives credentials of desktops and nothing else, on a real OpenBao."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hvac.exceptions
import pytest

from dispatcher.assembly import doctor_openers
from dispatcher.desktop.credentials import VARIABLE
from dispatcher.model.run import RunKey
from dispatcher.operate.doctor import diagnose
from dispatcher.settings import VaultAuth
from dispatcher.vault import Vault
from dispatcher.vault.apply import apply_changes, plan_vault
from dispatcher.vault.derived import derive
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.names import dispatcher_policy, page_policy
from dispatcher.vault.removal import plan_removal
from tests.servers.bao import Bao
from tests.support.vault_stage import Stage, stage

pytestmark = pytest.mark.needs("bao")

KEY = RunKey(action_id="desk-1", blob="d" * 40)


@pytest.fixture
def staged(vault: Bao) -> Iterator[Stage]:
    mount = f"transit-{vault.kv_mount}"
    derived = {VARIABLE: "desktops", "OTHER_HMAC": "others"}
    with stage(vault, derived=derived, transit_mount=mount) as made:
        made.put(API_TOKEN="x")
        yield made
        made.root.sys.disable_secrets_engine(mount)


def token_of(staged: Stage, *policies: str) -> str:
    body = {"policies": list(policies), "no_default_policy": True, "no_parent": True}
    return str(staged.root.auth.token.create(ttl="1h", **body)["auth"]["client_token"])


def page(staged: Stage, *more: str) -> Vault:
    token = token_of(staged, page_policy(staged.settings.vault), *more)
    return Vault(staged.settings.vault, environ={"VAULT_TOKEN": token})


def test_it_derives_credentials_of_desktops(staged: Stage) -> None:
    vault = page(staged)
    first = derive(vault, staged.settings, VARIABLE, KEY, key_version=1)
    assert first == derive(vault, staged.settings, VARIABLE, KEY)
    vault.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "{kv}/data/disinto/runner/API_TOKEN"),
        ("GET", "{kv}/metadata/disinto/runner?list=true"),
        ("POST", "{kv}/data/disinto/runner/API_TOKEN"),
        ("POST", "{transit}/hmac/others/sha2-256"),
        ("POST", "{transit}/encrypt/desktops"),
        ("GET", "{transit}/keys/desktops"),
        ("GET", "{transit}/export/hmac-key/desktops"),
        ("POST", "auth/token/create"),
        ("POST", "auth/token/create/disinto.default.runner"),
        ("POST", "auth/token/revoke-accessor"),
        ("GET", "sys/policies/acl/disinto.default.page"),
        ("POST", "sys/policies/acl/disinto.default.page"),
        ("GET", "sys/mounts"),
    ],
)
def test_it_may_do_nothing_else(staged: Stage, method: str, path: str) -> None:
    client = staged.server.client(token_of(staged, page_policy(staged.settings.vault)))
    whole = path.format(kv=staged.server.kv_mount, transit=staged.settings.vault.transit_mount)
    with pytest.raises(hvac.exceptions.Forbidden):
        client.adapter.request(method, f"/v1/{whole}", json={} if method == "POST" else None)


def test_doctor_checks_it_from_both_sides(staged: Stage) -> None:
    vault = page(staged)
    checks = {each.name: each for each in check_vault(vault, staged.settings)}
    assert all(each.ok for each in checks.values()), checks
    assert checks["vault: least rights of the web page"].detail.startswith("no secret, no bot")
    assert "vault: token role" not in checks  # which only the dispatcher uses
    vault.close()
    too_much = page(staged, dispatcher_policy(staged.settings.vault))
    checks = {each.name: each for each in check_vault(too_much, staged.settings)}
    least = checks["vault: least rights of the web page"]
    assert not least.ok
    assert "auth/token/create/disinto.default.runner" in least.detail
    too_much.close()
    dispatcher = staged.dispatcher()
    checks = {each.name: each for each in check_vault(dispatcher, staged.settings)}
    assert (checks["vault: web page"].ok, checks["vault: web page"].remedy) == (True, "")
    staged.root.sys.delete_policy(page_policy(staged.settings.vault))
    checks = {each.name: each for each in check_vault(dispatcher, staged.settings)}
    assert checks["vault: web page"].warning
    dispatcher.close()


def test_a_page_with_rights_of_its_own_checks_only_these(staged: Stage, tmp_path: Path) -> None:
    nowhere = staged.settings.ops_repo.model_copy(update={"remote": str(tmp_path / "none")})
    settings = staged.settings.model_copy(update={"state_dir": tmp_path, "ops_repo": nowhere})
    vault = page(staged)
    openers = doctor_openers(settings, {"VAULT_TOKEN": ""})
    openers = replace(openers, vault=lambda: vault)
    checks = {each.name: each for each in diagnose(settings, openers, {}, read_only=True)}
    assert checks["vault: least rights of the web page"].ok
    assert "not checked from here" in checks["web page"].detail
    assert not {"lead", "vault: token role"} & checks.keys()
    vault.close()


def test_its_role_hands_out_its_policy_alone_and_is_removed_again(staged: Stage) -> None:
    own = staged.settings.vault.model_copy(update={"auth": VaultAuth.APPROLE})
    settings = staged.settings.model_copy(update={"vault": own})
    apply_changes(staged.operator, plan_vault(staged.operator, settings))
    assert not [c.path for c in plan_vault(staged.operator, settings) if c.drift]
    role = "auth/approle/role/disinto.default.page"
    role_id = staged.root.read(f"{role}/role-id")["data"]["role_id"]
    secret_id = staged.root.write_data(f"{role}/secret-id", data={})["data"]["secret_id"]
    login = staged.root.auth.approle.login(role_id=role_id, secret_id=secret_id, use_token=False)
    assert login["auth"]["token_policies"] == ["disinto.default.page"]
    removed = [change.path for change in plan_removal(staged.operator, settings)]
    assert role in removed
    assert "sys/policies/acl/disinto.default.page" in removed
    staged.root.sys.disable_auth_method("approle")
