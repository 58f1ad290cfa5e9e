"""Derived secrets on a real OpenBao: who can derive and who cannot, apply, doctor, rotation."""

from __future__ import annotations

from collections.abc import Iterator

import hvac.exceptions
import pytest

from dispatcher.cli.secrets import _note
from dispatcher.desktop.credentials import VARIABLE, Credentials
from dispatcher.errors import Denied, InvalidValue, Misconfigured
from dispatcher.model.derived import derivation_input
from dispatcher.model.run import RunKey
from dispatcher.runner.vault_client import VaultClient
from dispatcher.vault import Vault
from dispatcher.vault.apply import ChangeKind, plan_vault
from dispatcher.vault.derived import derive
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.names import derive_policy
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")

OTHER = RunKey(action_id="desk-2", blob="c" * 40)
TRANSIT_KEY = "disinto-desktops"


@pytest.fixture
def staged(vault: Bao) -> Iterator[Stage]:
    mount = f"transit-{vault.kv_mount}"
    with stage(vault, derived={VARIABLE: TRANSIT_KEY}, transit_mount=mount) as made:
        yield made
        made.root.sys.disable_secrets_engine(mount)


def request(staged: Stage, token: str, *, key: RunKey = KEY, **more: object) -> str:
    path = staged.settings.vault.fetched[VARIABLE].path
    body = {"input": derivation_input(key), **more}
    return str(staged.server.client(token).write_data(path, data=body)["data"]["hmac"])


def person_token(staged: Stage) -> str:
    policy = derive_policy(staged.settings.vault, VARIABLE)
    made = staged.root.auth.token.create(policies=[policy], ttl="1h", no_parent=True)
    return str(made["auth"]["client_token"])


def person(staged: Stage) -> Vault:
    environ = {"VAULT_TOKEN": person_token(staged)}
    return Vault.of_operator(staged.settings.vault, environ=environ)


def grant(staged: Stage, *secrets: str) -> str:
    return staged.unwrap(staged.grants().mint(KEY, list(secrets), lifetime_s=60))


def test_the_run_and_the_person_derive_the_same_and_nobody_else_can(staged: Stage) -> None:
    staged.put(OTHER_SECRET="x")
    run = request(staged, grant(staged, VARIABLE))
    opener = person(staged)
    assert derive(opener, staged.settings, VARIABLE, KEY) == run
    assert Credentials.from_hmac(run) != Credentials.from_hmac(
        derive(opener, staged.settings, VARIABLE, OTHER)
    )
    opener.close()
    with pytest.raises(hvac.exceptions.Forbidden):
        request(staged, staged.dispatcher_token())
    with pytest.raises(hvac.exceptions.Forbidden):
        request(staged, grant(staged, "OTHER_SECRET"))
    with pytest.raises(hvac.exceptions.Forbidden):
        request(staged, grant(staged))
    dispatcher = staged.dispatcher()
    with pytest.raises(Denied):
        derive(dispatcher, staged.settings, VARIABLE, KEY)
    dispatcher.close()


def test_a_grant_makes_one_hmac_a_request_by_the_newest_key_and_does_nothing_else_with_it(
    staged: Stage,
) -> None:
    token = grant(staged, VARIABLE)
    mount = staged.settings.vault.transit_mount
    client = staged.server.client(token)
    batch = {"batch_input": [{"input": derivation_input(OTHER)}]}
    for path, body in (
        (f"{mount}/hmac/{TRANSIT_KEY}", {"input": derivation_input(KEY), "key_version": 1}),
        (f"{mount}/hmac/{TRANSIT_KEY}", batch),
        (f"{mount}/hmac/{TRANSIT_KEY}/sha2-512", {"input": derivation_input(KEY)}),
        (f"{mount}/encrypt/{TRANSIT_KEY}", {"plaintext": "AA=="}),
        (f"{mount}/keys/{TRANSIT_KEY}/rotate", {}),
        (f"{mount}/keys/{TRANSIT_KEY}/config", {"exportable": True}),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.write_data(path, data=body)
    with pytest.raises(hvac.exceptions.Forbidden):
        client.read(f"{mount}/keys/{TRANSIT_KEY}")


def test_vault_cannot_tell_which_run_a_grant_belongs_to(staged: Stage) -> None:
    """What docs/security.md says plainly: a grant derives for any run. The formula never has it."""
    assert request(staged, grant(staged, VARIABLE), key=OTHER)


def test_after_a_rotation_the_version_in_the_inventory_still_derives_the_same(
    staged: Stage,
) -> None:
    before = request(staged, grant(staged, VARIABLE))
    mount = staged.settings.vault.transit_mount
    staged.root.write_data(f"{mount}/keys/{TRANSIT_KEY}/rotate", data={})
    after = request(staged, grant(staged, VARIABLE))
    version = Credentials.from_hmac(before).key_version
    assert (version, Credentials.from_hmac(after).key_version) == (1, 2)
    opener = person(staged)
    assert derive(opener, staged.settings, VARIABLE, KEY, key_version=1) == before
    assert derive(opener, staged.settings, VARIABLE, KEY) == after
    opener.close()


def test_the_runners_own_client_gets_it_and_nothing_is_stored(staged: Stage) -> None:
    client = VaultClient(staged.server.addr)
    path = staged.settings.vault.fetched[VARIABLE].path
    reply = client.request(
        "POST", path, token=grant(staged, VARIABLE), body={"input": derivation_input(KEY)}
    )
    assert reply.status == 200
    assert Credentials.from_hmac(str(reply.get("data", "hmac"))).key_version == 1
    assert not reply.get("lease_id")
    stored = Secrets(staged.operator, staged.settings).list()
    (mine,) = [each for each in stored if each.name == VARIABLE]
    assert (mine.version, mine.path, mine.derived) == (0, path, True)
    assert _note(mine).startswith(f"derived: {path} becomes {VARIABLE}")


def test_apply_makes_the_key_once_and_never_another_one(staged: Stage) -> None:
    def drift() -> list[str]:
        return [c.path for c in plan_vault(staged.operator, staged.settings) if c.drift]

    assert not drift()
    staged.root.sys.delete_policy(derive_policy(staged.settings.vault, VARIABLE))
    assert drift() == [f"sys/policies/acl/{derive_policy(staged.settings.vault, VARIABLE)}"]
    staged.apply()
    without = staged.settings.vault.model_copy(update={"derived": {}})
    settings = staged.settings.model_copy(update={"vault": without})
    plan = plan_vault(staged.operator, settings)
    stale = [c.path for c in plan if c.kind is ChangeKind.STALE and "desktop_hmac" in c.path]
    assert [path.split(".")[2] for path in stale] == ["derive", "runner"]
    mount = staged.settings.vault.transit_mount
    other = staged.settings.vault.model_copy(update={"derived": {VARIABLE: "signing"}})
    staged.root.write_data(f"{mount}/keys/signing", data={"type": "ed25519"})
    with pytest.raises(Misconfigured, match="not of type aes256-gcm96"):
        plan_vault(staged.operator, staged.settings.model_copy(update={"vault": other}))


def test_doctor_checks_the_policy_and_as_an_operator_the_key(staged: Stage) -> None:
    def derived(vault: Vault) -> tuple[bool, str]:
        (check,) = [c for c in check_vault(vault, staged.settings) if VARIABLE in c.name]
        return check.ok, check.detail

    dispatcher = staged.dispatcher()
    checks = {c.name: c for c in check_vault(dispatcher, staged.settings)}
    assert checks["vault: least rights"].ok
    ok, detail = derived(dispatcher)
    assert ok
    assert "not checked: this token may not read the key" in detail
    ok, detail = derived(staged.operator)
    assert ok
    assert "exists; people with the policy disinto.default.derive.desktop_hmac" in detail
    mount = staged.settings.vault.transit_mount
    staged.root.write_data(f"{mount}/keys/{TRANSIT_KEY}/config", data={"exportable": True})
    assert derived(staged.operator) == (
        False,
        f"the key at {mount}/keys/{TRANSIT_KEY} is exportable: a copy derives every secret "
        "without Vault",
    )
    staged.root.sys.delete_policy(derive_policy(staged.settings.vault, VARIABLE))
    assert not derived(dispatcher)[0]
    dispatcher.close()


def test_nothing_is_stored_under_the_name_of_a_derived_secret(staged: Stage) -> None:
    with pytest.raises(InvalidValue, match="derived secret"):
        staged.put(**{VARIABLE: "mine"})
