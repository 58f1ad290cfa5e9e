"""The thin client, hvac and a login reach Vault in one way: addresses, TLS, timeouts, errors."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dispatcher.errors import Dependency, DisintoError, PermanentError, Unavailable
from dispatcher.settings import VaultAuth, VaultSettings
from dispatcher.vault import Vault
from dispatcher.vault.hvac_client import hvac_client
from tests.servers import answering, redirecting
from tests.servers.bao import Bao
from tests.support.authority import Authority

TOKEN = "s.canary-of-the-token"
SECRET_ID = "canary-of-the-secret-id"
LEAKY = b'{"errors":["bad token hvs.CAESIabcdefghijklmnopqrstuv, s.abcdefghijklmnopqrstuvwx"]}'

Request = Callable[..., Any]
"""Makes one request to an address; keywords are further settings of [vault]."""


def by_thin_client(addr: str, **settings: Any) -> Any:
    vault = Vault(VaultSettings(addr=addr, **settings), environ={"VAULT_TOKEN": TOKEN})
    return vault.call("GET", "sys/mounts").data


def by_hvac(addr: str, **settings: Any) -> Any:
    vault = Vault(VaultSettings(addr=addr, **settings), environ={"VAULT_TOKEN": TOKEN})
    return hvac_client(vault).sys.list_mounted_secrets_engines()["data"]


@pytest.fixture(params=["thin client", "hvac", "login"])
def request_by(request: pytest.FixtureRequest, tmp_path: Path) -> Request:
    (tmp_path / "secret_id").write_text(SECRET_ID, encoding="utf-8")

    def by_log_in(addr: str, **settings: Any) -> Any:
        log_in = {
            "auth": VaultAuth.APPROLE,
            "role_id": "dispatcher",
            "secret_id_file": tmp_path / "secret_id",
        }
        vault = Vault(VaultSettings(addr=addr, **log_in, **settings), environ={})
        return vault.call("GET", answering.OWN_TOKEN.removeprefix("/v1/")).data

    ways = {"thin client": by_thin_client, "hvac": by_hvac, "login": by_log_in}
    return ways[request.param]


def refusal(request: Request, addr: str, **settings: Any) -> DisintoError:
    """The error of one request, which shows no credential."""
    with pytest.raises(DisintoError) as raised:
        request(addr, **settings)
    text = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert not [word for word in (TOKEN, SECRET_ID, "abcdefghij") if word in text]
    return raised.value


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (200, b"<html>hello</html>", "not Vault's JSON"),
        (200, b"[1]", "not Vault's JSON"),
        (400, b"Client sent an HTTP request to an HTTPS server.", "not Vault's JSON"),
        (429, b'{"errors":["slow down"]}', "rate-limits this client"),
        (500, b'{"errors":["storage"]}', "HTTP 500: storage"),
        (502, b"bad gateway", "HTTP 502"),
        (503, b'{"errors":["Vault is sealed"]}', "is sealed"),
        (473, b"", "HTTP 473"),
    ],
)
def test_an_answer_that_does_not_refuse_us_is_temporary_and_not_retried_here(
    request_by: Request, status: int, body: bytes, text: str
) -> None:
    with answering.serve(status, body) as server:
        error = refusal(request_by, server.addr)
    assert isinstance(error, Unavailable)
    assert error.dependency is Dependency.VAULT
    assert text in error.what
    assert len(server.requests) == 1


def test_the_errors_of_a_server_are_cleaned_of_tokens(request_by: Request) -> None:
    with answering.serve(500, LEAKY) as server:
        assert "bad token [token], [token]" in str(refusal(request_by, server.addr))
    with answering.serve(400, LEAKY) as server:
        error = refusal(request_by, server.addr)
    assert isinstance(error, PermanentError)
    assert "bad token [token], [token]" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(request_by: Request, status: int) -> None:
    with redirecting.serve(status=status) as target:
        location = {"Location": f"{target.target}/v1/x"}
        with answering.serve(status, b"", headers=location) as server:
            error = refusal(request_by, server.addr)
    assert isinstance(error, Unavailable)
    assert f"redirect to {target.target}" in error.what
    assert "which is not followed" in error.what
    assert target.arrived == []


def test_a_server_that_does_not_answer_is_given_the_time_of_the_settings(
    request_by: Request,
) -> None:
    with answering.serve(until=threading.Event()) as server:
        error = refusal(request_by, server.addr, timeout_s=0.2)
    assert isinstance(error, Unavailable)
    assert "did not answer within 0.2 s" in error.what
    assert len(server.requests) == 1


def test_plain_http_where_the_address_says_https(request_by: Request) -> None:
    with answering.serve() as server:
        error = refusal(request_by, server.addr.replace("http:", "https:"))
    assert isinstance(error, Unavailable)
    assert "no trusted connection" in error.what
    assert "set [vault] addr" in (error.remedy or "")
    assert server.requests == []


def test_only_the_authority_of_the_settings_is_trusted(
    request_by: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("vault", address="127.0.0.1"))
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT"):
        monkeypatch.setenv(variable, str(authority.certificate))
    with answering.serve(context=context) as server:
        for wrong in ({}, {"cacert": other.certificate}):
            error = refusal(request_by, server.addr, **wrong)
            assert "no trusted connection" in error.what
            assert "[vault] cacert" in (error.remedy or "")
        assert server.requests == []
        request_by(server.addr, cacert=authority.certificate)
    assert len(server.requests) == 1


def test_the_environment_moves_no_request_and_adds_no_credential(
    request_by: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would see the token; hvac and requests read all of these unless they are kept from it."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n", encoding="utf-8")
    (tmp_path / ".vault-token").write_text("s.of-a-person", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_TOKEN", "s.of-a-person")
    with redirecting.serve() as elsewhere, answering.serve() as server:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "VAULT_ADDR"):
            monkeypatch.setenv(variable, elsewhere.target)
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(variable, "")
        request_by(server.addr, namespace="team")
    assert elsewhere.arrived == []
    (headers,) = server.headers
    assert headers["X-Vault-Namespace"] == "team"
    assert headers["X-Vault-Request"] == "true"
    assert headers.get("X-Vault-Token", TOKEN) == TOKEN
    assert "Authorization" not in headers


@pytest.mark.needs("bao")
def test_what_runs_and_completion_need_loads_no_hvac(vault: Bao) -> None:
    """Neither the package, nor a login by token, nor the calls of a run."""
    program = """
import sys
from dispatcher.settings import Settings, VaultSettings
from dispatcher.vault import Grants, Vault, apply, doctor, removal, secrets
settings = Settings(vault=VaultSettings(addr=sys.argv[1], kv_mount=sys.argv[2]))
grants = Grants(Vault(settings.vault, environ={"VAULT_TOKEN": sys.argv[3]}), settings)
assert grants.secret_names() == frozenset()
assert grants.health().reachable
print(*sorted({"hvac", "requests"} & set(sys.modules)))
secrets.Secrets(grants._vault, settings).list()
print(*sorted({"hvac", "requests"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, vault.addr, vault.kv_mount, vault.root_token],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["", "hvac requests"], done.stderr
