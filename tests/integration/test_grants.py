"""Grants on a real OpenBao: what they open, how long they live, how they end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import hvac.exceptions
import pytest
import tenacity
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.errors import Misconfigured, PermanentError
from dispatcher.settings import AttestationSettings, GrantSettings
from dispatcher.vault import GrantGone, PolicyMissing
from dispatcher.vault.bot_secrets import bot_token
from dispatcher.vault.http import VaultHttp
from tests.servers.bao import Bao
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")

SHORT = GrantSettings(provisional_ttl_s=1, placement_wait_s=60, margin_s=0)


@pytest.fixture
def staged(vault: Bao) -> Iterator[Stage]:
    with stage(vault) as made:
        made.put(DEPLOY_KEY="one", API_TOKEN="two", OTHER="three")
        yield made


def eventually(condition):
    retry = tenacity.retry(
        retry=tenacity.retry_if_result(lambda met: not met),
        stop=tenacity.stop_after_delay(20),
        wait=tenacity.wait_fixed(0.05),
    )
    retry(condition)()


# -- what a grant opens --------------------------------------------------------------------


def test_a_run_reads_its_own_secrets_and_no_other(staged):
    wrapped = staged.grants().mint(KEY, ["DEPLOY_KEY", "API_TOKEN"], lifetime_s=60)
    token = staged.unwrap(wrapped)
    assert staged.read(token, "DEPLOY_KEY") == "one"
    assert staged.read(token, "API_TOKEN") == "two"
    with pytest.raises(hvac.exceptions.Forbidden):
        staged.read(token, "OTHER")
    client = staged.server.client(token)
    for forbidden in (
        lambda: client.secrets.kv.v2.list_secrets(
            path="disinto/runner", mount_point=staged.server.kv_mount
        ),
        lambda: staged.server.client(token).auth.token.create(
            policies=["disinto.default.runner.other"]
        ),
        lambda: client.auth.token.renew_self(increment="1h"),
        client.sys.list_policies,
        lambda: client.secrets.kv.v2.create_or_update_secret(
            path="disinto/runner/API_TOKEN",
            secret={"value": "x"},
            mount_point=staged.server.kv_mount,
        ),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            forbidden()


def test_a_grant_without_secrets_can_look_itself_up_and_nothing_else(staged):
    wrapped = staged.grants().mint(KEY, [], lifetime_s=60)
    assert wrapped.grant.policies == ("disinto.default.runner.lookup-self",)
    token = staged.unwrap(wrapped)
    assert staged.is_alive(token)
    with pytest.raises(hvac.exceptions.Forbidden):
        staged.read(token, "OTHER")


def test_a_grant_says_for_audit_what_it_is_for(staged):
    wrapped = staged.grants().mint(KEY, ["OTHER"], lifetime_s=60)
    seen = staged.root.auth.token.lookup_accessor(wrapped.grant.accessor)["data"]
    assert seen["meta"] == {"action_id": "deploy", "blob": "b" * 40}
    assert seen["policies"] == [
        "disinto.default.runner.lookup-self",
        "disinto.default.runner.other",
    ]
    assert seen["orphan"] is True
    assert wrapped.creation_path == "auth/token/create/disinto.default.runner"


def test_a_grant_outlives_the_token_of_the_dispatcher(staged):
    own = staged.dispatcher_token()
    wrapped = staged.grants(own).mint(KEY, ["OTHER"], lifetime_s=60)
    staged.root.auth.token.revoke(own)
    assert not staged.is_alive(own)
    assert staged.read(staged.unwrap(wrapped), "OTHER") == "three"


def test_the_wrapping_token_is_in_no_repr(staged):
    wrapped = staged.grants().mint(KEY, ["OTHER"], lifetime_s=60)
    assert wrapped.token not in repr(wrapped)
    assert wrapped.token not in str(wrapped)


@pytest.mark.parametrize("name", ["other", "NO-SECRETS", "A/../B", "PATH", "", "*"])
def test_a_name_that_no_secret_can_have_is_refused(staged, name):
    with pytest.raises(PermanentError):
        staged.grants().mint(KEY, [name], lifetime_s=60)


def test_a_secret_without_policy_is_named_and_nothing_is_minted(staged):
    before = staged.root.auth.token.list_accessors()["data"]["keys"]
    grants = staged.grants()
    with pytest.raises(PolicyMissing, match=r"secret NEVER_PUT\. .*disinto apply") as told:
        grants.mint(KEY, ["OTHER", "NEVER_PUT"], lifetime_s=60)
    assert told.value.secrets == ("NEVER_PUT",)
    after = staged.root.auth.token.list_accessors()["data"]["keys"]
    assert len(after) == len(before) + 1  # the dispatcher's own


def test_a_policy_that_was_written_since_is_noticed(staged):
    grants = staged.grants()
    with pytest.raises(PolicyMissing):
        grants.mint(KEY, ["LATE_COMER"], lifetime_s=60)
    staged.put(LATE_COMER="four")
    token = staged.unwrap(grants.mint(KEY, ["LATE_COMER"], lifetime_s=60))
    assert staged.read(token, "LATE_COMER") == "four"


def test_a_run_costs_four_calls(staged, monkeypatch):
    grants = staged.grants()
    grants.revoke(grants.mint(KEY, ["OTHER"], lifetime_s=60).grant)  # login, list of policies
    calls: list[str] = []
    request = VaultHttp.request

    def counted(self, method, path, *args, **kwargs):
        calls.append(path)
        return request(self, method, path, *args, **kwargs)

    monkeypatch.setattr(VaultHttp, "request", counted)
    wrapped = grants.mint(KEY, ["OTHER", "API_TOKEN"], lifetime_s=60)
    grants.extend(wrapped.grant, lifetime_s=60)
    grants.revoke(wrapped.grant)
    assert calls == [
        "auth/token/create/disinto.default.runner",
        "auth/token/renew-accessor",
        "auth/token/revoke-accessor",
        "auth/token/revoke-accessor",
    ]


def test_threads_share_one_log_in(staged, monkeypatch):
    logins = []
    request = VaultHttp.request

    def counted(self, method, path, *args, **kwargs):
        if path == "auth/token/lookup-self":
            logins.append(path)
        return request(self, method, path, *args, **kwargs)

    monkeypatch.setattr(VaultHttp, "request", counted)
    grants = staged.grants()
    with ThreadPoolExecutor(8) as pool:
        minted = list(
            pool.map(
                lambda n: (
                    grants.mint(
                        replace(KEY, action_id=f"a{n}"), ["OTHER"], lifetime_s=60
                    ).grant.accessor
                ),
                range(40),
            )
        )
    assert len(set(minted)) == 40
    assert len(logins) == 1


# -- how long it lives ---------------------------------------------------------------------


def test_a_grant_that_nobody_extends_is_dead_while_its_wrapping_lives(staged):
    wrapped = staged.grants(grants=SHORT).mint(KEY, ["OTHER"], lifetime_s=60)
    eventually(lambda: not staged.knows(wrapped.grant.accessor))
    assert staged.knows(wrapped.grant.wrapping_accessor)
    token = staged.unwrap(wrapped)
    assert not staged.is_alive(token)
    with pytest.raises(hvac.exceptions.Forbidden):
        staged.read(token, "OTHER")


def test_an_extended_grant_lives_to_its_whole_lifetime(staged):
    grants = staged.grants(grants=SHORT)
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=7200)
    grants.extend(wrapped.grant, lifetime_s=7200)
    seen = staged.root.auth.token.lookup_accessor(wrapped.grant.accessor)["data"]
    assert 7190 < seen["ttl"] <= 7200
    control = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    eventually(lambda: not staged.knows(control.grant.accessor))
    assert staged.read(staged.unwrap(wrapped), "OTHER") == "three"


def test_extending_a_grant_that_ended_says_so(staged):
    grants = staged.grants(grants=SHORT)
    wrapped = grants.mint(KEY, [], lifetime_s=60)
    eventually(lambda: not staged.knows(wrapped.grant.accessor))
    with pytest.raises(GrantGone):
        grants.extend(wrapped.grant, lifetime_s=60)
    gone = grants.mint(KEY, [], lifetime_s=60)
    grants.revoke(gone.grant)
    with pytest.raises(GrantGone):
        grants.extend(gone.grant, lifetime_s=60)


def test_a_role_that_caps_the_lifetime_is_reported(staged):
    staged.root.write_data(
        "auth/token/roles/disinto.default.runner", data={"token_explicit_max_ttl": "90s"}
    )
    grants = staged.grants()
    wrapped = grants.mint(KEY, [], lifetime_s=3600)
    with pytest.raises(Misconfigured, match=r"to \d+ s, but the run may need 3600 s"):
        grants.extend(wrapped.grant, lifetime_s=3600)


# -- how it ends ---------------------------------------------------------------------------


def test_revoking_ends_the_grant_and_its_wrapping_and_may_be_repeated(staged):
    grants = staged.grants()
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    for _ in range(3):
        grants.revoke(wrapped.grant)
    assert not staged.knows(wrapped.grant.accessor)
    assert not staged.knows(wrapped.grant.wrapping_accessor)
    with pytest.raises(hvac.exceptions.InvalidRequest):
        staged.unwrap(wrapped)


def test_revoking_ends_a_grant_in_use(staged):
    grants = staged.grants()
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    token = staged.unwrap(wrapped)
    grants.revoke(wrapped.grant)
    assert not staged.is_alive(token)


def test_withdrawing_an_unused_grant_is_certain_and_may_be_repeated(staged):
    grants = staged.grants()
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    assert grants.withdraw(wrapped.grant) is True
    assert grants.withdraw(wrapped.grant) is True  # as after a crash
    assert not staged.is_alive(staged.unwrap(wrapped))


def test_withdrawing_a_used_grant_says_so_and_ends_it(staged):
    grants = staged.grants()
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    token = staged.unwrap(wrapped)
    assert grants.withdraw(wrapped.grant) is False
    assert grants.withdraw(wrapped.grant) is False
    assert not staged.is_alive(token)


def test_withdrawing_an_unused_grant_whose_provisional_time_is_over_is_certain(staged):
    grants = staged.grants(grants=SHORT)
    wrapped = grants.mint(KEY, [], lifetime_s=60)
    eventually(lambda: not staged.knows(wrapped.grant.accessor))
    assert grants.withdraw(wrapped.grant) is True


def test_withdrawing_after_the_wrapping_expired_is_not_certain(staged):
    limits = GrantSettings(provisional_ttl_s=60, placement_wait_s=1, margin_s=0)
    grants = staged.grants(grants=limits)
    wrapped = grants.mint(KEY, [], lifetime_s=60)
    eventually(lambda: not staged.knows(wrapped.grant.wrapping_accessor))
    assert grants.withdraw(wrapped.grant) is False


def test_withdrawing_what_nobody_knows_is_not_certain(staged):
    grants = staged.grants()
    unknown = replace(
        grants.mint(KEY, [], lifetime_s=60).grant, wrapping_accessor="AAAA", accessor="BBBB"
    )
    assert grants.withdraw(unknown) is False


def test_a_runner_never_starts_with_a_grant_that_was_withdrawn(staged, record_property):
    """The race at the heart of "exactly once": both at the same time, over 400 rounds."""
    grants = staged.grants()
    chance = random.Random(1)
    seen: Counter[tuple[str, bool]] = Counter()

    def runner(wrapped, gate, delay):
        gate.wait()
        time.sleep(delay)
        try:
            token = staged.unwrap(wrapped)
        except (hvac.exceptions.VaultError, TypeError, KeyError):
            return "not unwrapped"
        return "started" if staged.is_alive(token) else "stopped at its look-up"

    def withdrawal(wrapped, gate, delay):
        gate.wait()
        time.sleep(delay)
        return grants.withdraw(wrapped.grant)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(400):
            wrapped = grants.mint(KEY, [], lifetime_s=60)
            gate = threading.Barrier(2)
            delays = chance.uniform(0, 0.006), chance.uniform(0, 0.003)
            ran = pool.submit(runner, wrapped, gate, delays[0])
            withdrawn = pool.submit(withdrawal, wrapped, gate, delays[1])
            seen[ran.result(), withdrawn.result()] += 1
    record_property("rounds", dict(seen))
    print({f"{ran}, withdrawn={sure}": n for (ran, sure), n in seen.items()})
    assert seen["started", True] == 0
    assert seen["started", False] > 0, "the runner never came first: the race was none"
    assert sum(n for (_, sure), n in seen.items() if sure) > 0, "nothing was ever withdrawn"


# -- what else the dispatcher reads --------------------------------------------------------


def test_names_of_secrets_are_those_that_an_action_can_use(staged):
    staged.server.put("lower", "x")
    staged.server.put("folder/INSIDE", "x")
    assert staged.grants().secret_names() == {"DEPLOY_KEY", "API_TOKEN", "OTHER"}


def test_no_secrets_at_all(vault):
    with stage(vault) as empty:
        assert empty.grants().secret_names() == frozenset()


def test_the_dispatchers_own_secrets(staged):
    staged.server.put("remote", " t0ken\n", prefix="disinto/bots")
    assert bot_token(staged.dispatcher(), "remote") == "t0ken"
    with pytest.raises(Misconfigured, match="disinto/bots/absent, field value"):
        bot_token(staged.dispatcher(), "absent")
    for name in ("../runner/OTHER", "a/b", "", ".."):
        with pytest.raises(Misconfigured):
            bot_token(staged.dispatcher(), name)


def test_transit_signs_and_gives_its_public_key(vault):
    with stage(vault) as made:
        settings = made.settings.model_copy(
            update={"attestation": AttestationSettings(transit_key="disinto")}
        )
        staged = replace(made, settings=settings)
        staged.apply()
        key = staged.transit()
        version, signature = key.transit_sign(b"statement")
        public = key.transit_public_keys()[version]
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"statement")
        staged.apply()  # without the key the policy would lose it
    with stage(vault) as plain, pytest.raises(Misconfigured, match="transit_key"):
        plain.transit().transit_sign(b"x")
