"""Removes what a killed Nomad agent leaves: tasks, containers, mounts, files.

``python -m dispatcher.devservers.remains FOLDER`` waits until its standard input ends, which is
when its parent has ended for whatever reason, and then removes the directory's agent.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dispatcher.host.removal import remove_tree


def clear(folder: Path) -> None:
    """End everything that belongs to the agent with this directory, and remove the directory."""
    _end_processes(folder)
    _end_containers(folder)
    for mounted in _mounts_below(folder):
        subprocess.run(["umount", "-l", mounted], check=False, capture_output=True)
    remove_tree(folder)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Have the directory cleared if this process dies inside the block, even by SIGKILL."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "dispatcher.devservers.remains", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watch.kill()
        watch.communicate()


def _end_processes(folder: Path) -> None:
    """Agent, executors and tasks have the directory in their environment."""
    needle = str(folder).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if needle in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


def _end_containers(folder: Path) -> None:
    """They have it among their mounts."""
    if shutil.which("docker") is None:
        return
    listed = _docker("ps", "-aq", "--filter", "label=com.hashicorp.nomad.alloc_id")
    for container in listed.split():
        sources = _docker("inspect", "--format", "{{range .Mounts}}{{.Source}} {{end}}", container)
        if f"{folder}/" in sources:
            _docker("rm", "-f", container)


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    return done.stdout


def _mounts_below(folder: Path) -> list[str]:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((path for path in mounted if path.startswith(f"{folder}/")), reverse=True)


if __name__ == "__main__":
    sys.stdin.read()
    clear(Path(sys.argv[1]))
