"""A machine with systemd as PID 1, in a container: what ``disinto release`` deploys on.

``boot()`` gives one with this checkout's program in /opt/disinto/bin, as root has it. Its packages are in
its image (``systemd/Dockerfile``), which takes minutes to build, so tests skip themselves until
``python -m tests.servers.systemd_machine`` has made it. ``DISINTO_TEST_MACHINE`` names another image.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IMAGE = os.environ.get("DISINTO_TEST_MACHINE", "disinto-machine:test")
CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "AUDIT_WRITE")
CODE = "/srv/disinto"
"""Where the checkout's packages are on the machine: root's, whoever owns the checkout, and whatever umask
it was made with."""

_ROOT = Path(__file__).resolve().parents[2]
_DOCKERFILE = Path(__file__).parent / "systemd" / "Dockerfile"
_SHIPPED = ("dispatcher", "jobs", "vault", "actions")
_MODE = "u=rwX,go=rX"
PATIENCE_S = 300.0
"""Seconds within which whatever is waited for happens, also on a machine with much else to do."""


def build() -> None:
    """Build the image; takes minutes the first time. ``DISINTO_TEST_BASE`` names another Debian 12."""
    base = os.environ.get("DISINTO_TEST_BASE", "debian:bookworm-slim")
    command = ["docker", "build", "--build-arg", f"BASE={base}", "--file", str(_DOCKERFILE)]
    subprocess.run([*command, "--tag", IMAGE, str(_ROOT)], check=True, timeout=1800)


def why_missing() -> str | None:
    """None if the image is there, else the reason in a clause."""
    command = ["docker", "image", "inspect", IMAGE]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if done.returncode == 0:
        return None
    return f"there is no image {IMAGE}: python -m tests.servers.systemd_machine builds it"


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemdMachine:
    """A machine that runs.

    Attributes:
        name: of its container.
        ip: its address.
    """

    name: str
    ip: str

    def run(self, *command: str, user: str = "root", check: bool = True, stdin: bytes = b"") -> str:
        """What a command on the machine prints, both streams."""
        done = subprocess.run(
            ["docker", "exec", "-i", "--user", user, self.name, *command],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}: {output}"
        return output

    def succeeds(self, *command: str, user: str = "root") -> bool:
        """Whether a command on the machine exits with 0."""
        return self.code(*command, user=user) == 0

    def code(self, *command: str, user: str = "root") -> int:
        """The exit code of a command on the machine."""
        wrapped = ["docker", "exec", "--user", user, self.name, *command]
        return subprocess.run(
            wrapped, capture_output=True, timeout=PATIENCE_S, check=False
        ).returncode

    def read(self, path: str) -> str:
        """The text of a file on the machine."""
        return self.run("cat", path)

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file on the machine, and the directories above it."""
        user, _, group = owner.partition(":")
        options = ["-D", "-o", user, "-g", group, "-m", f"{mode:o}"]
        self.run("install", *options, "/dev/stdin", path, stdin=text.encode())

    def property(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def await_(
        self, condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE_S
    ) -> None:
        """Wait until a condition of the machine is met."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
            time.sleep(0.1)

    def booted(self) -> None:
        """Wait until the boot has ended."""

        def ended() -> bool:
            state = self.run("systemctl", "is-system-running", check=False).strip()
            return state in {"running", "degraded"}

        self.await_(ended, "the boot")

    def reboot(self) -> None:
        """Shut down and boot again."""
        self._docker("restart", "--time", "20", self.name)
        self.booted()

    def cut_power(self) -> None:
        """Kill everything at once, and boot again."""
        self._docker("kill", self.name)
        self._docker("start", self.name)
        self.booted()

    @staticmethod
    def _docker(*words: str) -> None:
        subprocess.run(["docker", *words], capture_output=True, check=True, timeout=120)


def _ship(machine: SystemdMachine) -> None:
    options = ["--owner=0", "--group=0", f"--mode={_MODE}", f"--directory={_ROOT}"]
    packed = subprocess.run(
        ["tar", "--create", *options, *_SHIPPED], capture_output=True, check=True
    ).stdout
    machine.run("mkdir", "-p", CODE)
    machine.run("tar", "--extract", "--same-permissions", f"--directory={CODE}", stdin=packed)


@contextmanager
def boot() -> Iterator[SystemdMachine]:
    """A fresh machine; it is removed at the end."""
    name = f"disinto-machine-{uuid.uuid4().hex[:8]}"
    create = ["docker", "create", "--name", name, "--hostname", "machine"]
    create += ["--security-opt", "seccomp=unconfined", "--cgroupns=private", "--env"]
    create += [
        "container=docker",
        "--tmpfs",
        "/run",
        "--tmpfs",
        "/run/lock",
        "--tmpfs",
        "/tmp:exec",
    ]
    create += [word for each in CAPABILITIES for word in ("--cap-add", each)]
    subprocess.run([*create, IMAGE, "/sbin/init"], capture_output=True, check=True)
    try:
        subprocess.run(["docker", "start", name], capture_output=True, check=True)
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        shown = subprocess.run(
            ["docker", "inspect", "--format", template, name],
            capture_output=True,
            check=True,
            text=True,
        )
        machine = SystemdMachine(name=name, ip=shown.stdout.strip())
        machine.booted()
        _ship(machine)
        yield machine
    finally:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False
        )


if __name__ == "__main__":
    build()
    sys.exit()
