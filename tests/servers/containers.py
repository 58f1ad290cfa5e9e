"""Servers as containers, through testcontainers, for machines with Docker and a registry.

``DISINTO_CONTAINERS=bao,nomad`` takes these two from images (``OPENBAO_IMAGE``, ``NOMAD_IMAGE``) in
place of programs on PATH; all else stays, so that the same suites run on them. They use the
machine's network, on the loopback. Runs of a Nomad in a container that are raw_exec do not see this
machine's Python: their suites skip themselves, and those of the driver docker run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMAGES = {
    "bao": os.environ.get("OPENBAO_IMAGE", "openbao/openbao:2.7.2"),
    "nomad": os.environ.get("NOMAD_IMAGE", "hashicorp/nomad:2.0.5"),
}


def chosen(program: str) -> bool:
    """Whether this server is to be a container."""
    return program in os.environ.get("DISINTO_CONTAINERS", "").split(",")


def launch(program: str) -> Callable[[list[str], Path], Any] | None:
    """What starts it in a container, or None if it is a process of this machine."""
    if not chosen(program):
        return None
    return lambda arguments, folder: Contained(program, arguments, folder)


class Contained:
    """A container, with the part of ``subprocess.Popen`` that fixtures and fault tests use."""

    def __init__(self, program: str, arguments: list[str], folder: Path) -> None:
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(IMAGES[program]).with_command(arguments)
        container.with_kwargs(network_mode="host", entrypoint=[program])
        if program == "nomad":
            # Folders have one path inside and outside: Docker mounts them into runs.
            container.with_volume_mapping(str(folder), str(folder), "rw")
            container.with_volume_mapping("/var/run/docker.sock", "/var/run/docker.sock", "rw")
            container.with_volume_mapping("/sys/fs/cgroup", "/sys/fs/cgroup", "rw")
            container.with_kwargs(
                network_mode="host",
                entrypoint=[program],
                user="root",
                cap_add=["SYS_ADMIN"],
                security_opt=["apparmor:unconfined"],
            )
        container.start()
        self._container = container
        self._inner = container.get_wrapped_container()
        self._log = folder / "agent.log"
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """None while it runs, else its exit code."""
        if self.returncode is not None:
            return self.returncode
        self._inner.reload()
        if self._inner.status in ("running", "paused", "created"):
            return None
        self._log.write_bytes(self._inner.logs()[-10_000:])
        self.returncode = int(self._inner.attrs["State"]["ExitCode"])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            self._inner.kill(signal=int(number))

    def kill(self) -> None:
        if self.poll() is None:
            self._inner.kill()

    def wait(self, timeout: float | None = None) -> int:
        import requests

        if self.returncode is not None:
            return self.returncode
        try:
            self._inner.wait(timeout=timeout)
        except requests.exceptions.RequestException as error:
            raise subprocess.TimeoutExpired("container", timeout or 0) from error
        code = self.poll()
        self._inner.remove(force=True)
        assert code is not None
        return code
