"""The stage of a bench: one OpenBao, and for each bench a scene and a dispatcher in its own process.

Everything listens on the loopback or on a path of a temporary folder, and ends with the bench.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.processes import cpu_s
from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.scene import Scene
from dispatcher.loop import nudge
from tests.servers import bao
from tests.servers.bao import Bao

ROOT = Path(__file__).parents[1]
FORMULA = "echo hello\n"
SECRET = "TOKEN_A"
QUIET_POLL_S = 30.0
"""Pause between two polls of the remote: pushes notify the dispatcher, as ``disinto dispatch``
does."""


class Stage:
    """Makes scenes over one server.

    Attributes:
        server: OpenBao.
        folder: for everything that is written.
    """

    def __init__(self, server: Bao, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._names = itertools.count(1)

    def scene(self, *, agent: DevAgent | None = None, **settings: Any) -> Scene:
        """A scene with the formula ``hello`` (tier low) and one secret; settings are laid over."""
        server = self.server.with_own_mount()
        own: dict[str, Any] = {
            "vault": {"kv_mount": server.kv_mount},
            "ops_repo": {"poll_interval_s": QUIET_POLL_S},
        }
        for section, keys in settings.items():
            own[section] = {**own.get(section, {}), **keys} if isinstance(keys, dict) else keys
        root = self.folder / f"scene-{next(self._names)}"
        root.mkdir()
        return Scene.set(
            root,
            server,
            values={SECRET: "the value of a secret"},
            settings=own,
            tiers={"hello": "low"},
            formulas={"hello.sh": FORMULA},
            nomad=agent,
        )


@contextmanager
def stage() -> Iterator[Stage]:
    """Start OpenBao and make a directory; both are gone at the end."""
    with bao.serve() as server, tempfile.TemporaryDirectory(prefix="disinto-bench-") as folder:
        yield Stage(server, Path(folder))


def action(action_id: str, *, secrets: bool = False) -> bytes:
    """A trivial action."""
    names = f'"{SECRET}"' if secrets else ""
    text = f'id = "{action_id}"\nformula = "hello"\ncontext = "bench"\nsecrets = [{names}]\n'
    return text.encode()


def push(remote: Path, files: Mapping[str, bytes]) -> str:
    """One commit made straight in the bare remote, in a few milliseconds; returns its hash."""
    stream = [
        b"commit refs/heads/main\nmark :1\n",
        b"committer Ann <ann@example.org> %d +0000\ndata 3\nnew\n" % int(time.time()),
        b"from refs/heads/main^0\n",
    ]
    for path, data in files.items():
        stream.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data))
    stream.append(b"get-mark :1\ndone\n")
    done = subprocess.run(
        ["git", "--git-dir", remote, "fast-import", "--quiet", "--done"],
        input=b"".join(stream),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def push_actions(remote: Path, names: list[str]) -> str:
    """Trivial actions in one commit."""
    return push(remote, {f"vault/actions/{name}.toml": action(name) for name in names})


class Served:
    """``disinto serve`` as a process of its own.

    Attributes:
        pid: of the process.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._log = (scene.root / "serve.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", "serve", "--config", str(scene.config)],
            env={**scene.environ, "PYTHONPATH": str(ROOT)},
            cwd=scene.root,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self.pid = self._process.pid

    def notify(self) -> None:
        """Notify the dispatcher of a push."""
        nudge.nudge(self._scene.open_settings().state_dir)

    def cpu_s(self) -> float:
        """CPU seconds of the process and of its ended children."""
        return cpu_s(self.pid, children=True)

    def end(self) -> None:
        """Stop it, and wait."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()


@contextmanager
def served(scene: Scene) -> Iterator[Served]:
    """Serve a scene."""
    process = Served(scene)
    try:
        yield process
    finally:
        process.end()
