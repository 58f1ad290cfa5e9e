"""What an operator reads who is in the wrong directory, holds the wrong token or has the wrong address."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from tests.servers.bao import Bao
from tests.support.cli_process import disinto
from tests.support.vault_stage import stage

pytestmark = pytest.mark.needs("bao")

VALUE = "a-value-that-no-message-may-hold"


@pytest.fixture
def environ(tmp_path: Path, vault: Bao) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "VAULT_ADDR": vault.addr,
        "VAULT_TOKEN": vault.root_token,
        "DISINTO_VAULT__KV_MOUNT": vault.kv_mount,
    }


@pytest.fixture
def configured(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    file = tmp_path / "disinto.toml"
    file.write_text("")
    return {**environ, "DISINTO_CONFIG": str(file)}


@pytest.fixture
def plain() -> Iterator[str]:
    """Address of a server that speaks plain http."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def put(environ: dict[str, str], *words: str, value: str = VALUE) -> tuple[int, str]:
    said = disinto("secrets", "put", *words, env=environ, stdin=value)
    assert VALUE not in said.out + said.err
    assert "Errno" not in said.err
    assert "Traceback" not in said.err
    return said.code, said.err


def test_without_settings_a_secret_is_written_only_by_consent(
    environ: dict[str, str], vault: Bao
) -> None:
    code, told = put(environ, "SOME_TOKEN")
    assert code == Exit.CONFIG
    assert f"{vault.addr}, {vault.kv_mount}/disinto/runner/SOME_TOKEN" in told
    assert "--config" in told
    assert "No settings file was found" in told
    assert put(environ, "SOME_TOKEN", "--yes")[0] == Exit.OK


@pytest.mark.parametrize(
    ("name", "value"),
    [("BASHPID", VALUE), ("EMPTY", ""), ("LARGE", "x" * 200_000)],
)
def test_what_a_person_typed_wrong_is_no_defect(
    configured: dict[str, str], name: str, value: str
) -> None:
    code, told = put(configured, name, value=value)
    assert code == Exit.DATAERR
    assert name in told


def test_the_dispatchers_token_is_called_the_wrong_one(
    configured: dict[str, str], vault: Bao
) -> None:
    with stage(vault) as staged:
        own = staged.dispatcher_token()
        code, told = put({**configured, "VAULT_TOKEN": own}, "SOME_TOKEN")
    assert code == Exit.NOPERM
    assert "permission denied for this token" in told
    assert "operator's token in VAULT_TOKEN" in told
    assert own not in told


def test_without_a_token_the_dispatchers_file_is_not_suggested(
    configured: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "vault.token").write_text("s.own")
    (tmp_path / "vault.token").chmod(0o600)
    bare = {k: v for k, v in configured.items() if k != "VAULT_TOKEN"}
    code, told = put(
        {**bare, "DISINTO_VAULT__TOKEN_FILE": str(tmp_path / "vault.token")}, "TOKEN_A"
    )
    assert code == Exit.CONFIG
    assert "Set VAULT_TOKEN to an operator's token" in told
    assert "not used by this command" in told


def test_https_to_a_plain_server_names_the_scheme(configured: dict[str, str], plain: str) -> None:
    code, told = put({**configured, "VAULT_ADDR": f"https://{plain}"}, "SOME_TOKEN")
    assert code == Exit.UNAVAILABLE
    assert "plain http" in told
    assert "cacert" not in told
    for words_of_python in ("_ssl", "WRONG_VERSION"):
        assert words_of_python not in told


def test_a_server_that_is_away_is_named_without_pythons_words(configured: dict[str, str]) -> None:
    code, told = put({**configured, "VAULT_ADDR": "http://127.0.0.1:1"}, "SOME_TOKEN")
    assert code == Exit.UNAVAILABLE
    assert "Connection refused" in told
