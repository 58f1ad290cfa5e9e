"""A shop on a machine with systemd: an ASGI API and a worker over SQLite, released from a bare repository.

The files are in ``shop/``. The remote is served by ``git daemon`` on the same machine, so nothing here needs
a network.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.servers.systemd_machine import SystemdMachine

FILES = Path(__file__).parent / "shop"
DISINTO = "/opt/disinto/bin/disinto"
SECRET = "0123456789abcdef0123456789abcdef"
WORK, DATA = "/srv/work", "/var/lib/shop"
DEPLOY = "shop-deploy.service"
_OF_REPOSITORY = ("backend", "worker")


class ShopMachine:
    """A machine with everything that an operator brings; ``install`` does the rest.

    Args:
        machine: fresh.
        place: where the operator's files are, at their places below it.
    """

    def __init__(self, machine: SystemdMachine, *, place: str = "") -> None:
        self.machine = machine
        machine.run("useradd", "--system", "--user-group", "shop")
        machine.run("install", "-d", "-o", "shop", "-g", "shop", "-m", "2777", DATA)
        database = f"DATABASE={DATA}/shop.sqlite\n"
        secret = f"SHOP_WEBHOOK_SECRET={SECRET}\n"
        machine.write("/etc/systemd/system/git.service", (FILES / "git.service").read_text())
        brought = {
            "opt/shop/release.toml": (FILES / "release.toml").read_text(),
            "opt/shop/env/backend.env": database + secret,
            "opt/shop/env/worker.env": database,
        }
        for name in _OF_REPOSITORY:
            unit = (FILES / f"{name}.service").read_text()
            brought[f"etc/systemd/system/shop-{name}.service"] = unit
        for path, text in brought.items():
            machine.write(f"{place}/{path}", text)
        machine.run("git", "init", "-q", "--bare", "-b", "main", "/srv/git/shop.git")
        machine.run("git", "clone", "-q", "/srv/git/shop.git", WORK)
        machine.run("systemctl", "enable", "--now", "git")
        files = [
            path for each in _OF_REPOSITORY for path in (FILES / each).rglob("*") if path.is_file()
        ]
        self.first = self.push({str(path.relative_to(FILES)): path.read_text() for path in files})

    def push(self, files: Mapping[str, str], *, rewrite: bool = False) -> str:
        """Commit files and push; returns the commit.

        Args:
            rewrite: replace the last commit of the branch.
        """
        for name, text in files.items():
            self.machine.write(f"{WORK}/{name}", text)
        commit = "git -c user.name=t -c user.email=t@example commit -qm change --allow-empty"
        commit, push = (f"{commit} --amend", "push --force") if rewrite else (commit, "push")
        script = f"cd {WORK} && git add -A && {commit} && git {push} -q origin HEAD:main"
        self.machine.run("sh", "-ec", f"{script}")
        return self.machine.run("git", "-C", WORK, "rev-parse", "HEAD").strip()

    def take_back(self, commit: str) -> None:
        """Have the next commit contain the files of an earlier one."""
        self.machine.run("git", "-C", WORK, "read-tree", "--reset", "-u", commit)

    def change(
        self,
        number: int,
        files: Mapping[str, str] = MappingProxyType({}),
        *,
        starts: bool = True,
        rewrite: bool = False,
    ) -> str:
        """Push a commit whose API has this number, and these files."""
        text = (FILES / "backend" / "app.py").read_text()
        text = text.replace("NUMBER = 1", f"NUMBER = {number}")
        text = text.replace("STARTS = True", f"STARTS = {starts}")
        return self.push({"backend/app.py": text, **files}, rewrite=rewrite)

    def disinto(self, *words: str, check: bool = True) -> str:
        """A command of releases, as root."""
        return self.machine.run(DISINTO, "release", *words, check=check)

    def install(self) -> None:
        self.disinto("install", "--yes")

    def deploy(self, *words: str) -> str:
        """Deploy by hand, as the deploy user."""
        command = ("runuser", "-u", "deploy", "--", DISINTO, "release", "deploy", *words)
        return self.machine.run(*command, check=False)

    def call_webhook(self) -> str:
        """As a forge does after a push."""
        body = json.dumps({"ref": "refs/heads/main"})
        digest = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
        header = f"X-Forgejo-Signature: {digest}"
        url = "http://127.0.0.1:9009/webhook/forgejo"
        command = ["curl", "--silent", "--show-error", "--data", body, "--header", header, url]
        return self.machine.run(*command, check=False)

    @property
    def status(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.disinto("status", "--json"))
        return read

    @property
    def safe(self) -> str:
        """The safe commit, "" without one."""
        return self.machine.run("cat", "/opt/shop/run/SAFE_COMMIT", check=False).strip()

    def answer(self) -> dict[str, Any] | None:
        """What the API answers; None if it is not healthy."""
        url = "http://127.0.0.1:8000/healthz"
        text = self.machine.run("curl", "--silent", "--fail", "--max-time", "3", url, check=False)
        try:
            read: dict[str, Any] = json.loads(text)
        except ValueError:
            return None
        return read

    def serves(self, number: int, commit: str) -> bool:
        """Whether both services run this commit, which is safe, and the API is healthy."""
        answer = self.answer()
        return (
            answer is not None
            and answer["number"] == number
            and answer["version"].endswith(f"+{commit[:7]}")
            and self.machine.property("shop-worker.service", "ActiveState") == "active"
            and commit == self.safe
        )

    def on(self, number: int, commit: str) -> None:
        """Wait until both services serve a commit, and no deploy runs."""
        self.machine.await_(lambda: self.serves(number, commit) and self.idle(), f"number {number}")

    def served(self) -> tuple[int, str]:
        """Number and commit of what is served."""
        answer = self.answer()
        assert answer is not None
        return answer["number"], self.safe

    def failed(self, commit: str) -> str:
        """The step at which this commit failed, as soon as it has."""
        self.machine.await_(
            lambda: (self.status["failed"] or {}).get("commit") == commit,
            "the failure",
        )
        step = self.status["failed"]["step"]
        assert isinstance(step, str)
        return step

    def hold(self, step: str) -> None:
        """Have the next deploy wait in a step."""
        self.machine.run("touch", f"{DATA}/hold-{step}")

    def held(self, step: str) -> None:
        """Wait until it does; whoever comes to the step later does not."""
        there = ("test", "-e", f"{DATA}/at-{step}")
        self.machine.await_(lambda: self.machine.succeeds(*there), f"step {step}")

    def go_on(self, step: str) -> None:
        """Let it go on, if it still exists."""
        self.machine.run("rm", f"{DATA}/at-{step}")

    def deployed(self, commit: str) -> int:
        """How many deploys of a commit began."""
        return self.machine.read("/opt/shop/logs/deploy.log").count(f"deploys {commit[:12]} ")

    def deploys(self) -> int:
        """How many times the unit of the deploy was started since the boot."""
        log = self.machine.run("journalctl", "-b", "-o", "cat", "-u", DEPLOY)
        return log.count(f"Starting {DEPLOY}")

    def idle(self) -> bool:
        """Whether no deploy runs."""
        return self.machine.property(DEPLOY, "ActiveState") in {"inactive", "failed"}
