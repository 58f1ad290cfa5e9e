"""The web page as a job of a real Nomad, beside the dispatcher's: it answers, shows a run with its output and the
signature of its result, and its own permissions at Nomad and Vault are enough for that and for nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import hvac.exceptions
import pytest
import tenacity

from dispatcher.desktop.credentials import VARIABLE
from dispatcher.devservers.ports import free_port
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Denied
from dispatcher.settings import Settings, settings_model
from dispatcher.vault.names import page_policy
from tests.acceptance.test_dispatcher_job import VALUE, config, disinto, own_nomad
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.page_client import HTML

__all__ = ["config", "own_nomad"]  # fixtures

pytestmark = [
    pytest.mark.needs("nomad", "bao", "git"),
    pytest.mark.slow,
    pytest.mark.thorough,  # half a minute; in part: test_vault_page.py, test_nomad_apply.py
]

JOB = "disinto-page"
MORE = """
job "more" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      config { command = "true" }
    }
  }
}
"""

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(90), wait=tenacity.wait_fixed(0.2), reraise=True
)


@pytest.fixture
def operator(config: Path, vault: Bao, own_nomad: Nomad) -> Iterator[dict[str, str]]:
    """Everything is applied; the environment of whoever did it."""
    mount = f"transit-{vault.kv_mount}"
    text = config.read_text().replace(
        "[ops_repo]",
        f'[web]\nlisten = "127.0.0.1:{free_port()}"\n[ops_repo]\npoll_interval_s = 1.0',
    )
    own = f'transit_mount = "{mount}"\nderived = {{ {VARIABLE} = "desktops" }}\n[nomad]\nkeep_finished_s = 600'
    config.write_text(text.replace("[nomad]", own) + '\n[attestation]\ntransit_key = "results"\n')
    environ = {"VAULT_TOKEN": vault.root_token, "NOMAD_TOKEN": own_nomad.token}
    disinto(config, environ, "apply", "--yes")
    disinto(config, environ, "secrets", "put", "MY_SECRET", stdin=VALUE)
    disinto(config, environ, "apply", "--yes", "--dispatcher", "--page")
    yield environ
    vault.client().sys.disable_secrets_engine(mount)


def test_it_answers_and_may_look_and_nothing_else(
    config: Path, vault: Bao, own_nomad: Nomad, operator: dict[str, str]
) -> None:
    with logged_in(own_nomad) as browser:
        shown = ended(browser)
        assert shown["action"]["verdict"] == "succeeded"
        assert shown["signature"]["state"] == "verified", shown["signature"]
        assert shown["engine_url"].startswith(own_nomad.addr)
        log = browser.get("/actions/first/log").text
        assert f"length {len(VALUE)}" in log
        checks = checked(browser)
    failing = {name: c["detail"] for name, c in checks.items() if c["state"] == "failed"}
    assert failing == {}
    assert "vault: least rights of the web page" in checks
    assert "not checked from here" in checks["web page"]["detail"]

    settings = settings_model().model_validate(
        {"nomad": {"addr": own_nomad.addr, "driver": "raw_exec"}}
    )
    may_not_write_to_nomad(
        own_nomad,
        NomadApi(settings.section(NomadSettings), {"NOMAD_TOKEN": token(own_nomad, "nomad_token")}),
    )
    may_only_derive(vault, token(own_nomad, "nomad_vault.jwt"))
    assert operator


@patiently
def said(nomad: Nomad) -> str:
    """What the page has printed, once it has."""
    api = nomad.api()
    (alloc,) = [a for a in api.allocations(JOB) if a["ClientStatus"] == "running"]
    text = b"".join(frame.data for frame in api.logs(alloc["ID"], "page", "stdout")).decode()
    assert "/enter/" in text, text
    return text


@contextmanager
def logged_in(nomad: Nomad) -> Iterator[httpx.Client]:
    """A browser that opened the link of the job's output."""
    link = re.findall(r"http://\S+/enter/\S+", said(nomad))[-1]
    origin = link.partition("/enter/")[0]
    with httpx.Client(base_url=origin, headers=HTML, timeout=30) as browser:
        assert browser.get(link).status_code == 303
        assert browser.get("/").status_code == 200
        yield browser


@patiently
def ended(browser: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = browser.get("/actions/first.json").json()
    assert found["action"]["result"]
    return found


@patiently
def checked(browser: httpx.Client) -> dict[str, dict[str, Any]]:
    """What the page's own doctor found, by name."""
    shown = browser.get("/doctor.json").json()
    assert shown["ended_at"]
    return {check["name"]: check for check in shown["checks"]}


def token(nomad: Nomad, name: str) -> str:
    """What the job's allocation holds in its directory of secrets, as its task sees it."""
    api = nomad.api()
    (alloc,) = [a for a in api.allocations(JOB) if a["ClientStatus"] == "running"]
    marked = f"NOMAD_ALLOC_ID={alloc['ID']}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            environ = entry.read_bytes().split(b"\0")
            if marked in environ:
                given = dict(each.split(b"=", 1) for each in environ if b"=" in each)
                return (Path(given[b"NOMAD_SECRETS_DIR"].decode()) / name).read_text().strip()
    raise AssertionError(f"no process of {alloc['ID']}")


def may_not_write_to_nomad(nomad: Nomad, api: NomadApi) -> None:
    assert {job["ID"] for job in api.jobs()} >= {JOB}
    runner = "disinto-runner"
    assert api.job(runner) is not None
    definition = nomad.api().parse(MORE)
    nomad.api().put_variable("elsewhere/x", {"a": "b"})
    for forbidden in (
        lambda: api.dispatch(runner),
        lambda: api.register(definition),
        lambda: api.stop(JOB, purge=True),
        lambda: api.put_variable("disinto/x", {"a": "b"}),
        lambda: api.variable("elsewhere/x"),
    ):
        with pytest.raises(Denied):
            forbidden()


def may_only_derive(vault: Bao, jwt: str) -> None:
    """With what its identity is exchanged for."""
    client = vault.client()
    role = page_policy(
        Settings.model_validate({"vault": {"installation": f"{vault.kv_mount}-job"}}).vault
    )
    login = client.auth.jwt.jwt_login(role=role, jwt=jwt, use_token=True, path="jwt-nomad")
    assert login["auth"]["token_policies"] == [role]
    transit = f"transit-{vault.kv_mount}"
    derived = client.adapter.request("POST", f"/v1/{transit}/hmac/desktops", json={"input": "YQ=="})
    assert derived["data"]["hmac"]
    for method, path in (
        ("GET", f"{vault.kv_mount}/data/disinto/runner/MY_SECRET"),
        ("POST", f"{vault.kv_mount}/data/disinto/runner/MY_SECRET"),
        ("POST", f"{transit}/sign/results"),
        ("POST", "auth/token/create"),
        ("POST", f"sys/policies/acl/{role}"),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            client.adapter.request(method, f"/v1/{path}", json={} if method == "POST" else None)
