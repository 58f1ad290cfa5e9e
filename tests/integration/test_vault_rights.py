"""What the dispatcher's own token can not do, asked of a real OpenBao."""

from __future__ import annotations

from collections.abc import Iterator

import hvac.exceptions
import pytest

from dispatcher.vault import templates
from dispatcher.vault.bot_secrets import bot_token
from tests.servers.bao import Bao
from tests.support.vault_stage import KEY, Stage, stage

pytestmark = pytest.mark.needs("bao")

REFUSED = (hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest)


@pytest.fixture
def staged(vault: Bao) -> Iterator[Stage]:
    with stage(vault) as made:
        made.put(OTHER="three")
        yield made


@pytest.fixture
def client(staged):
    return staged.server.client(staged.dispatcher_token())


def wrapped_create(client, role="disinto.default.runner", **body):
    return client.write_data(f"auth/token/create/{role}", data=body, wrap_ttl="60s")


def test_it_reads_no_secret_of_actions(staged, client):
    mount = staged.server.kv_mount
    for path in (
        f"{mount}/data/disinto/runner/OTHER",
        f"{mount}/metadata/disinto/runner/OTHER",
        f"{mount}/subkeys/disinto/runner/OTHER",
        f"{mount}/data/disinto/bots/../runner/OTHER",
        f"{mount}/config",
    ):
        with pytest.raises(hvac.exceptions.VaultError):
            client.read(path)


def test_it_writes_destroys_and_undeletes_no_secret(staged, client):
    mount = staged.server.kv_mount
    for prefix in ("disinto/runner", "disinto/bots"):
        for part in ("data", "delete", "undelete", "destroy", "metadata"):
            with pytest.raises(hvac.exceptions.Forbidden):
                client.write_data(
                    f"{mount}/{part}/{prefix}/OTHER", data={"data": {}, "versions": [1]}
                )
        with pytest.raises(hvac.exceptions.Forbidden):
            client.delete(f"{mount}/metadata/{prefix}/OTHER")


@pytest.mark.parametrize(
    "policies",
    [
        ["root"],
        ["disinto.default.dispatcher"],
        ["default"],
        ["disinto.default.runner.other", "root"],
        ["disinto.default.runner.other", "disinto.default.dispatcher"],
        ["disinto.default.runner.other", "default"],
        ["RUNNER-other", "ROOT"],
        ["disinto.default.runner.other,root"],
        ["disinto.default.runner.other", "\troot"],
        ["xdisinto.default.runner.other"],
    ],
    ids=repr,
)
def test_it_mints_nothing_but_runner_policies(staged, client, policies):
    accessors = set(staged.root.auth.token.list_accessors()["data"]["keys"])
    try:
        wrap = wrapped_create(client, policies=policies)["wrap_info"]
    except REFUSED:
        return
    # A policy name with odd characters is one name, of a policy that nobody wrote.
    made = staged.root.auth.token.lookup_accessor(wrap["wrapped_accessor"])["data"]
    assert wrap["wrapped_accessor"] not in accessors
    assert all(name.startswith("disinto.default.runner.") for name in made["policies"])
    assert not {"root", "default", "disinto.default.dispatcher"} & set(made["policies"])


def test_it_mints_only_through_the_one_role(staged, client):
    staged.root.write_data("auth/token/roles/wide", data={"allowed_policies_glob": ["*"]})
    with pytest.raises(hvac.exceptions.Forbidden):
        wrapped_create(client, role="wide", policies=["root"])
    for path in ("auth/token/create", "auth/token/create-orphan"):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.write_data(
                path, data={"policies": ["disinto.default.runner.other"]}, wrap_ttl="60s"
            )


def test_it_mints_only_wrapped(client):
    with pytest.raises(hvac.exceptions.Forbidden):
        client.write_data(
            "auth/token/create/disinto.default.runner",
            data={"policies": ["disinto.default.runner.other"]},
        )


def test_it_gives_a_grant_no_default_policy_nor_a_period(staged, client):
    with pytest.raises(hvac.exceptions.InvalidRequest, match="periodic"):
        wrapped_create(client, policies=["disinto.default.runner.other"], period="1h")
    wrap = wrapped_create(
        client, policies=["disinto.default.runner.other"], no_default_policy=False
    )
    made = staged.root.auth.token.lookup_accessor(wrap["wrap_info"]["wrapped_accessor"])["data"]
    assert made["policies"] == ["disinto.default.runner.other"]
    assert not made.get("period")


def test_it_writes_no_policy_role_mount_or_log_in(client):
    for path, body in {
        "sys/policies/acl/disinto.default.runner.other": {
            "policy": 'path "*" { capabilities = ["sudo"] }'
        },
        "sys/policies/acl/disinto.default.dispatcher": {"policy": ""},
        "sys/policy/disinto.default.runner.other": {"policy": ""},
        "auth/token/roles/disinto.default.runner": {"allowed_policies_glob": ["*"]},
        "auth/token/roles/another": {"allowed_policies_glob": ["*"]},
        "sys/mounts/more": {"type": "kv"},
        "sys/auth/more": {"type": "userpass"},
        "sys/seal": {},
        "sys/audit/file": {"type": "file"},
        "identity/entity": {"policies": ["root"]},
        "auth/token/revoke-orphan": {"token": "x"},
    }.items():
        with pytest.raises(hvac.exceptions.Forbidden):
            client.write_data(path, data=body)
    with pytest.raises(hvac.exceptions.Forbidden):
        client.delete("sys/policies/acl/disinto.default.runner.other")


def test_it_lists_no_accessors_and_reads_no_policy_but_those_of_secrets(client):
    with pytest.raises(hvac.exceptions.Forbidden):
        client.list("auth/token/accessors")
    assert client.read("sys/policies/acl/disinto.default.runner.other")
    for other in ("default", "disinto.default.dispatcher"):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.read(f"sys/policies/acl/{other}")


def test_it_can_do_all_that_it_must(staged):
    staged.server.put("remote", "t0ken", prefix="disinto/bots")
    grants = staged.grants()
    wrapped = grants.mint(KEY, ["OTHER"], lifetime_s=60)
    grants.extend(wrapped.grant, lifetime_s=60)
    assert grants.withdraw(wrapped.grant)
    grants.revoke(wrapped.grant)
    assert grants.secret_names() == {"OTHER"}
    assert bot_token(staged.dispatcher(), "remote") == "t0ken"
    assert grants.health().problem == ""


def test_the_policy_of_a_secret_names_one_path(staged):
    text = templates.runner_policy(staged.settings, "OTHER")
    paths = [line for line in text.splitlines() if line.startswith("path")]
    assert paths == [f'path "{staged.server.kv_mount}/data/disinto/runner/OTHER" {{']
