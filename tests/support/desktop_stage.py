"""A dispatcher that can make desktops, over a fake engine, and a person who gives commands about them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatcher.cli.edge import run
from dispatcher.desktop.credentials import VARIABLE, Credentials
from dispatcher.host import resources
from dispatcher.model.run import Outcome, RunKey, RunSpec
from dispatcher.model.verdicts import Verdict
from dispatcher.vault import Vault
from dispatcher.vault.derived import derive
from dispatcher.vault.names import derive_policy
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao
from tests.support.stage import Stage, eventually, set_stage

FORMULAS = ("desktop", "desktop-destroy", "desktop-reap")


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Person:
    """Somebody at the dispatcher's host, with a Vault token of their own."""

    def __init__(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.stage, self._monkeypatch, self._capsys = stage, monkeypatch, capsys
        settings = stage.scene.open_settings()
        self.settings = settings
        policy = derive_policy(settings.vault, VARIABLE)
        client = stage.scene.server.client()
        made = client.auth.token.create(policies=[policy], ttl="1h", no_parent=True)
        self.token = str(made["auth"]["client_token"])
        for name, value in stage.scene.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("VAULT_TOKEN", self.token)
        monkeypatch.chdir(stage.scene.desk)

    def __call__(self, *words: str, **environ: str) -> Said:
        self._capsys.readouterr()
        with self._monkeypatch.context() as changed:
            for name, value in environ.items():
                changed.setenv(name, value)
            code = run(["--config", str(self.stage.scene.config), "desktop", *words])
        said = self._capsys.readouterr()
        return Said(code=code, out=said.out, err=said.err)

    def open_and_click(self, *words: str) -> tuple[Said, httpx.Response]:
        """``open --json``, and a browser that follows its link."""
        with self.opening("--json", *words) as said:
            clicked = httpx.get(str(said.json["link"]))
        return said, clicked

    @contextmanager
    def opening(self, *words: str) -> Iterator[Said]:
        """``open``, until its link was followed: what it has printed so far, and in the end all of it."""
        ended: list[int] = []
        config = str(self.stage.scene.config)
        self._capsys.readouterr()
        thread = threading.Thread(
            target=lambda: ended.append(run(["--config", config, "desktop", "open", *words]))
        )
        thread.start()
        said = Said(code=-1, out="", err="")

        @eventually
        def printed() -> None:
            more = self._capsys.readouterr()
            said.out, said.err = said.out + more.out, said.err + more.err
            assert not ended, said.err
            assert "\n" in said.out

        printed()
        yield said
        thread.join(20)
        more = self._capsys.readouterr()
        said.out, said.err, said.code = said.out + more.out, said.err + more.err, ended[0]


@contextmanager
def desktop_stage(directory: Path, bao: Bao) -> Iterator[Stage]:
    """One that runs until the block ends."""
    classes = dict.fromkeys(FORMULAS, "provision")
    vault = {
        "derived": {VARIABLE: "disinto-desktops"},
        "transit_mount": f"t-{directory.name[-30:]}",
    }
    stage = set_stage(directory / "scene", bao, vault=vault, formulas={"classes": classes})
    policy = stage.scene.config.parent / "policy.toml"
    tiers = "".join(f'{name} = "low"\n' for name in FORMULAS)
    policy.write_text(policy.read_text().replace("[tiers]\n", f"[tiers]\n{tiers}"))
    for file in resources.path("actions/desktop/formulas").iterdir():
        (stage.scene.formulas / file.name).write_bytes(file.read_bytes())
    settings = stage.scene.open_settings()
    operator = Vault.of_operator(settings.vault, environ=stage.scene.operator)
    Secrets(operator, settings).put("DIGITALOCEAN_API_TOKEN", "dop-token")
    operator.close()
    stage = Stage(stage.scene)
    stage.start()
    try:
        yield stage
    finally:
        stage.stop()


@eventually
def submitted(stage: Stage, action_id: str) -> RunSpec:
    stage.components.wake()
    (spec,) = [s for s in stage.scheduler.submitted if s.key.action_id == action_id]
    return spec


def finish(stage: Stage, key: RunKey, inventory: dict[str, Any]) -> None:
    outcome = Outcome(
        verdict=Verdict.SUCCEEDED,
        exit_code=0,
        formula_started=True,
        outputs={"inventory": inventory},
    )
    stage.scheduler.end(key, outcome)
    stage.result(key.action_id)


def credentials(person: Person, key: RunKey) -> Credentials:
    vault = Vault.of_operator(person.settings.vault, environ={"VAULT_TOKEN": person.token})
    answer = derive(vault, person.settings, VARIABLE, key)
    vault.close()
    return Credentials.from_hmac(answer)
