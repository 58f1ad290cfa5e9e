"""The runner ends only when the engine's log collector has what it wrote, or will not get it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.runner.collected import LOOK_S, QUIET_S, WITHIN_S, await_collected

WRITTEN = {"stdout": 1_000, "stderr": 3}


class Clock:
    """Time that passes by sleeping; ``collect`` is called each time."""

    def __init__(self, collect: Callable[[int], object] = lambda _turn: None) -> None:
        self.now, self.turns, self.collect = 0.0, 0, collect

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.turns += 1
        self.collect(self.turns)

    def wait(self, directory: Path) -> bool:
        return await_collected(str(directory), WRITTEN, task="run", clock=self, sleep=self.sleep)


def log(directory: Path, stream: str, size: int, number: int = 0) -> None:
    (directory / "logs").mkdir(exist_ok=True)
    (directory / "logs" / f"run.{stream}.{number}").write_bytes(b"x" * size)


def test_what_comes_late_is_waited_for(tmp_path: Path) -> None:
    log(tmp_path, "stdout", 10)
    log(tmp_path, "stderr", 3)
    clock = Clock(lambda turn: log(tmp_path, "stdout", min(1_000, turn * 10)))
    assert clock.wait(tmp_path)
    assert clock.turns == 100
    assert Clock().wait(tmp_path), "and not again"


def test_rotated_files_count_together(tmp_path: Path) -> None:
    log(tmp_path, "stdout", 600, 0)
    log(tmp_path, "stdout", 400, 1)
    log(tmp_path, "stderr", 900)
    clock = Clock()
    assert clock.wait(tmp_path)
    assert clock.turns == 0


@pytest.mark.parametrize("number", [0, 7])
def test_what_never_comes_is_waited_for_once_and_briefly(tmp_path: Path, number: int) -> None:
    log(tmp_path, "stdout", 999, number)
    log(tmp_path, "stderr", 3)
    log(tmp_path, "other", 5_000)
    clock = Clock()
    assert not clock.wait(tmp_path)
    assert clock.now < (QUIET_S if number else WITHIN_S) + 2 * LOOK_S


def test_without_a_collector_nothing_is_waited_for(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "absent"):
        clock = Clock()
        assert clock.wait(directory)
        assert clock.turns == 0
    (tmp_path / "logs").write_text("a formula may put anything there")
    assert Clock().wait(tmp_path)
    (tmp_path / "logs").unlink()
    log(tmp_path, "stdout.x", 1)
    (tmp_path / "logs" / "run.stdout.1").symlink_to("/nowhere")
    clock = Clock()
    assert not clock.wait(tmp_path), "a link is no log"
    assert clock.now < WITHIN_S + 2 * LOOK_S
