"""An author client beside a dispatcher: commands in a process of their own, on the same ops
repo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from dispatcher.devservers.scene import Scene
from tests.servers.forgejo import Account
from tests.support.cli_process import Said, disinto
from tests.support.forge_stage import Stage as ForgeStage


@dataclass(kw_only=True)
class AuthorsDesk:
    """Ada's machine: no Vault, no Nomad, no tokens, and no file of the dispatcher's state.

    Attributes:
        config: its ``disinto.toml``, with copies of the dispatcher's policy and formulas.
        environ: her environment.
    """

    folder: Path
    scene: Scene
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "disinto.toml"

    @classmethod
    def of(cls, scene: Scene, folder: Path, **sections: Mapping[str, object]) -> AuthorsDesk:
        folder.mkdir(parents=True)
        home = folder / "home"
        home.mkdir()
        desk = cls(folder=folder, scene=scene)
        away = ("VAULT_", "NOMAD_", "BAO_", "DISINTO_")
        kept = {k: v for k, v in scene.environ.items() if not k.startswith(away)}
        # An address that answers nobody: whoever asks Vault from here fails.
        desk.environ = {
            **kept,
            **scene._git_identity(),
            "HOME": str(home),
            "VAULT_ADDR": "http://127.0.0.1:1",
        }
        known = scene.open_settings()
        gate = {"gate": known.policy.gate.value, "file": str(known.policy.file)}
        settings: dict[str, object] = {
            "role": "author",
            "state_dir": str(folder / "state"),
            "ops_repo": {"remote": str(scene.remote)},
            "formulas": {"path": str(scene.formulas)},
            "policy": gate,
            "gate": {"repository": known.gate.repository},
            **sections,
        }
        if known.signed.allowed_signers:
            settings["signed"] = {"allowed_signers": str(known.signed.allowed_signers)}
        desk.config.write_text(tomli_w.dumps(settings))
        return desk

    @classmethod
    def on_forge(
        cls, scene: Scene, folder: Path, forge: ForgeStage, account: Account
    ) -> AuthorsDesk:
        """A desk of this account of a forge, with its own token and name."""
        desk = cls.of(
            scene,
            folder,
            ops_repo={
                "remote": f"{forge.server.url}/{forge.repository}.git",
                "username": account.login,
                "token_env": "AUTHORS_TOKEN",
                "poll_interval_s": 0.2,
            },
            forge={
                "url": forge.server.url,
                "repository": forge.repository,
                "token_env": "AUTHORS_TOKEN",
            },
        )
        desk.environ = {k: v for k, v in desk.environ.items() if not k.startswith("OPS_")}
        desk.environ |= {
            "AUTHORS_TOKEN": account.token,
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "user.name",
            "GIT_CONFIG_VALUE_0": account.login,
            "GIT_CONFIG_KEY_1": "user.email",
            "GIT_CONFIG_VALUE_1": account.email,
        }
        return desk

    def __call__(self, *words: str) -> Said:
        return disinto("--config", str(self.config), *words, env=self.environ, cwd=self.folder)

    def opened(self) -> set[str]:
        """What lies in its state directory beside the clone and the clone's locks."""
        state = self.folder / "state"
        names = {path.name for path in state.iterdir()} if state.is_dir() else set()
        return {name for name in names if not name.startswith("ops.git")}
