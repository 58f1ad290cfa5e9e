"""Arrival times of results on a bare remote: its branch is watched as a file, without running git."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType

LOOK_S = 0.002
ENDING = ".result.json"


class Arrivals:
    """Notes each move of ``main`` of a remote. Use as a context manager.

    Args:
        remote: a bare repository.
        look_s: seconds between two polls, each of which costs some 30 µs of CPU.
    """

    def __init__(self, remote: Path, *, look_s: float = LOOK_S) -> None:
        self._look_s = look_s
        self._remote = remote
        self._ref = remote / "refs" / "heads" / "main"
        self._epoch = time.time() - time.monotonic()
        self._moves: list[tuple[float, str]] = [(time.monotonic(), self._head())]
        self._moved = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._read = 1
        self.results: dict[str, float] = {}
        """Monotonic time of arrival by action id."""
        self.wall: dict[str, float] = {}
        """The same in seconds since the epoch."""
        self.commits = 0
        """Commits that brought results."""

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def wait(self, count: int, *, timeout_s: float) -> float:
        """Wait until so many results have arrived since the start; the time of the last one.

        Raises:
            TimeoutError: they did not in this time.
        """
        deadline = time.monotonic() + timeout_s
        while len(self.results) < count:
            with self._moved:
                left = deadline - time.monotonic()
                fresh = self._moved.wait_for(lambda: self._read < len(self._moves), left)
            if not fresh:
                raise TimeoutError(f"{len(self.results)} of {count} results in {timeout_s:g} s")
            self._take_in()
        return max(self.results.values())

    def moved_after(self, at: float) -> float:
        """When ``main`` first moved after a time, both in seconds since the epoch.

        Raises:
            StopIteration: it has not.
        """
        return next(moved + self._epoch for moved, _ in self._moves if moved + self._epoch > at)

    def _take_in(self) -> None:
        while self._read < len(self._moves):
            at, head = self._moves[self._read]
            before = self._moves[self._read - 1][1]
            output = self._git(
                "log",
                "--format=tformat:commit",
                "--name-only",
                f"{before}..{head}",
                "--",
                "*" + ENDING,
            )
            arrived = [Path(p).name.removesuffix(ENDING) for p in output if p.endswith(ENDING)]
            self.commits += output.count("commit")
            self.results.update(dict.fromkeys(arrived, at))
            self.wall.update(dict.fromkeys(arrived, at + self._epoch))
            self._read += 1

    def _watch(self) -> None:
        while not self._ended.wait(self._look_s):
            head = self._head()
            if head != self._moves[-1][1]:
                with self._moved:
                    self._moves.append((time.monotonic(), head))
                    self._moved.notify_all()

    def _head(self) -> str:
        return self._ref.read_text().strip()

    def _git(self, *args: str) -> list[str]:
        done = subprocess.run(
            ["git", "--git-dir", self._remote, *args], capture_output=True, check=True, text=True
        )
        return done.stdout.split()
