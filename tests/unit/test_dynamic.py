"""Dynamic secrets: what settings may say, what travels to the runner, and what it makes of answers."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import Dependency, InvalidSettings, Unavailable
from dispatcher.model.action import Action, parse_action
from dispatcher.model.dynamic import DynamicSecret, clashes
from dispatcher.model.payload import BadPayload, decode_payload, encode_payload
from dispatcher.model.references import check_names
from dispatcher.model.run import FormulaKind, FormulaRef, Grant, RunKey, RunSpec, Tier, WrappedGrant
from dispatcher.runner.dynamic import Fetched, ended_before, fetch_dynamic, variables
from dispatcher.runner.vault_client import AnswerLost, Reply
from dispatcher.settings import Settings, VaultSettings, load_settings
from dispatcher.settings.dynamic import DynamicSettings
from dispatcher.vault.dynamic import role_path
from dispatcher.vault.templates import runner_policy

DB = DynamicSecret(
    name="PROD_DB",
    path="database/creds/app",
    fields={"DB_USER": "username", "DB_PASSWORD": "password"},
)
WEB = DynamicSecret(
    name="WEB",
    path="pki/issue/web",
    fields={"TLS_KEY": "private_key", "TLS_CHAIN": "ca_chain"},
    write={"common_name": "app.example"},
)
WRAPPED = WrappedGrant(
    grant=Grant(wrapping_accessor="wa", accessor="a"), token="s.wrapping", creation_path="p"
)


def spec(*dynamic: DynamicSecret, secrets: tuple[str, ...] = ()) -> RunSpec:
    return RunSpec(
        key=RunKey(action_id="deploy", blob="ab" * 20),
        commit="c" * 40,
        tier=Tier.LOW,
        formula=FormulaRef(name="f", kind=FormulaKind.SHELL, blob="cd" * 20, sha256="ef" * 32),
        secrets=secrets or tuple(secret.name for secret in dynamic),
        dynamic=dynamic,
    )


# -- settings ------------------------------------------------------------------------------


def problems(tmp_path: Path, text: str) -> str:
    file = tmp_path / "disinto.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as wrong:
        load_settings(file, {})
    return str(wrong.value)


def section(*, name: str = "PROD_DB", path: str = "database/creds/app", rest: str = "") -> str:
    fields = "" if "fields" in rest else 'fields = { DB_PASSWORD = "password" }\n'
    return f"[vault.dynamic.{name}]\npath = {json.dumps(path)}\n{fields}{rest}\n"


def test_a_section_is_read(tmp_path: Path) -> None:
    file = tmp_path / "disinto.toml"
    file.write_text(section(rest='write = { ttl = "1h" }\nrequire_lease = false'))
    read = load_settings(file, {}).vault.dynamic["PROD_DB"]
    assert (read.path, read.fields) == ("database/creds/app", {"DB_PASSWORD": "password"})
    assert (read.write, read.require_lease) == ({"ttl": "1h"}, False)


@pytest.mark.parametrize(
    "path",
    [
        "../sys/mounts", "database/../sys/mounts", "database/creds/..", "database/./creds/app",
        "database/creds/*", "database/creds/+", "database/+/app", "database//creds/app",
        "/database/creds/app", "database/creds/app/", "database", "", "database/creds/a b",
        'x/y" { capabilities = ["sudo"] }', "x/{{identity.entity.id}}", "x/\u212a", "x/y\n",
        "x/" + "y" * 300,
    ],
)  # fmt: skip
def test_a_path_that_is_not_plain_is_refused(tmp_path: Path, path: str) -> None:
    assert "path" in problems(tmp_path, section(path=path))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("sys/policies/acl/x", "the server's own"),
        ("SYS/policies/acl/x", "the server's own"),
        ("auth/token/create", "the server's own"),
        ("team/auth/token/create", "the server's own"),
        ("team/sub/sys/raw", "the server's own"),
        ("cubbyhole/x", "the server's own"),
        ("identity/entity/id", "the server's own"),
        ("kv/data/disinto/bots/forge", "stored secrets"),
        ("kv/metadata", "stored secrets"),
        ("transit/sign/results", "the key that signs results"),
    ],
)
def test_a_path_to_more_than_a_credential_is_refused(tmp_path: Path, path: str, why: str) -> None:
    assert why in problems(tmp_path, section(path=path))


def test_the_mounts_that_are_kept_out_are_those_of_the_settings(tmp_path: Path) -> None:
    text = '[vault]\nkv_mount = "team/stored"\n' + section(path="team/stored/data/x")
    assert "lies in [vault] kv_mount" in problems(tmp_path, text)
    role_called_auth = tmp_path / "fine.toml"
    role_called_auth.write_text(section(path="database/creds/auth"))
    assert load_settings(role_called_auth, {}).vault.dynamic


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "DISINTO_TIER", "lower", "BASH_ENV"])
def test_no_variable_and_no_name_is_reserved(tmp_path: Path, name: str) -> None:
    wrong = problems(tmp_path, section(rest=f'fields = {{ {name} = "password" }}'))
    assert f"{tmp_path}/disinto.toml:3:" in wrong
    assert name in wrong
    assert name in problems(tmp_path, section(name=name))


@pytest.mark.parametrize(
    "rest",
    [
        "fields = {}",
        'fields = { A = "" }',
        'fields = { A = "pass word" }',
        "fields = { A = 1 }",
        "fields = {{ {} }}".format(", ".join(f'A{n} = "x"' for n in range(33))),
        'write = { "" = "x" }',
        'write = { Common_Name = "x" }',
        'write = { a = "%s" }' % ("x" * 5000),
        'colour = "red"',
        'require_lease = "no"',
    ],
)
def test_what_is_no_section_is_refused(tmp_path: Path, rest: str) -> None:
    assert "disinto.toml:" in problems(tmp_path, section(rest=rest))


# -- policies ------------------------------------------------------------------------------


def policy(**dynamic: Any) -> str:
    made = DynamicSettings(**{"path": "e/creds/r", "fields": {"A": "a"}, **dynamic})
    return runner_policy(Settings(vault=VaultSettings(dynamic={"NAME": made})), "NAME")


def test_a_policy_allows_one_request() -> None:
    assert 'path "e/creds/r" {\n  capabilities = ["read"]\n}' in policy()
    written = policy(write={"common_name": 'a"b'})
    assert 'capabilities = ["update"]' in written
    assert '"common_name" = ["a\\"b"]' in written
    assert "denied_parameters" in policy(write={})
    stored = runner_policy(Settings(), "NAME")
    assert 'path "kv/data/disinto/runner/NAME"' in stored


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("database/creds/app", "database/roles/app"),
        ("team/db/static-creds/app", "team/db/static-roles/app"),
        ("pki/issue/web", "pki/roles/web"),
        ("ssh/sign/admin", "ssh/roles/admin"),
        ("gcp/roleset/x/token", ""),
        ("creds/app", ""),
    ],
)
def test_where_a_role_is(path: str, role: str) -> None:
    assert role_path(path) == role


# -- actions -------------------------------------------------------------------------------

VARIABLES = {"PROD_DB": ("DB_USER", "DB_PASSWORD"), "TEST_DB": ("DB_USER",)}


def test_secrets_that_become_one_variable_are_named_with_their_place() -> None:
    text = b'id = "a"\nformula = "f"\ncontext = ""\nsecrets = ["PROD_DB", "TEST_DB"]\n'
    action = parse_action(text, path="a.toml", stem="a")
    assert isinstance(action, Action)
    known: dict[str, Any] = {"formulas": ["f"], "secrets": ["PROD_DB", "TEST_DB"], "mounts": None}
    (problem,) = check_names(action, text, path="a.toml", variables=VARIABLES, **known)
    assert (problem.line, problem.column) == (4, 23)
    assert "TEST_DB becomes the variable DB_USER, and so does PROD_DB" in problem.message
    assert check_names(action, text, path="a.toml", **known) == ()


def test_a_stored_secret_clashes_with_a_variable_of_its_name() -> None:
    assert [c.variable for c in clashes(["DB_USER", "PROD_DB"], VARIABLES)] == ["DB_USER"]
    assert not list(clashes(["PROD_DB", "OTHER"], VARIABLES))


@given(st.lists(st.sampled_from(["PROD_DB", "TEST_DB", "DB_USER", "X"]), unique=True))
def test_without_a_clash_every_variable_is_given_once(names: list[str]) -> None:
    given_ = [variable for name in names for variable in VARIABLES.get(name, (name,))]
    assert bool(list(clashes(names, VARIABLES))) == (len(given_) != len(set(given_)))


# -- payload -------------------------------------------------------------------------------


def test_dynamic_secrets_travel() -> None:
    given_ = spec(DB, WEB)
    assert decode_payload(encode_payload(given_, WRAPPED)).spec == given_


def test_a_payload_without_them_is_what_it_was() -> None:
    document = json.loads(zlib.decompress(encode_payload(spec(secrets=("A",)), WRAPPED)))
    assert "dynamic" not in document["spec"]


@pytest.mark.parametrize(
    "change",
    [
        {"path": 1}, {"fields": ["a"]}, {"fields": {"A": 1}}, {"require_lease": "yes"},
        {"write": "x"}, {"unheard_of": True},
    ],
)  # fmt: skip
def test_a_foreign_dynamic_secret_is_refused(change: dict[str, object]) -> None:
    document = json.loads(zlib.decompress(encode_payload(spec(DB), WRAPPED)))
    document["spec"]["dynamic"][0] |= change
    with pytest.raises(BadPayload):
        decode_payload(zlib.compress(json.dumps(document).encode()))


# -- the runner ----------------------------------------------------------------------------


def answer(**data: object) -> Reply:
    return Reply(200, {"lease_id": "l/1", "lease_duration": 60, "data": data})


def fetched(run: RunSpec, *replies: Reply) -> tuple[str, Fetched, list[str]]:
    sent: list[str] = []
    left = iter(replies)

    def send(secret: DynamicSecret) -> Reply:
        sent.append(secret.path)
        return next(left)

    into = Fetched()
    return fetch_dynamic(run, send, into), into, sent


def test_several_variables_come_from_one_answer() -> None:
    replies = answer(username="u", password="p"), answer(private_key="k", ca_chain=["c1", "c2"])
    fault, into, sent = fetched(spec(DB, WEB), *replies)
    assert fault == ""
    assert into.values == {
        "DB_USER": "u",
        "DB_PASSWORD": "p",
        "TLS_KEY": "k",
        "TLS_CHAIN": "c1\nc2",
    }
    assert sent == [DB.path, WEB.path]
    assert into.leases == {"PROD_DB": 60, "WEB": 60}
    assert "c1" not in repr(into)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(403, {"errors": ["permission\ndenied"]}), "403: permission denied"),
        (Reply(500, {"errors": ["x" * 5000]}), "500: " + "x" * 300),
        (Reply(502, {}), "returned 502)"),
        (Reply(200, {"data": {"username": "canary", "password": "canary"}}), "without a lease"),
        (answer(username="canary"), "`password`"),
        (answer(username="canary", password={"canary": 1}), "`password`"),
        (answer(username="canary", password=""), "`password` that is empty"),
        (answer(username="canary", password="canary\0"), "NUL"),
        (Reply(200, {"lease_id": "l/1", "data": None}), "`username`"),
    ],
)
def test_an_answer_that_is_of_no_use_stops_it(reply: Reply, said: str) -> None:
    fault, _, sent = fetched(spec(DB, WEB), reply)
    assert fault.startswith("PROD_DB (database/creds/app) ")
    assert said in fault
    assert len(fault) < 500
    assert "canary" not in fault, "no value is shown"
    assert sent == [DB.path], "no credential is made in vain"


def test_an_answer_without_a_lease_may_be_allowed() -> None:
    signed = DynamicSecret(
        name="SSH", path="ssh/sign/x", fields={"CERT": "signed_key"}, require_lease=False
    )
    fault, into, _ = fetched(spec(signed), Reply(200, {"data": {"signed_key": "c"}}))
    assert (fault, into.values, into.leases) == ("", {"CERT": "c"}, {})


def test_a_lost_answer_is_not_asked_for_again() -> None:
    sent = []

    def send(secret: DynamicSecret) -> Reply:
        sent.append(secret)
        raise AnswerLost(Dependency.VAULT, "no answer")

    with pytest.raises(Unavailable, match=r"PROD_DB \(database/creds/app\) was lost"):
        fetch_dynamic(spec(DB, WEB), send, Fetched())
    assert len(sent) == 1


def test_the_runner_refuses_two_values_for_one_variable() -> None:
    assert variables(spec(DB, secrets=("A", "PROD_DB"))) == ["A", "DB_USER", "DB_PASSWORD"]
    with pytest.raises(ValueError, match="DB_USER and PROD_DB both become DB_USER"):
        variables(spec(DB, secrets=("DB_USER", "PROD_DB")))


def test_a_lease_that_ended_during_a_failed_run_is_named() -> None:
    assert "A after 60 s" in ended_before({"A": 60, "B": 90}, started_at=5.0, finished_at=70.0)
    assert ended_before({"A": 60}, started_at=5.0, finished_at=64.0) == ""
