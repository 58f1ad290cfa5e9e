"""An ops repo on a bare remote, whose commits are signed with SSH keys, or not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.gate import Gate, TieredGate
from dispatcher.gate.signed import SignedGate
from dispatcher.gate.trailer import Place
from dispatcher.ops_repo import OpsRepo, Signers
from tests.support.checkout import Checkout
from tests.support.judging import Found, Judge

HERE = "acme/ops@main"
"""What an approval names for this repository and branch."""


def message_of(*paths: str, here: str = HERE) -> str:
    """A commit message that approves the actions and formulas among these files."""
    lines = [
        f"Disinto-Approve: {here} {path.rpartition('/')[2].removesuffix('.toml')}"
        if path.startswith("vault/actions/")
        else f"Disinto-Approve: {here} {path}"
        for path in paths
        if path.startswith(("vault/actions/", "formulas/"))
    ]
    return "\n".join(["change", "", *lines]) if lines else "change"


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
            return TieredGate(
                SignedGate(
                    history=repo,
                    verify=lambda commit: repo.signature(commit, signers),
                    place=Place(repository="acme/ops", branch="main"),
                ),
                history=repo,
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

    def push(self, files: dict[str, str] | None = None, *, approve: bool = True) -> str:
        """Commit these files, if any, and push the main branch. A signed commit approves its
        files, unless told otherwise.
        """
        approved = approve and bool(self.clone.settings)
        message = message_of(*(files or {})) if approved else "change"
        commit = self.clone.commit(files, message=message) if files else self.clone.head()
        self.clone.git("push", "-q", "origin", "main")
        return commit

    def force_push(self, commit: str) -> None:
        """Move the main branch to a commit, whatever was there."""
        self.clone.git("checkout", "-q", "-B", "main", commit)
        self.clone.git("push", "-q", "--force", "origin", "main")

    def noticed(self) -> None:
        """The dispatcher looks at the branch, and records the consequences, as ``serve`` does."""
        head = self.judge.repo.fetch()
        if head.rewritten:
            self.judge.gate.invalidate()
        self.judge.repo.mark_seen(head.commit)

    def outcome(self, action_id: str = "x") -> Found:
        return self.judge.outcome(action_id)


def _key(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)],
        check=True,
    )
    return path
