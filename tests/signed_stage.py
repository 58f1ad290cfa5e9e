"""An ops repo on a bare remote, whose commits are signed with SSH keys, or not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.gate import Gate, GateKeeper
from dispatcher.gate.signed import SignedGate
from dispatcher.ops_repo import OpsRepo, Signers
from tests.checkout import Checkout
from tests.judging import Found, Judge


@dataclass(kw_only=True)
class SignedStage:
    """``clone`` is where people commit; ``trusted``, ``expired`` and ``revoked`` sign for a
    principal on the list, ``stranger`` does not.
    """

    folder: Path
    clone: Checkout
    keys: dict[str, Path] = field(default_factory=dict)
    judge: Judge = field(init=False)

    @classmethod
    def build(cls, folder: Path, *, gate: Callable[[OpsRepo], Gate] | None = None) -> SignedStage:
        remote = folder / "remote.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
        clone = Checkout.create(folder / "clone")
        clone.git("remote", "add", "origin", str(remote))
        stage = cls(folder=folder, clone=clone)
        for name in ("trusted", "expired", "revoked", "stranger"):
            stage.keys[name] = _key(folder / f"{name}.key")
        allowed, revoked = folder / "allowed_signers", folder / "revoked_keys"
        allowed.write_text(
            f'boss@example.test namespaces="git" {stage.public("trusted")}\n'
            f'old@example.test valid-before="20240101" {stage.public("expired")}\n'
            f'gone@example.test namespaces="git" {stage.public("revoked")}\n'
        )
        revoked.write_text(stage.public("revoked") + "\n")
        signers = Signers(allowed_signers=allowed, revoked_keys=revoked)

        def signed(repo: OpsRepo) -> Gate:
            return GateKeeper(
                SignedGate(history=repo, verify=lambda commit: repo.signature(commit, signers))
            )

        clone.commit({"README": "ops\n"})
        clone.git("push", "-q", "origin", "main")
        stage.judge = Judge.of(
            remote=str(remote), folder=folder / "dispatcher", gate=gate or signed
        )
        return stage

    def public(self, key: str) -> str:
        return self.keys[key].with_suffix(".key.pub").read_text().strip()

    def sign(self, key: str | None) -> None:
        """From now on commits and merges are signed with this key; None: not signed."""
        self.clone.settings = (
            {
                "gpg.format": "ssh",
                "user.signingkey": str(self.keys[key]),
                "commit.gpgsign": "true",
            }
            if key
            else {}
        )

    def push(self, files: dict[str, str] | None = None) -> str:
        """Commit these files, if any, and push the main branch."""
        commit = self.clone.commit(files) if files else self.clone.head()
        self.clone.git("push", "-q", "origin", "main")
        return commit

    def outcome(self, action_id: str = "x") -> Found:
        return self.judge.outcome(action_id)


def _key(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)],
        check=True,
    )
    return path
