"""A real bare repository that other people push to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ENV = {
    **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "LC_ALL": "C",
}

FileSpec = bytes | tuple[int, bytes | str]
"""Bytes of a plain file, or a mode with the bytes of a symlink or the hash of a submodule."""


class GitRemote:
    """A bare repository with the branch ``main``. Commits are made straight in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True, env=ENV)

    @classmethod
    def there(cls, path: Path) -> GitRemote:
        """One that was made already; it may be away for a while."""
        remote = cls.__new__(cls)
        remote.path = path
        return remote

    def git(
        self, *args: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> str:
        """Run git in it; its standard output without the last line's end."""
        done = subprocess.run(
            ["git", "--git-dir", self.path, *args],
            input=stdin,
            capture_output=True,
            env={**ENV, **(env or {})},
            check=False,
        )
        assert done.returncode == 0, f"git {args}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")

    @property
    def head(self) -> str:
        return self.git("rev-parse", "main")

    def commit(
        self,
        files: Mapping[str, FileSpec] | None = None,
        *,
        remove: Sequence[str] = (),
        parents: Sequence[str] | None = None,
        branch: str = "main",
        message: str = "change",
        date: int = 1_700_000_000,
        who: str = "Ann <ann@example.org>",
    ) -> str:
        """Make a commit on the branch's head, or on the given parents; returns its hash."""
        if parents is None:
            ref = self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
            parents = [ref] if ref else []
        out = [os.fsencode(f"commit refs/heads/{branch}\nmark :1\ncommitter {who} {date} +0000\n")]
        out.append(b"data %d\n%b\n" % (len(message.encode()), message.encode()))
        out.extend(f"{'merge' if n else 'from'} {p}\n".encode() for n, p in enumerate(parents))
        if not parents:
            out.append(b"deleteall\n")
        out.extend(b'D "' + _quoted(path) + b'"\n' for path in remove)
        for path, spec in (files or {}).items():
            mode, data = spec if isinstance(spec, tuple) else (0o100644, spec)
            if isinstance(data, str):
                out.append(b"M %o %b " % (mode, data.encode()) + b'"' + _quoted(path) + b'"\n')
            else:
                out.append(b"M %o inline " % mode + b'"' + _quoted(path) + b'"\n')
                out.append(b"data %d\n%b\n" % (len(data), data))
        out.append(b"get-mark :1\ndone\n")
        return self.git("fast-import", "--quiet", "--done", "--force", stdin=b"".join(out))

    def point(self, commit: str, branch: str = "main") -> None:
        """Force the branch to a commit."""
        self.git("update-ref", f"refs/heads/{branch}", commit)

    def files(self, prefix: str = "", commit: str = "main") -> dict[str, bytes]:
        """Paths below a prefix, with their bytes, as a fresh clone would see them."""
        names = self.git("ls-tree", "-r", "-z", "--name-only", commit, "--", prefix or ".")
        return {
            name: self.git("cat-file", "blob", f"{commit}:{name}").encode(
                "utf-8", "surrogateescape"
            )
            for name in names.split("\0")
            if name
        }

    def log(self) -> list[str]:
        """Subjects on the branch, newest first."""
        return self.git("log", "--format=%s", "main").splitlines()

    def hook(self, name: str, script: str) -> Path:
        """Install a server hook."""
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


def _quoted(path: str) -> bytes:
    return b"".join(
        b"\\%03o" % byte if byte < 0x20 or byte >= 0x7F or byte in b'"\\' else bytes((byte,))
        for byte in os.fsencode(path)
    )
