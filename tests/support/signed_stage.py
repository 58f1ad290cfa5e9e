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
from dispatcher.ops_repo.trusted_people import trusted_people
from tests.support.checkout import Checkout
from tests.support.judging import Found, Judge

KEYS = ("trusted", "expired", "revoked", "stranger", "spare", "carol", "dave")

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
    principal on the list, ``stranger`` does not. ``spare`` is another key of ``trusted``'s principal;
    ``carol`` and ``dave`` are two more people.
    """

    folder: Path
    clone: Checkout
    keys: dict[str, Path] = field(default_factory=dict)
    signers: Signers = field(default_factory=Signers)
    judge: Judge = field(init=False)

    @classmethod
    def build(cls, folder: Path, *, gate: Callable[[OpsRepo], Gate] | None = None) -> SignedStage:
        remote = folder / "remote.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
        clone = Checkout.create(folder / "clone")
        clone.git("remote", "add", "origin", str(remote))
        stage = cls(folder=folder, clone=clone)
        for name in KEYS:
            stage.keys[name] = _key(folder / f"{name}.key")
        allowed, revoked = folder / "allowed_signers", folder / "revoked_keys"
        allowed.write_text(
            f'boss@example.test namespaces="git" {stage.public("trusted")}\n'
            f'old@example.test valid-before="20240101" {stage.public("expired")}\n'
            f'gone@example.test namespaces="git" {stage.public("revoked")}\n'
            f'boss@example.test namespaces="git" {stage.public("spare")}\n'
            f'carol@example.test namespaces="git" {stage.public("carol")}\n'
            f'dave@example.test namespaces="git" {stage.public("dave")}\n'
        )
        revoked.write_text(stage.public("revoked") + "\n")
        signers = stage.signers = Signers(allowed_signers=allowed, revoked_keys=revoked)

        def signed(repo: OpsRepo) -> Gate:
            return TieredGate(
                SignedGate(
                    history=repo,
                    verify=lambda commit: repo.signature(commit, signers),
                    place=Place(repository="acme/ops", branch="main"),
                    trusted=lambda: trusted_people(signers).names,
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

    def approve(self, key: str | None, path: str, *, blob: str = "", here: str = HERE) -> str:
        """Push an empty commit, signed with this key, that names the file's present content or this
        blob.
        """
        self.sign(key)
        blob = blob or self.clone.blob(path)
        message = f"{message_of(path, here=here)} {blob}"
        commit = self.clone.commit(None, "--allow-empty", message=message)
        self.push()
        self.sign(None)
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
