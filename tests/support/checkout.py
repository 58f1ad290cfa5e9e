"""A work tree for tests: commits, branches and merges in few words, and the gates' view of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.ops_repo import lineage as lineages
from dispatcher.ops_repo.lineage import Change, Lineage

ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
}


@dataclass(kw_only=True)
class Checkout:
    """A repository with a work tree. Each commit is a minute after the one before, unless
    ``use_real_time`` was called.
    """

    path: Path
    author: str = "alice"
    email: str = "alice@example.test"
    settings: Mapping[str, str] = field(default_factory=dict)
    at: int = 1_700_000_000
    tick: int = 60

    @classmethod
    def create(cls, path: Path) -> Checkout:
        subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
        return cls(path=path)

    @classmethod
    def clone(cls, url: str, path: Path, *, author: str, email: str) -> Checkout:
        env = {**os.environ, **ENVIRONMENT}
        subprocess.run(["git", "clone", "-q", url, str(path)], check=True, env=env)
        return cls(path=path, author=author, email=email)

    def use_real_time(self) -> None:
        """From now on commits carry the time at which they are made."""
        self.tick = 0

    def git(self, *args: str, stdin: str = "") -> str:
        """Run git here; answers its standard output, stripped."""
        self.at = self.at + self.tick if self.tick else int(time.time())
        date = f"{self.at} +0000"
        env = {
            **os.environ,
            **ENVIRONMENT,
            "GIT_AUTHOR_NAME": self.author,
            "GIT_AUTHOR_EMAIL": self.email,
            "GIT_COMMITTER_NAME": self.author,
            "GIT_COMMITTER_EMAIL": self.email,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
        }
        configured = [part for k, v in self.settings.items() for part in ("-c", f"{k}={v}")]
        done = subprocess.run(
            ["git", *configured, *args],
            cwd=self.path,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"git {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        """Write and stage a file."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        self.git("add", "--", name)

    def commit(self, files: Mapping[str, str] | None = None, *args: str, message: str = "") -> str:
        """Write these files and commit; answers the commit."""
        for name, text in (files or {}).items():
            self.write(name, text)
        self.git("commit", "-q", "-m", message or "change", *args)
        return self.head()

    def merge(self, branch: str, *args: str) -> str:
        """Merge with a merge commit; answers it."""
        self.git("merge", "-q", "--no-ff", "-m", f"merge {branch}", *args, branch)
        return self.head()

    def branch(self, name: str, start: str = "HEAD") -> None:
        self.git("checkout", "-q", "-b", name, start)

    def switch(self, name: str) -> None:
        self.git("checkout", "-q", name)

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def blob(self, path: str, commit: str = "HEAD") -> str:
        return self.git("rev-parse", f"{commit}:{path}")

    # --- the gates' view (dispatcher.gate.history.History) ---------------------------------------

    def _literal(self, *args: str) -> str:
        return self.git("--literal-pathspecs", *args)

    def lineage(self, commit: str, path: str) -> Lineage | None:
        return lineages.lineage(self._literal, commit, path)

    def blob_at(self, commit: str, path: str) -> str | None:
        listed = self._literal("ls-tree", commit, "--", path).split()
        return listed[2] if listed and listed[0] in ("100644", "100755") else None

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        return lineages.is_ancestor(self._literal, ancestor, commit)

    def mainline(self, commit: str, *, since: str, limit: int) -> Sequence[str]:
        return lineages.mainline(self._literal, commit, since=since, limit=limit)

    def withdrawn(self, commit: str, path: str) -> Sequence[str]:
        return ()

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        return ""

    def arrived_at(self, change: Change) -> float:
        return float(change.committed_at)

    def names_request(self, commit: str) -> int:
        return 0
