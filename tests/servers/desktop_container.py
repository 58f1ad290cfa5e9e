"""A machine of the cloud in a container: it boots from user data, by cloud-init and systemd.

``boot(user_data)`` gives one that has an address, as a droplet has, where 22, 80 and 443 are. What it has
of packages is in its image (``desktop/Dockerfile``), which takes minutes to build, so tests skip
themselves until ``python -m tests.servers.desktop_container`` has made it.

guacd and Guacamole are a stand-in; ``boot(…, guacamole=DIRECTORY)`` runs real ones, from a build as
``tests/servers/guacamole.py`` has it.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IMAGE = "disinto-desktop:test"
READY, STAGE = "/var/lib/disinto-desktop/ready", "/var/lib/disinto-desktop/stage"
LOG = "/var/log/disinto-desktop.log"
SILENT_S = 400.0
"""Seconds without a line in its log after which the setup counts as hung."""

CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "AUDIT_WRITE")
_CONTEXT = Path(__file__).parent / "desktop"
_SEED = "var/lib/cloud/seed/nocloud"


def build() -> None:
    """Build the image; takes minutes the first time. ``DISINTO_TEST_BASE`` names another Debian 12."""
    base = os.environ.get("DISINTO_TEST_BASE", "debian:bookworm-slim")
    command = ["docker", "build", "--build-arg", f"BASE={base}", "--tag", IMAGE, str(_CONTEXT)]
    subprocess.run(command, check=True, timeout=1800)


def why_missing() -> str | None:
    """None if the image is there, else the reason in a clause."""
    command = ["docker", "image", "inspect", IMAGE]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if done.returncode == 0:
        return None
    return f"there is no image {IMAGE}: python -m tests.servers.desktop_container builds it"


@dataclass(frozen=True, kw_only=True, slots=True)
class DesktopContainer:
    """A machine that runs.

    Attributes:
        ip: its address; probes and browsers use it as that of a droplet.
    """

    name: str
    ip: str

    def run(self, *command: str, user: str = "root", check: bool = True) -> str:
        """What a command on the machine prints, both streams."""
        done = subprocess.run(
            ["docker", "exec", "--user", user, self.name, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert done.returncode == 0 or not check, f"{command}: {output}"
        return output

    def succeeds(self, *command: str, user: str = "root") -> bool:
        """Whether a command on the machine exits with 0."""
        wrapped = ["docker", "exec", "--user", user, self.name, *command]
        return (
            subprocess.run(wrapped, capture_output=True, timeout=120, check=False).returncode == 0
        )

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def await_ready(self, condition: Callable[[], bool] | None = None) -> None:
        """Wait for as long as its setup goes on: until that is done, or until a condition is met.

        Raises:
            AssertionError: it failed, or did nothing for ``SILENT_S`` seconds, or was done for so long; with the
                end of its log.
        """
        condition = condition or (lambda: self.succeeds("test", "-e", READY))
        news, since = "", time.monotonic()
        while not condition():
            now = self.run("sh", "-c", f"cat {STAGE}; ls {READY} || stat -c %s {LOG}", check=False)
            if now != news:
                news, since = now, time.monotonic()
            silent = time.monotonic() - since > SILENT_S
            if silent or "failed" in now.split():
                raise AssertionError(self.run("tail", "-40", LOG, check=False))
            time.sleep(1)

    @contextmanager
    def dial(self, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """A connection to the machine's loopback, as the pipes of a process."""
        command = ["docker", "exec", "-i", self.name, "socat", "-", f"TCP:127.0.0.1:{port}"]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def screenshot(self) -> bytes:
        """The desktop as PNG."""
        show = "env DISPLAY=:1 XAUTHORITY=/run/disinto-desktop/Xauthority import -window root png:-"
        command = ["docker", "exec", "--user", "desktop", self.name, *show.split()]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    def reboot(self) -> None:
        subprocess.run(
            ["docker", "restart", "--time", "10", self.name], capture_output=True, check=True
        )


@contextmanager
def boot(user_data: str, *, guacamole: Path | None = None) -> Iterator[DesktopContainer]:
    """A machine that boots from this user data; it is removed at the end."""
    name = f"disinto-desktop-{uuid.uuid4().hex[:8]}"
    create = ["docker", "create", "--name", name, "--security-opt", "seccomp=unconfined"]
    create += [
        "--cgroupns=private",
        "--tmpfs",
        "/run",
        "--tmpfs",
        "/run/lock",
        "--tmpfs",
        "/tmp:exec",
    ]
    if guacamole is not None:
        create += ["--volume", f"{guacamole}:{guacamole}:ro", "--env", f"REAL={guacamole}"]
    create += [word for capability in CAPABILITIES for word in ("--cap-add", capability)]
    subprocess.run(
        [*create, "--env", "container=docker", IMAGE, "/sbin/init"], capture_output=True, check=True
    )
    try:
        subprocess.run(
            ["docker", "cp", "-", f"{name}:/"],
            input=_seed(name, user_data),
            capture_output=True,
            check=True,
        )
        subprocess.run(["docker", "start", name], capture_output=True, check=True)
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        shown = subprocess.run(
            ["docker", "inspect", "--format", template, name],
            capture_output=True,
            check=True,
            text=True,
        )
        yield DesktopContainer(name=name, ip=shown.stdout.strip())
    finally:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False
        )


def _seed(instance: str, user_data: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in (("user-data", user_data), ("meta-data", f"instance-id: {instance}\n")):
            data = text.encode()
            member = tarfile.TarInfo(f"{_SEED}/{name}")
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


if __name__ == "__main__":
    build()
    sys.exit()
