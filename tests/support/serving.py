"""``disinto serve`` on a scene, as a process of its own that may be killed, frozen and thawed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tenacity

from dispatcher.devservers.scene import Scene
from tests.servers.freeze import freeze
from tests.support.fork_server import ForkedProcess, can_fork

ROOT = Path(__file__).parents[2]


class Served:
    """A dispatcher at work.

    Args:
        arguments: of the Python that runs it; ``disinto serve`` unless told.
        name: tells its log from those of others on the same scene.
        environ: laid over the scene's.

    Attributes:
        log: file with all it said.
        process: of its own.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        name: str = "serve",
        arguments: Collection[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.log = scene.root / f"{name}.log"
        env = {**scene.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        words = ("--config", str(scene.config), "serve")
        self.process: ForkedProcess | subprocess.Popen[bytes]
        with self.log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            if not arguments and can_fork(env):
                files = (nothing.fileno(), output.fileno(), output.fileno())
                self.process = ForkedProcess(words, env=env, cwd=ROOT, files=files)
                return
            self.process = subprocess.Popen(
                [sys.executable, *(arguments or ("-m", "dispatcher", *words))],
                env=env,
                cwd=ROOT,
                stdin=nothing,
                stdout=output,
                stderr=output,
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of its journal with this event."""
        found = []
        for line in self.log.read_text().splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if entry.get("event") == name:
                    found.append(entry)
        return found

    def until(self, event: str, *, within_s: float = 60) -> None:
        """Wait until it has said this."""

        @tenacity.retry(
            stop=tenacity.stop_after_delay(within_s), wait=tenacity.wait_fixed(0.1), reraise=True
        )
        def look() -> None:
            assert self.events(event), self.log.read_text()

        look()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        freeze(self.process.pid)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a machine does that loses power."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Ask it to end; it must have thrown nothing at anybody."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.kill()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()


@contextmanager
def serving(scene: Scene, *, name: str = "serve", **more: Any) -> Iterator[Served]:
    """Serve a scene until the block ends."""
    served = Served(scene, name=name, **more)
    try:
        yield served
    except BaseException:
        served.kill()
        raise
    served.end()


def all_results(
    scene: Scene, action_ids: Collection[str], *, within_s: float = 90
) -> dict[str, dict[str, Any]]:
    """Wait until each of these has its result on the remote; answers all results."""

    @tenacity.retry(
        stop=tenacity.stop_after_delay(within_s), wait=tenacity.wait_fixed(0.2), reraise=True
    )
    def look() -> dict[str, dict[str, Any]]:
        results = scene.results()
        missing = set(action_ids) - set(results)
        assert not missing, f"no result of {sorted(missing)}"
        return results

    return look()
