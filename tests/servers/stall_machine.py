"""A second application on a shop's machine, whose directory is a small disk: a web server of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.servers.shop_machine import DISINTO
from tests.servers.systemd_machine import SystemdMachine

ROOT, WORK = "/opt/stall", "/srv/stall-work"
DEPLOY = "stall-deploy.service"
SIZE_MB = 8
SECRET = "fedcba9876543210fedcba9876543210"
RELEASE = """\
app = "stall"
remote = "git://127.0.0.1/stall.git"
poll_interval = 5
free_mb = 0

[webhook]
listen = "127.0.0.1:9010"

[services.web]
install = 'mkdir -p "$VIRTUAL_ENV"'
health = "http://127.0.0.1:8100/number"

[health]
timeout = 60
"""
UNIT = f"""\
[Service]
User=shop
EnvironmentFile={ROOT}/env/web.env
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory {ROOT}/src 8100

[Install]
WantedBy=multi-user.target
"""


class StallMachine:
    """The application, before its installation.

    Args:
        machine: of a shop, whose forge has the repository as well.
    """

    def __init__(self, machine: SystemdMachine) -> None:
        self.machine = machine
        machine.run("mkdir", ROOT)
        machine.run("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "tmpfs", ROOT)
        machine.write(f"{ROOT}/release.toml", RELEASE)
        machine.write(f"{ROOT}/env/web.env", f"STALL_WEBHOOK_SECRET={SECRET}\n")
        machine.write("/etc/systemd/system/stall-web.service", UNIT)
        machine.run("git", "init", "-q", "--bare", "-b", "main", "/srv/git/stall.git")
        machine.run("git", "clone", "-q", "/srv/git/stall.git", WORK)
        self.first = self.push({"number": "1"})

    def push(self, files: Mapping[str, str]) -> str:
        """Commit files and push; returns the commit."""
        for name, text in files.items():
            self.machine.write(f"{WORK}/{name}", text)
        return self.commit()

    def commit(self, script: str = "true") -> str:
        """Commit what a script does in the repository, and push; returns the commit."""
        commit = "git -c user.name=t -c user.email=t@example commit -qm change"
        words = f"cd {WORK}; {script}; git add -A; {commit}; git push -q origin HEAD:main"
        self.machine.run("sh", "-ec", words)
        return self.machine.run("git", "-C", WORK, "rev-parse", "HEAD").strip()

    @property
    def status(self) -> dict[str, Any]:
        command = (DISINTO, "release", "status", "--app", "stall", "--json")
        read: dict[str, Any] = json.loads(self.machine.run(*command))
        return read

    def serves(self, number: int, commit: str) -> bool:
        """Whether the service answers with this number, and the commit is safe."""
        url = "http://127.0.0.1:8100/number"
        answer = self.machine.run("curl", "--silent", "--fail", url, check=False)
        safe = self.machine.run("cat", f"{ROOT}/run/SAFE_COMMIT", check=False).strip()
        return (answer.strip(), safe) == (str(number), commit)

    def idle(self) -> bool:
        """Whether no deploy runs."""
        return self.machine.property(DEPLOY, "ActiveState") in {"inactive", "failed"}

    def on(self, number: int, commit: str) -> None:
        """Wait until the service serves a commit, and no deploy runs."""
        self.machine.await_(
            lambda: self.serves(number, commit) and self.idle(), f"number {number} of the stall"
        )

    def ended(self, commit: str) -> tuple[str, str]:
        """Outcome and message of the last deploy, as soon as it was of this commit."""
        self.machine.await_(lambda: (self.status["last"] or {}).get("commit") == commit, "its end")
        last = self.status["last"]
        return last["outcome"], last["message"]
