"""Vault frozen, gone, sealed, or answering nonsense: the right error, and no token in any text."""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tenacity

from dispatcher.errors import Denied, Dependency, DisintoError, Unavailable
from dispatcher.model.run import Grant
from dispatcher.settings import Settings
from dispatcher.vault import Grants, Vault
from dispatcher.vault.apply import plan_vault
from dispatcher.vault.bot_secrets import bot_token
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao, serve
from tests.servers.freeze import freeze
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")

QUICK = {"timeout_s": 1.0}


@pytest.fixture
def own() -> Iterator[Stage]:
    """A server of this test's own, which may be stopped and sealed."""
    with serve() as server, stage(server) as made:
        made.put(OTHER="three")
        yield made


def quick(staged: Stage) -> Grants:
    vault = staged.settings.vault.model_copy(update=QUICK)
    settings = staged.settings.model_copy(update={"vault": vault})
    return replace(staged, settings=settings).grants()


def every_call(grants: Grants, grant: Grant):
    return (
        lambda: grants.mint(KEY, ["OTHER"], lifetime_s=60),
        lambda: grants.extend(grant, lifetime_s=60),
        lambda: grants.withdraw(grant),
        lambda: grants.revoke(grant),
        grants.secret_names,
        lambda: bot_token(grants._vault, "remote"),
    )


def assert_unavailable(grants: Grants, grant: Grant, match: str) -> None:
    for call in every_call(grants, grant):
        with pytest.raises(Unavailable, match=match) as told:
            call()
        assert told.value.dependency is Dependency.VAULT


def test_a_frozen_server_is_unavailable_until_it_thaws(own):
    grants = quick(own)
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    freeze(own.server.process.pid)
    try:
        assert_unavailable(grants, wrapped.grant, r"did not answer within 1 s")
        assert not grants.health().reachable
    finally:
        own.server.process.send_signal(signal.SIGCONT)
    # It works off what was sent while it was frozen first.
    tenacity.retry(
        retry=tenacity.retry_if_exception_type(Unavailable),
        stop=tenacity.stop_after_delay(30),
        wait=tenacity.wait_fixed(0.05),
    )(grants.mint)(KEY, ["OTHER"], lifetime_s=60)
    assert grants.health().problem == ""


def test_a_dead_server_is_unavailable(own):
    grants = quick(own)
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    own.server.process.kill()
    own.server.process.wait()
    assert_unavailable(grants, wrapped.grant, "cannot be reached")
    health = grants.health()
    assert not health.reachable
    assert "cannot be reached" in health.problem


def test_a_sealed_server_is_unavailable_and_says_so(own):
    grants = quick(own)
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    own.root.sys.seal()
    assert_unavailable(grants, wrapped.grant, "is sealed")
    health = grants.health()
    assert health.reachable
    assert health.sealed
    assert health.problem == "Vault is sealed"


def test_a_refusal_is_denied_with_the_path_and_the_remedy(own):
    token = own.root.auth.token.create(policies=["default"])["auth"]["client_token"]
    grants = own.grants(token)
    grant = Grant(wrapping_accessor="A" * 24, accessor="B" * 24)
    for call in every_call(grants, grant):
        with pytest.raises(Denied, match=r"refuses [A-Z]+ [a-z0-9/-]+: .*disinto apply") as told:
            call()
        assert told.value.dependency is Dependency.VAULT


def test_a_right_lost_between_the_two_questions_of_a_withdrawal_gives_no_answer(own):
    grants = own.grants()
    wrapped = grants.mint(KEY, [], lifetime_s=60)
    text = own.root.sys.read_acl_policy("disinto.default.dispatcher")["data"]["policy"]
    own.root.sys.create_or_update_acl_policy(
        "disinto.default.dispatcher", text.replace("auth/token/lookup-accessor", "auth/token/none")
    )
    with pytest.raises(Denied):
        grants.withdraw(wrapped.grant)


# -- no token in any text ------------------------------------------------------------------


def texts_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def test_no_error_and_no_repr_holds_a_token_or_value(own):
    """Every call, in every state, with every token that takes part."""
    canary = "canary-value-0123456789"
    token = own.dispatcher_token()
    vault = Vault(own.settings.vault.model_copy(update=QUICK), environ={"VAULT_TOKEN": token})
    grants = Grants(vault, own.settings)
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    inner = own.unwrap(wrapped)
    weak = own.root.auth.token.create(policies=["default"])["auth"]["client_token"]
    weak_vault = Vault(vault.settings, environ={"VAULT_TOKEN": weak})
    tokens = [token, wrapped.token, inner, weak, own.server.root_token, canary]
    texts = [repr(x) for x in (vault, grants, wrapped, vault._token, vault._http, weak_vault)]
    texts.append(repr(vault.call("GET", "auth/token/lookup-self")))

    def collect():
        for party in (vault, weak_vault):
            for call in (
                *every_call(Grants(party, own.settings), wrapped.grant),
                lambda p=party: plan_vault(p, own.settings),
                lambda p=party: Secrets(p, own.settings).put("OTHER", canary),
                lambda p=party: p.call("POST", "sys/wrapping/unwrap", {"token": wrapped.token}),
                lambda p=party: p.call("POST", "auth/token/lookup", {"token": inner}),
                lambda p=party: p.call("POST", "auth/token/create", {"id": canary}),
            ):
                try:
                    call()
                except DisintoError as error:
                    texts.append(texts_of(error))
            texts.append(repr(party.health()))
            texts.append(repr(check_vault(party, own.settings)))

    collect()
    own.root.sys.seal()
    collect()
    own.server.process.kill()
    own.server.process.wait()
    collect()
    assert sum(len(text) for text in texts) > 10_000
    for secret in tokens:
        assert not [text for text in texts if secret in text]


# -- doctor --------------------------------------------------------------------------------


def failing(checks):
    return {check.name: check for check in checks if not check.ok}


def doctor(staged: Stage, token: str) -> dict[str, object]:
    vault = Vault(staged.settings.vault, environ={"VAULT_TOKEN": token})
    checks = check_vault(vault, staged.settings)
    assert all(check.remedy for check in checks if not check.ok)
    assert not any(check.remedy for check in checks if check.ok)
    return failing(checks)


def test_doctor_is_content_with_what_apply_made(vault: Bao):
    with stage(vault) as staged:
        staged.put(OTHER="x")
        periodic = staged.dispatcher_token(ttl="1h", period="1h")
        assert doctor(staged, periodic) == {}


def test_doctor_names_what_is_missing(own):
    periodic = own.dispatcher_token(ttl="1h", period="1h")
    own.root.sys.delete_policy("disinto.default.runner.other")
    own.root.write_data("auth/token/roles/disinto.default.runner", data={"orphan": False})
    own.server.put("lower", "x")
    found = doctor(own, periodic)
    assert set(found) == {"vault: policies", "vault: token role", "vault: names of secrets"}
    assert "disinto.default.runner.other" in found["vault: policies"].detail
    assert "orphan" in found["vault: token role"].detail
    assert "lower" in found["vault: names of secrets"].detail


def test_doctor_warns_of_a_token_that_may_do_too_much(own):
    assert "root token" in doctor(own, own.server.root_token)["vault: least rights"].detail
    own.root.sys.create_or_update_policy(
        "reader", f'path "{own.server.kv_mount}/data/*" {{ capabilities = ["read"] }}'
    )
    wide = own.root.auth.token.create(
        policies=["disinto.default.dispatcher", "reader"], period="1h", no_default_policy=True
    )["auth"]["client_token"]
    found = doctor(own, wide)
    assert set(found) == {"vault: least rights"}
    assert "disinto/runner/OTHER" in found["vault: least rights"].detail


def test_doctor_asks_for_the_token_that_the_documentation_makes(own):
    (command,) = re.findall(r"`(.*)`", doctor(own, "s.nosuch")["vault: token"].remedy)
    pages = Path(__file__).parents[2] / "docs"
    assert command in (pages / "operations.md").read_text(encoding="utf-8")


def test_doctor_says_which_rights_are_missing(own):
    weak = own.root.auth.token.create(policies=["default"])["auth"]["client_token"]
    assert "auth/token/create/disinto.default.runner" in doctor(own, weak)["vault: rights"].detail


def test_doctor_stops_at_a_server_that_is_sealed_or_gone(own):
    token = own.dispatcher_token()
    own.root.sys.seal()
    assert set(doctor(own, token)) == {"vault: unsealed"}
    own.server.process.kill()
    own.server.process.wait()
    assert set(doctor(own, token)) == {"vault: reachable"}


def test_doctor_minds_who_can_read_the_token_file(own, tmp_path):
    file = tmp_path / "token"
    file.write_text(own.dispatcher_token(ttl="1h", period="1h"), encoding="utf-8")
    file.chmod(0o644)
    vault = own.settings.vault.model_copy(update={"token_file": file})
    settings = Settings(vault=vault)
    assert set(failing(check_vault(Vault(vault, environ={}), settings))) == {"vault: token_file"}
    file.chmod(0o600)
    assert failing(check_vault(Vault(vault, environ={}), settings)) == {}
