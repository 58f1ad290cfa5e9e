"""The commands about desktops, from creation to destruction, and whom ``open`` gives what."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from dispatcher.desktop.credentials import VARIABLE, Credentials
from dispatcher.devservers.ports import free_port
from dispatcher.errors import Exit
from dispatcher.model.derived import derivation_input
from dispatcher.vault.names import derive_policy
from tests.fakes.guacamole import FakeGuacamole, serving
from tests.servers.bao import Bao
from tests.support.cli_process import started
from tests.support.desk_stage import AuthorsDesk
from tests.support.desktop_stage import (
    Person,
    credentials,
    desktop_stage,
    finish,
    submitted,
)
from tests.support.stage import Stage

pytestmark = pytest.mark.needs("bao", "git")

DESK = "desktop-alice"
ENTRY = f"vault/inventory/desktop/{DESK}.json"


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    with desktop_stage(tmp_path, bao_server) as stage:
        yield stage


@pytest.fixture
def person(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Person:
    return Person(stage, monkeypatch, capsys)


def test_from_creation_to_destruction(stage: Stage, person: Person, tmp_path: Path) -> None:
    made = person("create", "alice", "--lifetime", "8h", "--no-follow", "--json")
    assert (made.code, made.json["id"]) == (Exit.OK, DESK), made.err
    spec = submitted(stage, DESK)
    assert spec.job_class == "provision"
    assert spec.params == {"name": "alice", "lifetime": "8h"}
    (secret,) = spec.dynamic
    assert (secret.name, secret.write) == (VARIABLE, {"input": derivation_input(spec.key)})
    (listed,) = person("list", "--json").json["desktops"]
    assert (listed["id"], listed["state"], listed["believed"]) == (DESK, "CREATING", None)
    early = person("open", DESK)
    assert early.code == Exit.TEMPFAIL
    assert f"disinto watch {DESK}" in early.err

    own = credentials(person, spec.key)
    with serving(own.guacamole_key, tmp_path, desktop_id=DESK) as guacamole:
        entry = {
            "name": "alice",
            "state": "ACTIVE",
            "address": f"127.0.0.1:{guacamole.port}",
            "fingerprint": guacamole.fingerprint,
            "run_key": spec.key.token,
            "key_version": own.key_version,
            "droplet_id": 77,
            "gateway_host": "desks.localhost",
        }
        finish(stage, spec.key, entry)
        open_it(person, guacamole, own)
        refuse_others(person, guacamole)
        open_at_an_authors_desk(stage, person, guacamole, tmp_path)
        refuse_forged(stage, person, guacamole)
    destroy_it(stage, person)


def open_it(person: Person, guacamole: FakeGuacamole, own: Credentials) -> None:
    assert person("show", DESK).out.splitlines()[:2] == [
        f"id            {DESK}",
        "state         ACTIVE",
    ]
    said, clicked = person.open_and_click(DESK, "--target", "ip", "--json")
    assert (said.code, clicked.status_code) == (Exit.OK, 302), said.err
    (token,) = guacamole.sessions
    target = clicked.headers["Location"]
    assert target.startswith(f"{guacamole.base}#/client/")
    assert urlsplit(target).fragment.endswith(f"?token={token}")
    secrets = (own.vnc_password, own.guacamole_key.hex(), token, person.token)
    encoded = [base64.b64encode(own.guacamole_key).decode(), *secrets]
    assert not [secret for secret in encoded if secret in said.out + said.err]
    assert {query for _, _, query in guacamole.requests} == {""}


def refuse_others(person: Person, guacamole: FakeGuacamole) -> None:
    before = len(guacamole.requests)
    unknown = person("open", "desktop-alcie")
    assert unknown.code == Exit.NOINPUT
    assert DESK in unknown.err, "did you mean"
    dispatcher = person("open", DESK, VAULT_TOKEN=person.stage.scene.environ["VAULT_TOKEN"])
    assert dispatcher.code == Exit.NOPERM
    assert derive_policy(person.settings.vault, VARIABLE) in dispatcher.err
    down = person("open", DESK, VAULT_ADDR=f"http://127.0.0.1:{free_port()}")
    assert down.code == Exit.UNAVAILABLE
    behind = person("open", DESK)
    assert behind.code == Exit.UNAVAILABLE
    assert f"https://{DESK}.desks.localhost/guacamole/ cannot be reached" in behind.err
    assert len(guacamole.requests) == before


def open_at_an_authors_desk(
    stage: Stage, person: Person, guacamole: FakeGuacamole, tmp_path: Path
) -> None:
    """Without the dispatcher's key nothing is verified, so nothing is opened; with the public one it is."""
    vault = person.settings.vault
    keys = {"addr": vault.addr, "derived": vault.derived, "transit_mount": vault.transit_mount}
    desk = AuthorsDesk.of(stage.scene, tmp_path / "author", vault=keys)
    desk.environ |= {"VAULT_ADDR": vault.addr, "VAULT_TOKEN": person.token}
    listed = desk("desktop", "list")
    assert listed.code == Exit.OK
    assert DESK in listed.out
    assert "unverified: pass --key FILE" in listed.err
    assert desk("desktop", "open", DESK).code == Exit.CONFIG
    public = str(person.settings.state_dir / "attestation.pub")
    with started(
        "--config", str(desk.config), "desktop", "open", DESK, "--target", "ip", "--print",
        "--key", public, env=desk.environ, cwd=tmp_path,
    ) as opening:  # fmt: skip
        assert opening.stdout is not None
        link = opening.stdout.readline().strip()
        clicked = httpx.get(link)
        assert opening.wait(20) == Exit.OK
    assert clicked.headers["Location"].startswith(guacamole.base)
    assert clicked.headers["Location"].endswith(list(guacamole.sessions)[-1])
    lead_there(desk, guacamole, public)


def lead_there(desk: AuthorsDesk, guacamole: FakeGuacamole, public: str) -> None:
    """What a gateway's host does, without Vault."""
    del desk.environ["VAULT_TOKEN"]
    directory = desk.folder / "nginx"
    words = ("desktop", "gateway", str(directory), "--key", public)
    assert desk("desktop", "gateway", str(directory)).code == Exit.CONFIG, "nothing to verify with"
    failed = desk(*words, "--reload", "false")
    assert failed.code == Exit.CONFIG
    assert "the files were written, but 'false' failed" in failed.err
    (directory / "addresses").unlink()
    done = desk(*words, "--reload", f"touch {directory}/reloaded")
    assert done.code == Exit.OK, done.err
    address = f"127.0.0.1:{guacamole.port}"
    assert f'{DESK}.desks.localhost "{address}";' in (directory / "addresses").read_text()
    (directory / "reloaded").unlink()
    again = desk(*words, "--reload", f"touch {directory}/reloaded", "--json")
    site = {"id": DESK, "host": f"{DESK}.desks.localhost", "address": address}
    assert again.json == {"desktops": [site], "left_out": [], "changed": False}
    assert not (directory / "reloaded").exists()


def refuse_forged(stage: Stage, person: Person, guacamole: FakeGuacamole) -> None:
    before = len(guacamole.requests)
    genuine = stage.scene.git("show", f"main:{ENTRY}", cwd=stage.scene.remote) + "\n"
    forged = genuine.replace("127.0.0.1", "127.0.0.2")
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.merge({ENTRY: forged}, "Send the credentials to another host")
    (shown,) = person("list", "--json").json["desktops"]
    assert (shown["state"], shown["believed"]) == ("ACTIVE", True)
    assert "127.0.0.2" not in json.dumps(shown), "what its result says, whatever its file shows"

    made_up = ENTRY.replace(DESK, "made-up")
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.merge({made_up: forged.replace(f'"{DESK}"', '"made-up"')}, "Make one up")
    refused = person("open", "made-up")
    assert refused.code == Exit.NOPERM
    assert "is not believed: the result of made-up did not write it" in refused.err or (
        "is not believed: there is no result made-up" in refused.err
    ), refused.err
    shown = {each["id"]: each for each in person("list", "--json").json["desktops"]}["made-up"]
    assert (shown["state"], shown["believed"], shown["address"]) == ("UNKNOWN", False, None)
    reap = person("reap", "--remove", "--yes", "--no-follow")
    assert reap.code == Exit.NOPERM
    assert "would count as left over" in reap.err
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    stage.scene.remove(made_up)
    assert person("show", DESK, "--json").json["state"] == "ACTIVE"
    assert len(guacamole.requests) == before


def destroy_it(stage: Stage, person: Person) -> None:
    begun = time.time()
    reap = person("reap", "--no-follow", "--json")
    assert reap.code == Exit.OK, reap.err
    params: Any = submitted(stage, reap.json["id"]).params
    assert params["known_droplets"] == [77]
    assert not any(key.startswith(f"{DESK}.") for key in params["known_runs"]), "named already"
    assert params["listed_at"] >= time.strftime("%Y-%m-%d", time.gmtime(begun))

    assert person("destroy", DESK, "--no-follow").code == Exit.USAGE, "nobody to ask"
    assert person("destroy", DESK, "--yes", "--no-follow").code == Exit.OK
    spec = submitted(stage, f"destroy-{DESK}")
    assert spec.params == {"id": DESK, "droplet_id": 77}
    again = person("destroy", DESK, "--yes", "--no-follow")
    assert again.code == Exit.CANTCREAT
    assert f"destroy-{DESK} destroys {DESK} already" in again.err
    finish(stage, spec.key, {"id": DESK})
    assert person("list", "--json").json["desktops"] == []
    (gone,) = person("list", "--all", "--json").json["desktops"]
    assert (gone["state"], gone["ended_by"]) == ("DESTROYED", f"destroy-{DESK}")
    closed = person("open", DESK)
    assert closed.code == Exit.NOINPUT
    assert f"was destroyed by destroy-{DESK}" in closed.err
