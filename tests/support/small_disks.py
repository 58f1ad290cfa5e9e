"""Small file systems, mounted by a program in namespaces of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_NAMESPACES = ("unshare", "-rm")


def run_with_small_disks(module: str, directory: Path) -> None:
    """Run a module of ``tests.support`` as a program that may mount; what it asserts counts here.

    Args:
        directory: its argument, for its files.
    """
    if subprocess.run([*_NAMESPACES, "true"], check=False).returncode:
        pytest.skip("no user namespaces here")
    done = subprocess.run(
        [*_NAMESPACES, sys.executable, "-m", f"tests.support.{module}", str(directory)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def mount(*arguments: str) -> None:
    """In such a program."""
    subprocess.run(["mount", *arguments], check=True)


def mount_small(directory: Path, options: str) -> None:
    """Mount an empty file system in memory, of the size that the options of tmpfs(5) say."""
    mount("-t", "tmpfs", "-o", options, "tmpfs", str(directory))
