"""Dynamic secrets on a real OpenBao: policies, doctor, listing, and the end of what was leased."""

from __future__ import annotations

from collections.abc import Iterator

import hvac.exceptions
import pytest
import tenacity

from dispatcher.errors import InvalidValue
from dispatcher.settings.dynamic import DynamicSettings
from dispatcher.vault.apply import ChangeKind, NotOurs, apply_changes, plan_vault
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao
from tests.servers.pki import Pki, pki_engine
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")

WEB = {"common_name": "app.example", "ttl": "1h"}

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(30), wait=tenacity.wait_fixed(0.1), reraise=True
)


@pytest.fixture
def pki(vault: Bao) -> Pki:
    return pki_engine(vault)


@pytest.fixture
def staged(vault: Bao, pki: Pki) -> Iterator[Stage]:
    dynamic = {
        "WEB": DynamicSettings(
            path=f"{pki.mount}/issue/web",
            fields={"TLS_KEY": "private_key", "TLS_CERT": "certificate"},
            write=WEB,
        )
    }
    with stage(vault, dynamic=dynamic) as made:
        yield made


def changed(staged: Stage, **dynamic: DynamicSettings) -> Stage:
    """The same Vault with other settings, not applied."""
    vault = staged.settings.vault.model_copy(update={"dynamic": dynamic})
    settings = staged.settings.model_copy(update={"vault": vault})
    return Stage(server=staged.server, settings=settings, operator=staged.operator)


def token_of(staged: Stage, *, lifetime_s: int = 60) -> str:
    return staged.unwrap(staged.grants().mint(KEY, ["WEB"], lifetime_s=lifetime_s))


# -- rights --------------------------------------------------------------------------------


def test_a_grant_makes_the_one_request_of_the_settings_and_no_other(
    staged: Stage, pki: Pki
) -> None:
    token = token_of(staged)
    assert pki.issue(token, **WEB)["data"]["private_key"]
    for role, body in (
        ("web", {**WEB, "common_name": "other.example"}),
        ("web", {**WEB, "alt_names": "other.example"}),
        ("unleased", WEB),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            pki.issue(token, role, **body)
    client = staged.server.client(token)
    for path in (f"{pki.mount}/issue/web", f"{pki.mount}/roles/web"):
        with pytest.raises((hvac.exceptions.Forbidden, hvac.exceptions.UnsupportedOperation)):
            client.read(path)
    with pytest.raises(hvac.exceptions.Forbidden):
        client.write_data(f"{pki.mount}/roles/web", data={"allow_any_name": True})


def test_a_request_without_a_body_takes_none(staged: Stage, pki: Pki) -> None:
    bare = DynamicSettings(path=f"{pki.mount}/issue/web", fields={"K": "private_key"}, write={})
    other = changed(staged, WEB=bare)
    other.apply()
    with pytest.raises(hvac.exceptions.Forbidden):
        pki.issue(token_of(other), common_name="app.example")
    with pytest.raises(hvac.exceptions.InvalidRequest):  # allowed, and of no use to this role
        pki.issue(token_of(other))


def test_the_dispatchers_token_fetches_none_itself(staged: Stage, pki: Pki) -> None:
    with pytest.raises(hvac.exceptions.Forbidden):
        pki.issue(staged.dispatcher_token(), **WEB)


def test_values_of_a_request_are_literal_in_the_policy(staged: Stage, pki: Pki) -> None:
    odd = {"common_name": 'a"b\\c', "uri_sans": "spiffe://${x}/%{y}\nz"}
    other = changed(
        staged,
        WEB=DynamicSettings(path=f"{pki.mount}/issue/web", fields={"K": "private_key"}, write=odd),
    )
    other.apply()
    with pytest.raises(hvac.exceptions.InvalidRequest):  # what PKI makes of it is another question
        pki.issue(token_of(other), **odd)
    with pytest.raises(hvac.exceptions.Forbidden):
        pki.issue(token_of(other), **{**odd, "common_name": "b"})


# -- apply, list, doctor -------------------------------------------------------------------


def test_apply_writes_the_policy_once_and_reports_it_when_the_section_is_gone(
    staged: Stage,
) -> None:
    assert not [c for c in plan_vault(staged.operator, staged.settings) if c.drift]
    without = changed(staged)
    stale = [
        c
        for c in plan_vault(without.operator, without.settings)
        if c.kind is ChangeKind.STALE and c.path.endswith(".runner.web")
    ]
    assert len(stale) == 1
    removing = plan_vault(without.operator, without.settings, remove_stale=True)
    apply_changes(without.operator, removing)
    assert "WEB" not in without.grants().secret_names()
    assert "disinto.default.runner.web" not in staged.root.sys.list_acl_policies()["data"]["keys"]


def test_apply_leaves_a_policy_alone_that_is_not_ours(staged: Stage, pki: Pki) -> None:
    staged.root.sys.create_or_update_policy("disinto.default.runner.mine", "# mine\n")
    section = DynamicSettings(path=f"{pki.mount}/issue/web", fields={"K": "private_key"}, write={})
    other = changed(staged, MINE=section)
    try:
        with pytest.raises(NotOurs, match="was not written by disinto"):
            plan_vault(other.operator, other.settings)
    finally:
        staged.root.sys.delete_acl_policy("disinto.default.runner.mine")


def test_the_listing_shows_where_they_come_from(staged: Stage, pki: Pki) -> None:
    staged.put(STORED="x")
    listed = {secret.name: secret for secret in Secrets(staged.operator, staged.settings).list()}
    assert set(listed) == {"STORED", "WEB"} == staged.grants().secret_names()
    web = listed["WEB"]
    assert (web.path, web.variables) == (f"{pki.mount}/issue/web", ("TLS_KEY", "TLS_CERT"))
    assert (web.version, web.updated_at, web.has_policy) == (0, "", True)
    assert (listed["STORED"].path, listed["STORED"].variables) == ("", ("STORED",))


def test_nothing_is_stored_under_the_name_of_a_dynamic_secret(staged: Stage) -> None:
    secrets = Secrets(staged.operator, staged.settings)
    with pytest.raises(InvalidValue, match="WEB is a dynamic secret"):
        secrets.put("WEB", "x")
    staged.server.put("WEB", "left over")
    assert [c.detail for c in check_vault(staged.dispatcher(), staged.settings) if c.warning] == [
        "also stored, and the stored value is never used: WEB"
    ]
    assert secrets.rm("WEB")
    assert secrets.list()[0].has_policy, "its policy stays"


def doctor(staged: Stage, *policies: str) -> dict[str, tuple[bool, str]]:
    """By a dispatcher's token that has these policies as well."""
    own = staged.root.auth.token.create(
        policies=["disinto.default.dispatcher", *policies], no_default_policy=True, no_parent=True
    )
    vault = staged.dispatcher(str(own["auth"]["client_token"]))
    checks = {check.name: (check.ok, check.detail) for check in check_vault(vault, staged.settings)}
    vault.close()
    return checks


def test_doctor_checks_as_much_as_its_token_can(staged: Stage, pki: Pki) -> None:
    section = staged.settings.vault.dynamic["WEB"]
    other = changed(
        staged,
        WEB=section,
        NO_ROLE=section.model_copy(update={"path": f"{pki.mount}/issue/absent"}),
        NO_MOUNT=section.model_copy(update={"path": "absent/creds/x"}),
        UNLEASED=section.model_copy(update={"path": f"{pki.mount}/issue/unleased"}),
    )
    other.apply()
    plain = doctor(other)
    assert all(ok for ok, _ in plain.values()), plain
    assert "not checked" in plain["vault: dynamic secret NO_ROLE"][1]
    assert "4 in total" in plain["vault: policies"][1]

    rights = f'path "{pki.mount}/roles/+" {{ capabilities = ["read"] }}\n'
    rights += 'path "absent/roles/+" { capabilities = ["read"] }'
    staged.root.sys.create_or_update_policy("reads-roles", rights)
    seen = doctor(other, "reads-roles")
    assert seen["vault: dynamic secret WEB"] == (True, f"{section.path}, and its role exists")
    for name, why in (
        ("NO_ROLE", "there is nothing at"),
        ("NO_MOUNT", "there is nothing at"),
        ("UNLEASED", "without a lease"),
    ):
        ok, detail = seen[f"vault: dynamic secret {name}"]
        assert not ok
        assert why in detail


def test_doctor_finds_a_token_that_may_fetch(staged: Stage, pki: Pki) -> None:
    rights = f'path "{pki.mount}/issue/web" {{ capabilities = ["update"] }}'
    staged.root.sys.create_or_update_policy("fetches", rights)
    ok, detail = doctor(staged, "fetches")["vault: least rights"]
    assert not ok
    assert f"{pki.mount}/issue/web" in detail


def test_doctor_finds_a_policy_that_is_not_what_the_settings_say(staged: Stage) -> None:
    section = staged.settings.vault.dynamic["WEB"]
    ok, detail = doctor(changed(staged, WEB=section.model_copy(update={"write": {"ttl": "2h"}})))[
        "vault: policies"
    ]
    assert (ok, "disinto.default.runner.web" in detail) == (False, True)


# -- the end of a lease --------------------------------------------------------------------


def test_revoking_the_grant_revokes_what_it_leased(staged: Stage, pki: Pki) -> None:
    grants = staged.grants()
    wrapped = grants.mint(KEY, ["WEB"], lifetime_s=600)
    token = staged.unwrap(wrapped)
    record = staged.server.client(token).auth.token.lookup_self()["data"]
    assert record["type"] == "service", "a batch token has no accessor to revoke it by"
    answers = [pki.issue(token, **WEB) for _ in range(2)]
    serials = [answer["data"]["serial_number"] for answer in answers]
    assert [pki.revoked_at(serial) for serial in serials] == [0, 0]

    grants.revoke(wrapped.grant)

    @eventually
    def all_revoked() -> None:
        assert all(pki.revoked_at(serial) for serial in serials)

    all_revoked()


def test_no_lease_outlives_the_grants_own_time(staged: Stage, pki: Pki) -> None:
    """The certificate is issued for an hour, the grant lives three seconds, and nobody revokes it."""
    wrapped = staged.grants(
        grants=staged.settings.grants.model_copy(update={"provisional_ttl_s": 3})
    )
    token = staged.unwrap(wrapped.mint(KEY, ["WEB"], lifetime_s=3))
    answer = pki.issue(token, **WEB)
    assert answer["lease_duration"] > 60

    @eventually
    def revoked() -> None:
        assert pki.revoked_at(answer["data"]["serial_number"])

    revoked()
    assert not staged.is_alive(token)


def test_no_grant_is_a_batch_token(staged: Stage) -> None:
    """It would have no accessor to be revoked by. The server itself refuses that of our role."""
    role = "auth/token/roles/disinto.default.runner"
    body = staged.root.read(role)["data"]
    assert body["token_type"] == "service"
    with pytest.raises(hvac.exceptions.InvalidRequest, match="cannot be 'batch'"):
        staged.root.write_data(role, data={**body, "token_type": "batch"})
