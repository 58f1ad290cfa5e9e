"""Log-in by token, AppRole and JWT, and renewal, on a real OpenBao."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tenacity
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Denied, Misconfigured
from dispatcher.settings import VaultAuth, VaultSettings, settings_model
from dispatcher.vault import Vault
from dispatcher.vault.apply import apply_changes, plan_jwt, plan_vault
from tests.servers.bao import Bao
from tests.support.vault_stage import Stage, stage

pytestmark = pytest.mark.needs("bao")

LOOK = ("GET", "auth/token/lookup-self")


@pytest.fixture
def staged(vault: Bao) -> Iterator[Stage]:
    with stage(vault) as made:
        yield made


def eventually(condition):
    retry = tenacity.retry(
        retry=tenacity.retry_if_result(lambda met: not met),
        stop=tenacity.stop_after_delay(30),
        wait=tenacity.wait_fixed(0.05),
    )
    retry(condition)()


def policies(vault: Vault) -> list[str]:
    return list(vault.call(*LOOK).data["policies"])


# -- token ---------------------------------------------------------------------------------


def test_the_token_comes_from_the_environment_a_file_or_the_home(staged, tmp_path):
    token = staged.dispatcher_token()
    (tmp_path / "token").write_text(f"{token}\n", encoding="utf-8")
    (tmp_path / ".vault-token").write_text(token, encoding="utf-8")
    of_file = staged.settings.vault.model_copy(update={"token_file": tmp_path / "token"})
    for settings, environ in (
        (staged.settings.vault, {"VAULT_TOKEN": token}),
        (of_file, {}),
        (staged.settings.vault, {"HOME": str(tmp_path)}),
    ):
        assert policies(Vault(settings, environ=environ)) == ["disinto.default.dispatcher"]


def test_without_a_token_it_says_what_to_set(staged, tmp_path):
    with pytest.raises(Misconfigured, match="Set VAULT_TOKEN"):
        Vault(staged.settings.vault, environ={"HOME": str(tmp_path)}).call(*LOOK)
    missing = staged.settings.vault.model_copy(update={"token_file": tmp_path / "absent"})
    with pytest.raises(Misconfigured, match="absent: No such file"):
        Vault(missing, environ={}).call(*LOOK)
    (tmp_path / "broken").write_bytes(b"\xff\xfe")
    broken = staged.settings.vault.model_copy(update={"token_file": tmp_path / "broken"})
    with pytest.raises(Misconfigured, match="not UTF-8"):
        Vault(broken, environ={}).call(*LOOK)


def test_the_operator_uses_neither_the_log_in_nor_the_file_of_serve(staged, tmp_path):
    (tmp_path / "token").write_text(staged.dispatcher_token(), encoding="utf-8")
    settings = staged.settings.vault.model_copy(
        update={"auth": VaultAuth.JWT, "token_file": tmp_path / "token"}
    )
    own = Vault.of_operator(settings, environ={"VAULT_TOKEN": staged.server.root_token})
    assert policies(own) == ["root"]


def test_a_dead_token_is_refused_by_where_it_came_from(staged):
    with pytest.raises(Denied, match="token of VAULT_TOKEN") as told:
        Vault(staged.settings.vault, environ={"VAULT_TOKEN": "s.aaaaaaaaaaaaaaaaaaaaaaaa"}).call(
            *LOOK
        )
    assert "aaaaaa" not in str(told.value)


def test_a_short_token_is_renewed_while_nobody_calls(staged):
    token = staged.dispatcher_token(ttl="3s")
    vault = Vault(staged.settings.vault, environ={"VAULT_TOKEN": token})
    vault.call(*LOOK)
    control = staged.dispatcher_token(ttl="4s")
    eventually(lambda: not staged.is_alive(control))
    assert staged.is_alive(token)
    vault.close()
    eventually(lambda: not staged.is_alive(token))


def test_the_renewal_ends_with_the_last_reference(staged):
    vault = Vault(staged.settings.vault, environ={"VAULT_TOKEN": staged.dispatcher_token(ttl="2s")})
    vault.call(*LOOK)
    keeper = vault._token._thread
    assert keeper is not None
    del vault
    eventually(lambda: not keeper.is_alive())


def test_a_token_that_cannot_be_renewed_and_ends_soon_is_told(staged):
    token = staged.dispatcher_token(ttl="20m", renewable=False)
    health = Vault(staged.settings.vault, environ={"VAULT_TOKEN": token}).health()
    assert health.reachable
    assert not health.renewable
    assert "cannot be renewed" in health.problem
    limited = staged.dispatcher_token(ttl="20m", explicit_max_ttl="40m")
    health = Vault(staged.settings.vault, environ={"VAULT_TOKEN": limited}).health()
    assert "reaches its maximum TTL in" in health.problem
    periodic = staged.dispatcher_token(ttl="1h", period="1h")
    health = Vault(staged.settings.vault, environ={"VAULT_TOKEN": periodic}).health()
    assert health.problem == ""
    assert health.renewable
    assert 3590 <= (health.token_ttl_s or 0) <= 3600


def test_a_new_token_in_the_file_is_taken_when_the_old_one_is_dead(staged, tmp_path):
    file = tmp_path / "token"
    old = staged.dispatcher_token()
    file.write_text(old, encoding="utf-8")
    vault = Vault(staged.settings.vault.model_copy(update={"token_file": file}), environ={})
    vault.call(*LOOK)
    staged.root.auth.token.revoke(old)
    file.write_text(staged.dispatcher_token(), encoding="utf-8")
    assert policies(vault) == ["disinto.default.dispatcher"]


def test_a_missing_right_is_no_reason_to_log_in_again(staged):
    vault = Vault(staged.settings.vault, environ={"VAULT_TOKEN": staged.dispatcher_token()})
    with pytest.raises(Denied, match=r"refuses GET sys/mounts.*disinto apply"):
        vault.call("GET", "sys/mounts")


# -- AppRole -------------------------------------------------------------------------------


@pytest.fixture
def approle(staged, tmp_path):
    settings = staged.settings.model_copy(
        update={
            "vault": staged.settings.vault.model_copy(
                update={"auth": VaultAuth.APPROLE, "secret_id_file": tmp_path / "secret_id"}
            )
        }
    )
    apply_changes(staged.operator, plan_vault(staged.operator, settings))
    name = "disinto.default.dispatcher"
    role_id = staged.root.auth.approle.read_role_id(name)["data"]["role_id"]
    secret_id = staged.root.auth.approle.generate_secret_id(name)["data"]["secret_id"]
    (tmp_path / "secret_id").write_text(secret_id, encoding="utf-8")
    return settings.vault.model_copy(update={"role_id": role_id})


def test_approle_logs_in_with_the_dispatchers_policy_alone(approle):
    vault = Vault(approle, environ={"VAULT_TOKEN": "ignored"})
    assert policies(vault) == ["disinto.default.dispatcher"]
    assert vault.health().problem == ""


def test_approle_logs_in_anew_when_its_token_was_revoked(staged, approle):
    vault = Vault(approle, environ={})
    accessor = vault.call(*LOOK).data["accessor"]
    staged.root.auth.token.revoke_accessor(accessor)
    assert vault.call(*LOOK).data["accessor"] != accessor


def test_approle_logs_in_anew_at_the_end_of_its_time(staged, approle):
    staged.root.write_data(
        "auth/approle/role/disinto.default.dispatcher",
        data={"token_period": 0, "token_ttl": "1s", "token_max_ttl": "2s"},
    )
    vault = Vault(approle, environ={})
    first = vault.call(*LOOK).data["accessor"]
    eventually(lambda: not staged.knows(first))
    assert vault.call(*LOOK).data["accessor"] != first
    vault.close()


def test_approle_says_which_credential_is_wrong(approle, tmp_path):
    bad = approle.model_copy(update={"role_id": "nonsense"})
    with pytest.raises(Denied, match=r"login by approle at auth/approle .*secret ID"):
        Vault(bad, environ={}).call(*LOOK)
    (tmp_path / "secret_id").write_text("canary-secret-id", encoding="utf-8")
    with pytest.raises(Denied) as told:
        Vault(approle, environ={}).call(*LOOK)
    assert "canary" not in str(told.value)
    with pytest.raises(Misconfigured, match="role_id"):
        Vault(approle.model_copy(update={"role_id": ""}), environ={}).call(*LOOK)


# -- JWT -----------------------------------------------------------------------------------


class Issuer:
    """What Nomad is to Vault: a key, and the address where its public half is found."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        jwk = {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k1"}
        keys = json.dumps({"keys": [jwk | {"x": self._b64(raw)}]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addr = f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def _b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def token(self, **claims: object) -> str:
        body = {
            "aud": "vault.io",
            "exp": 4_000_000_000,
            "iat": 1_700_000_000,
            "nbf": 1_700_000_000,
            "sub": "global:default:dispatcher",
            "nomad_job_id": "disinto-dispatcher",
            "nomad_namespace": "default",
            "nomad_task": "dispatcher",
        } | claims
        head = self._b64(json.dumps({"alg": "EdDSA", "kid": "k1", "typ": "JWT"}).encode())
        signed = f"{head}.{self._b64(json.dumps(body).encode())}"
        return f"{signed}.{self._b64(self.key.sign(signed.encode()))}"


@pytest.fixture
def issuer():
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def workload(staged, issuer, tmp_path):
    from dispatcher.engines.nomad.render import dispatcher_name

    vault = staged.settings.vault.model_copy(
        update={"auth": VaultAuth.JWT, "jwt_file": tmp_path / "jwt"}
    )
    settings = settings_model()(vault=vault, nomad=NomadSettings(addr=issuer.addr))
    apply_changes(staged.operator, plan_jwt(staged.operator, settings))
    again = plan_jwt(staged.operator, settings)
    assert not [c.path for c in again if c.drift]
    job = dispatcher_name(settings.nomad)

    def login(**claims: object) -> Vault:
        (tmp_path / "jwt").write_text(
            issuer.token(**({"nomad_job_id": job} | claims)), encoding="utf-8"
        )
        return Vault(vault, environ={})

    return login


def test_the_dispatchers_job_logs_in_by_its_workload_identity(workload):
    vault = workload()
    assert policies(vault) == ["disinto.default.dispatcher"]
    seen = vault.call(*LOOK).data
    assert seen["period"] == 1800
    assert vault.health().problem == ""


@pytest.mark.parametrize(
    "claims",
    [
        {"nomad_job_id": "runner"},
        {"nomad_namespace": "other"},
        {"aud": "nomadproject.io"},
        {"exp": 1_700_000_001},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_no_other_identity_does(workload, claims):
    vault = workload(**claims)
    with pytest.raises(Denied, match="login by jwt at auth/jwt-nomad") as told:
        vault.call(*LOOK)
    assert "eyJ" not in str(told.value)


def test_the_jwt_is_read_again_at_each_log_in(staged, workload, tmp_path, issuer):
    vault = workload()
    accessor = vault.call(*LOOK).data["accessor"]
    (tmp_path / "jwt").write_text(issuer.token(nomad_job_id="runner"), encoding="utf-8")
    staged.root.auth.token.revoke_accessor(accessor)
    with pytest.raises(Denied):
        vault.call(*LOOK)
    workload()
    assert vault.call(*LOOK).data["accessor"] != accessor


def test_an_address_that_cannot_be_right_is_refused():
    for addr in ("", "127.0.0.1:8200", "ftp://x", "https://user:canary@host"):
        with pytest.raises(Misconfigured, match="VAULT_ADDR") as told:
            Vault(VaultSettings(addr=addr), environ={})
        assert "canary" not in str(told.value)
