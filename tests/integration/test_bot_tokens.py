"""The token of a project's bot, on a real OpenBao: who can read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import hvac.exceptions
import pytest

from dispatcher.errors import InvalidValue
from dispatcher.model.checks import Check
from dispatcher.settings.jobs import JobClassSettings
from dispatcher.vault import PolicyMissing
from dispatcher.vault.apply import ChangeKind, plan_vault
from dispatcher.vault.doctor import check_vault
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")

ACME, OTHER = "acme-bot", "other-bot"


@pytest.fixture
def staged(vault: Bao) -> Iterator[Stage]:
    """Two projects with a bot each, the dispatcher's own, a secret of actions."""
    with stage(vault) as plain:
        jobs = {"sidecar": JobClassSettings(bots={"acme": ACME, "other": OTHER})}
        made = replace(plain, settings=plain.settings.model_copy(update={"jobs": jobs}))
        made.apply()
        made.put(ACTIONS="a")
        secrets = Secrets(made.operator, made.settings)
        for bot in (ACME, OTHER, "remote", "unused"):
            assert secrets.put_bot(bot, f"token of {bot}") == 1
        yield made


def readable(staged: Stage, token: str) -> set[str]:
    """What of all that is stored a token reads."""
    client, mount = staged.server.client(token), staged.server.kv_mount
    names = [f"disinto/bots/{bot}" for bot in (ACME, OTHER, "remote", "unused")]
    found = set()
    for name in [*names, "disinto/runner/ACTIONS"]:
        for part in ("data", "metadata", "subkeys"):
            try:
                if client.read(f"{mount}/{part}/{name}"):
                    found.add(f"{part}/{name}")
            except hvac.exceptions.Forbidden:
                pass
    return found


def test_a_run_reads_its_own_bots_token_and_nothing_else(staged: Stage) -> None:
    wrapped = staged.grants().mint(KEY, [], bot=ACME, lifetime_s=60)
    token = staged.unwrap(wrapped)
    assert readable(staged, token) == {f"data/disinto/bots/{ACME}"}
    with_secret = staged.grants().mint(KEY, ["ACTIONS"], bot=OTHER, lifetime_s=60)
    assert readable(staged, staged.unwrap(with_secret)) == {
        f"data/disinto/bots/{OTHER}",
        "data/disinto/runner/ACTIONS",
    }
    client = staged.server.client(token)
    mount = staged.server.kv_mount
    for path in (f"{mount}/metadata/disinto/bots", f"{mount}/metadata/disinto"):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.list(path)
    for path in ("sys/policies/acl/root", "auth/token/create"):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.write_data(path, data={})
    staged.grants().revoke(wrapped.grant)
    assert not staged.is_alive(token)


def test_a_run_without_a_bot_reads_none(staged: Stage) -> None:
    wrapped = staged.grants().mint(KEY, ["ACTIONS"], lifetime_s=60)
    assert readable(staged, staged.unwrap(wrapped)) == {"data/disinto/runner/ACTIONS"}


def test_the_dispatcher_reads_only_its_own(staged: Stage) -> None:
    assert readable(staged, staged.dispatcher_token()) == {"data/disinto/bots/remote"}


def test_a_bot_that_no_setting_names_cannot_be_granted(staged: Stage) -> None:
    with pytest.raises(PolicyMissing, match="disinto/bots/unused"):
        staged.grants().mint(KEY, [], bot="unused", lifetime_s=60)
    with pytest.raises(InvalidValue):
        staged.grants().mint(KEY, [], bot="*", lifetime_s=60)


def test_apply_writes_a_policy_per_bot_and_removes_it_with_the_setting(staged: Stage) -> None:
    plan = plan_vault(staged.operator, staged.settings)
    # The server is shared: other tests leave policies behind, which are stale here.
    others = {change.path for change in plan if change.kind is ChangeKind.STALE}
    assert {change.kind for change in plan} - {ChangeKind.STALE} == {ChangeKind.UNCHANGED}
    without = staged.settings.model_copy(update={"jobs": {}})
    prefix = "sys/policies/acl/disinto.default.runner.bot-"
    ours = {f"{prefix}{ACME}", f"{prefix}{OTHER}"}
    assert not ours & others
    stale = {c.path for c in plan_vault(staged.operator, without) if c.kind is ChangeKind.STALE}
    assert stale - others == ours
    changes = plan_vault(staged.operator, without, remove_stale=True)
    assert {c.path for c in changes if c.kind is ChangeKind.DELETE} == stale


def test_doctor_names_what_a_class_gives_and_vault_does_not_have(staged: Stage) -> None:
    """By the dispatcher's own token, which reads names of bots and no token."""
    classes = {
        "sidecar": JobClassSettings(bots={"acme": ACME, "new": "new-bot"}),
        "deploy": JobClassSettings(secrets=("ACTIONS", "DEPLOY_KEY")),
    }
    made = replace(staged, settings=staged.settings.model_copy(update={"jobs": classes}))
    made.apply()

    def checked() -> dict[str, Check]:
        return {check.name: check for check in check_vault(made.dispatcher(), made.settings)}

    check = checked()["vault: job classes"]
    assert not check.ok
    assert check.detail == (
        "not stored: secret DEPLOY_KEY ([jobs.deploy] secrets), bot new-bot ([jobs.sidecar] bots.new)"
    )
    assert "disinto secrets put DEPLOY_KEY" in check.remedy
    assert "disinto secrets put --bot new-bot" in check.remedy
    assert Secrets(made.operator, made.settings).put_bot("new-bot", "token of new-bot") == 1
    made.put(DEPLOY_KEY="k")
    found = checked()
    assert {name: check.detail for name, check in found.items() if not check.ok} == {}
    assert found["vault: job classes"].detail == "4 secrets and bots, all stored"
    plain = replace(staged, settings=staged.settings.model_copy(update={"jobs": {}}))
    plain.apply()
    assert "vault: job classes" not in {
        check.name for check in check_vault(plain.dispatcher(), plain.settings)
    }
    client, mount = staged.server.client(plain.dispatcher_token()), staged.server.kv_mount
    with pytest.raises(hvac.exceptions.Forbidden):
        client.list(f"{mount}/metadata/disinto/bots")


def test_doctor_reports_a_dispatcher_that_reads_bots(staged: Stage) -> None:
    def least() -> tuple[bool, str]:
        checks = check_vault(staged.dispatcher(), staged.settings)
        found = next(check for check in checks if check.name == "vault: least rights")
        return found.ok, found.detail

    assert least()[0]
    assert all(check.ok for check in check_vault(staged.dispatcher(), staged.settings))
    name = "disinto.default.dispatcher"
    policy = staged.root.sys.read_acl_policy(name)["data"]["policy"]
    mount = staged.server.kv_mount
    wider = f'{policy}\npath "{mount}/data/disinto/bots/*" {{ capabilities = ["read"] }}\n'
    staged.root.sys.create_or_update_acl_policy(name, wider)
    ok, detail = least()
    assert not ok
    assert f"bots/{ACME}" in detail
    (change,) = [c for c in plan_vault(staged.operator, staged.settings) if c.drift]
    assert change.path.endswith(name)


def test_a_token_is_written_listed_and_removed(staged: Stage) -> None:
    secrets = Secrets(staged.operator, staged.settings)
    assert secrets.bots() == [ACME, OTHER, "remote", "unused"]
    assert secrets.put_bot(ACME, "another") == 2
    assert secrets.rm_bot(ACME)
    assert not secrets.rm_bot(ACME)
    assert ACME not in secrets.bots()
    assert [s.name for s in secrets.list()] == ["ACTIONS"], "bots are no secrets of actions"
    with pytest.raises(InvalidValue, match="is empty"):
        secrets.put_bot(ACME, "\n")
