"""Telling from the kernel's counts that memory ran out."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.runner.memory import Memory

V2 = ("memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill {}\noom_group_kill 0\n")
V1 = ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n")
V2_LIMIT, V1_LIMIT = "memory.max", "memory/memory.limit_in_bytes"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "memory").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("count", "limit_file", "limit", "told"),
    [
        (V2, V2_LIMIT, "134217728\n", "out of memory (limit 128 MiB)"),
        (V2, V2_LIMIT, "max\n", "out of memory"),
        (V1, V1_LIMIT, "134217728\n", "out of memory (limit 128 MiB)"),
        (V1, V1_LIMIT, "9223372036854771712\n", "out of memory"),
    ],
)
def test_what_was_killed_since(
    root: Path, count: tuple[str, str], limit_file: str, limit: str, told: str
) -> None:
    name, text = count
    (root / name).write_text(text.format(3))
    (root / limit_file).write_text(limit)
    memory = Memory(str(root))
    assert memory.ran_out() == ""  # another run of the same group, before this one
    (root / name).write_text(text.format(4))
    assert memory.ran_out() == told


def test_a_kernel_that_does_not_count(root: Path) -> None:
    assert Memory(str(root)).ran_out() == ""
