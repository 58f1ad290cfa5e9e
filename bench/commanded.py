"""The controlling side of ``bench.serving``: starts it, sends commands, and reads its events."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.processes import cpu_s
from bench.stage import ROOT
from dispatcher.devservers.scene import Scene

ANSWER_S = 60.0


class Commanded:
    """A service in a process of its own.

    Attributes:
        submitted: monotonic time by action id.
        children: the engine's name of each run, by action id.
        pid: of the process.
    """

    def __init__(self, scene: Scene, *, fake: bool) -> None:
        self.submitted: dict[str, float] = {}
        self.children: dict[str, str] = {}
        self._news = threading.Condition()
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._log = (scene.root / "serving.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.serving", str(scene.config), *["--fake"][: int(fake)]],
            env={**scene.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.pid = self._process.pid
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def command(self, name: str, count: int = 0) -> dict[str, Any]:
        """Send a command; returns its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {count}\n")
        self._process.stdin.flush()
        return self._answers.get(timeout=ANSWER_S)

    def wait_submitted(self, names: list[str], *, timeout_s: float) -> float:
        """Wait until these were submitted; the time of the last."""
        with self._news:
            if not self._news.wait_for(lambda: self.submitted.keys() >= set(names), timeout_s):
                missing = set(names) - self.submitted.keys()
                raise TimeoutError(f"{len(missing)} of {len(names)} were not submitted")
            return max(self.submitted[name] for name in names)

    def calls(self) -> Counter[str]:
        """Requests that it has made, by server and endpoint."""
        counts = self.command("calls")
        return Counter(
            {f"{who}: {name}": n for who in ("nomad", "vault") for name, n in counts[who].items()}
        )

    def looks(self) -> Counter[str]:
        """Calls to the engine that observe runs and read their progress."""
        return Counter(self.command("calls")["engine"])

    def cpu_s(self) -> float:
        """CPU seconds of the process itself."""
        return cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Resident memory of the process, in millions of bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def end(self) -> None:
        """End it, and wait."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            self._thread.join()
            self._log.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if message["event"] == "submitted":
                with self._news:
                    self.submitted[message["id"]] = message["at"]
                    self.children[message["id"]] = message["child"]
                    self._news.notify_all()
            else:
                self._answers.put(message)


@contextmanager
def commanded(scene: Scene, *, fake: bool = False) -> Iterator[Commanded]:
    """Serve a scene, over its own engine or over a fake one."""
    process = Commanded(scene, fake=fake)
    try:
        yield process
    finally:
        process.end()


def settle(process: Commanded, *, quiet_s: float = 1.0, timeout_s: float = 60.0) -> None:
    """Wait until the service has gone round less than three times in a while."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        process.command("stats")
        time.sleep(quiet_s)
        if len(process.command("stats")["rounds_ms"]) < 3:
            return
    raise TimeoutError("the service does not come to rest")
