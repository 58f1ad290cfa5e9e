"""A scene: an ops repo with its remote, settings, keys and secrets, in one directory.

The people in it use git as people do; the dispatcher is set up by the code of ``disinto apply``
and logs in with its own tokens of least privilege.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tenacity
import tomli_w

from dispatcher.assembly import open_settings
from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.nomad_forget import forget
from dispatcher.devservers.openbao import DevServer
from dispatcher.devservers.set_up import set_up
from dispatcher.engines.local import sandbox
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Misconfigured
from dispatcher.gate.trailer import Place
from dispatcher.model.paths import RESULT_ENDING
from dispatcher.settings import Settings
from dispatcher.vault import Vault
from dispatcher.vault.secrets import Secrets

PERSON = "ada@example.org"
"""Who merges and signs in a scene."""


@dataclass(kw_only=True)
class Scene:
    """Everything a story needs. Created by ``Scene.set``.

    Attributes:
        root: the directory that holds all of it.
        nomad: the Nomad on which runs execute; None for the local scheduler.
        remote: the bare repository that people and dispatcher push to.
        desk: a person's clone.
        config: ``disinto.toml``.
        environ: the dispatcher's environment: where Vault and Nomad are, and its own tokens.
        operator: the operator's environment: the same with rights to administer.
    """

    root: Path
    server: DevServer
    nomad: DevAgent | None = None
    environ: dict[str, str] = field(default_factory=dict)
    operator: dict[str, str] = field(default_factory=dict)

    @property
    def remote(self) -> Path:
        return self.root / "ops.git"

    @property
    def desk(self) -> Path:
        return self.root / "desk"

    @property
    def config(self) -> Path:
        return self.root / "dispatcher" / "disinto.toml"

    @property
    def formulas(self) -> Path:
        """The operator's own directory of formulas."""
        return self.root / "dispatcher" / "formulas"

    @classmethod
    def set(
        cls,
        root: Path,
        server: DevServer,
        *,
        values: Mapping[str, str],
        settings: Mapping[str, Any] | None = None,
        tiers: Mapping[str, str] | None = None,
        policy: Mapping[str, Any] | None = None,
        formulas: Mapping[str, str] | None = None,
        nomad: DevAgent | None = None,
        bots: Mapping[str, str] | None = None,
    ) -> Scene:
        """Build a scene.

        Args:
            root: an empty directory.
            server: OpenBao.
            values: secrets by name.
            settings: tables that override the scene's own ``disinto.toml``.
            tiers: of formulas, in ``policy.toml``; others are high.
            policy: the other tables of ``policy.toml``.
            formulas: the operator's own, file name to text.
            nomad: runs become its jobs, under a ``[nomad] ledger_prefix`` that no other scene has:
                with Docker where the settings name ``[nomad] image``, else with raw_exec and this
                Python. ``clear`` removes them.
            bots: tokens of the projects' bots, by name.
        """
        scene = cls(root=root, server=server, nomad=nomad)
        base = {"PATH": os.environ["PATH"], "HOME": str(root), "VAULT_ADDR": server.addr}
        scene.operator = {**base, "VAULT_TOKEN": server.root_token}
        scene.environ = {**base}
        if nomad is not None:
            scene.operator |= nomad.environ
            scene.environ["NOMAD_ADDR"] = nomad.addr
        scene._write_config(
            settings or {}, {"tiers": tiers or {}, **(policy or {})}, formulas or {}
        )
        scene._write_keys()
        scene._make_repository()
        scene._set_up_servers(values, bots or {})
        return scene

    def clear(self) -> None:
        """Remove what the scene left in Nomad. What is in OpenBao and in the directory stays."""
        if self.nomad is not None:
            forget(self.nomad, self.open_settings().section(NomadSettings))

    # -- people -----------------------------------------------------------------------------

    def merge(self, files: Mapping[str, str | bytes], message: str, *, sign: bool = False) -> str:
        """Commit files and push them to the branch, as a person; returns the commit. A signed
        commit approves the actions and formulas among them.
        """
        for name, content in files.items():
            path = self.desk / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        signing: tuple[str, ...] = ()
        if sign:
            place = Place.of(self.open_settings())
            lines = "\n".join(map(place.trailer, files))
            signing = ("--gpg-sign", "--message", lines)
        self.git("commit", "--quiet", "--message", message, *signing)
        self._push(sign=sign)
        return self.git("rev-parse", "HEAD")

    @tenacity.retry(stop=tenacity.stop_after_attempt(20), reraise=True)
    def _push(self, *, sign: bool) -> None:
        """The dispatcher pushes results meanwhile; a rebase keeps the signature."""
        self.git(
            "pull", "--quiet", "--rebase", *(("--gpg-sign",) if sign else ()), "origin", "main"
        )
        self.git("push", "--quiet", "origin", "HEAD:main")

    def remove(self, *paths: str) -> str:
        """Delete files by hand, commit and push."""
        self.git("pull", "--quiet", "--rebase", "origin", "main")
        self.git("rm", "-r", "--quiet", *paths)
        return self.merge({}, "Delete by hand")

    def git(self, *args: str, cwd: Path | None = None) -> str:
        """git as a person runs it, at their desk."""
        done = subprocess.run(
            ["git", *args],
            cwd=cwd or self.desk,
            env={**self.operator, **self._git_identity()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"git {' '.join(args)} ended with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def results(self) -> dict[str, dict[str, Any]]:
        """All results on the remote's branch, by id."""
        names = self.git("ls-tree", "-r", "--name-only", "main", cwd=self.remote).splitlines()
        return {
            Path(name).name.removesuffix(RESULT_ENDING): json.loads(
                self.git("show", f"main:{name}", cwd=self.remote)
            )
            for name in names
            if name.endswith(RESULT_ENDING)
        }

    def open_settings(self) -> Settings:
        """The dispatcher's settings, as ``serve`` reads them."""
        return open_settings(self.config, self.environ)

    # -- making -----------------------------------------------------------------------------

    def _git_identity(self) -> dict[str, str]:
        config = {
            "user.name": "Ada",
            "user.email": PERSON,
            "gpg.format": "ssh",
            "user.signingKey": str(self.root / "ada"),
            "init.defaultBranch": "main",
        }
        env = {"GIT_CONFIG_COUNT": str(len(config)), "GIT_CONFIG_NOSYSTEM": "1"}
        for number, (key, value) in enumerate(config.items()):
            env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = key, value
        return env

    def _write_config(
        self, settings: Mapping[str, Any], policy: Mapping[str, Any], formulas: Mapping[str, str]
    ) -> None:
        self.formulas.mkdir(parents=True)
        for name, text in formulas.items():
            (self.formulas / name).write_text(text)
        own: dict[str, Any] = {
            "state_dir": "state",
            "ops_repo": {"remote": str(self.remote), "poll_interval_s": 1.0},
            "vault": {
                "addr": self.server.addr,
                "installation": f"scene-{secrets.token_hex(4)}",
            },
            "formulas": {"path": "formulas"},
            "policy": {"file": "policy.toml", "gate": "signed"},
            "gate": {"repository": "example/ops"},
            "signed": {"allowed_signers": "allowed_signers"},
            "http": {"listen": ""},
        }
        if self.nomad is not None:
            own |= _on_nomad(self.nomad, image="image" in settings.get("nomad", {}))
        self.config.write_text(tomli_w.dumps(_laid_over(own, settings)))
        try:
            sandbox.find(self.open_settings())
        except Misconfigured:  # nothing here is kept from anybody, and a scene is to be seen
            own["local"] = {"bubblewrap": False}
            self.config.write_text(tomli_w.dumps(_laid_over(own, settings)))
        self.config.with_name("policy.toml").write_text(tomli_w.dumps(policy))

    def _write_keys(self) -> None:
        key = self.root / "ada"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", PERSON, "-f", str(key)],
            check=True,
            capture_output=True,
        )
        public = key.with_suffix(".pub").read_text()
        self.config.with_name("allowed_signers").write_text(f"{PERSON} {public}")

    def _make_repository(self) -> None:
        self.git("init", "--quiet", "--bare", str(self.remote), cwd=self.root)
        self.git("clone", "--quiet", str(self.remote), str(self.desk), cwd=self.root)
        self.git("checkout", "--quiet", "-B", "main")
        (self.desk / "README.md").write_text("# Operations\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Begin")
        self.git("push", "--quiet", "origin", "HEAD:main")

    def _set_up_servers(self, values: Mapping[str, str], bots: Mapping[str, str]) -> None:
        """What an operator does once: ``disinto apply`` and ``disinto secrets put``."""
        settings = open_settings(self.config, self.operator)
        self.environ |= set_up(settings, operator=self.operator, nomad=self.nomad)
        vault = Vault.of_operator(settings.vault, environ=self.operator)
        try:
            store = Secrets(vault, settings)
            for name, value in values.items():
                store.put(name, value)
            for name, token in bots.items():
                store.put_bot(name, token)
        finally:
            vault.close()


def _on_nomad(nomad: DevAgent, *, image: bool) -> dict[str, Any]:
    """Settings for small runs on this Nomad."""
    driver = {"driver": "docker" if image else "raw_exec"}
    small = {"cpu_mhz": 50, "memory_mb": 128, "disk_mb": 100, "log_file_mb": 5}
    small["keep_finished_s"] = 0  # a scene leaves nothing behind
    prefix = f"scene-{secrets.token_hex(4)}"
    table = {"addr": nomad.addr, "ledger_prefix": prefix, **driver, **small}
    return {"scheduler": "nomad", "nomad": table}


def _laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        current = merged.get(key)
        both = isinstance(current, dict) and isinstance(value, Mapping)
        merged[key] = _laid_over(current, value) if both and isinstance(current, dict) else value
    return merged
