"""A real Forgejo or Gitea for tests: ``forgejo`` from PATH, or the server at FORGEJO_ADDR.

FORGEJO_ADDR wants a server that only tests use, with FORGEJO_TOKEN of a site administrator. The
program on PATH is started on a free loopback port with SQLite in a temporary folder; it refuses to
run as root, so under root it runs as FORGEJO_USER (forgejo, git or nobody by default).
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import tenacity

PASSWORD = "correct horse battery staple"

APP_INI = """\
RUN_MODE = prod
WORK_PATH = {home}
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {url}/
APP_DATA_PATH = {home}/data
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = {home}/data/forgejo.db
SQLITE_JOURNAL_MODE = WAL
SQLITE_TIMEOUT = 10000
[repository]
ROOT = {home}/repos
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
INTERNAL_TOKEN = {internal}
PASSWORD_HASH_ALGO = pbkdf2_v1
[oauth2]
ENABLED = true
; By default a key of 4,096 bits would be made at the start.
JWT_SIGNING_ALGORITHM = HS256
JWT_SECRET = {jwt}
[service]
DISABLE_REGISTRATION = true
[mailer]
ENABLED = false
[webhook]
ALLOWED_HOST_LIST = loopback
[picture]
DISABLE_GRAVATAR = true
[indexer]
ISSUE_INDEXER_TYPE = db
[queue]
; The default (level) looks into its queues every 2 s when idle: webhooks come that much later.
TYPE = channel
[queue.webhook_sender]
; By default it waits 100 ms for more to send.
BATCH_LENGTH = 1
[actions]
ENABLED = false
[cron.update_checker]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
ROOT_PATH = {home}/log
"""

_names = itertools.count(1)


@cache
def _client() -> httpx.Client:
    """One for all accounts: making one costs more than most calls."""
    return httpx.Client(timeout=30)


class Refused(Exception):
    """The server answered an error. ``status`` is its code."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url}: {answer.text[:500]}")
        self.status = answer.status_code


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user with a token. ``call`` speaks the API as that user."""

    url: str
    login: str
    token: str = field(repr=False)

    @property
    def email(self) -> str:
        return f"{self.login}@example.test"

    def call(self, method: str, path: str, body: object = None, **params: object) -> Any:
        """One API call; raises ``Refused`` for an error. Answers the parsed body, or None."""
        answer = _client().request(
            method,
            f"{self.url}/api/v1{path}",
            json=body,
            params={k: str(v) for k, v in params.items()},
            headers={"Authorization": f"token {self.token}"},
        )
        if answer.status_code >= 400:
            raise Refused(answer)
        return answer.json() if answer.content else None

    def with_scopes(self, *scopes: str) -> Account:
        """The same account with a new token of these scopes; of those that ``Forgejo.account`` made."""
        answer = _client().post(
            f"{self.url}/api/v1/users/{self.login}/tokens",
            json={"name": f"test{next(_names)}", "scopes": scopes},
            auth=(self.login, PASSWORD),
        )
        answer.raise_for_status()
        return replace(self, token=answer.json()["sha1"])

    def remote(self, repository: str) -> str:
        """Address for git over HTTP, with the token in it."""
        return f"{self.url.replace('://', f'://{self.login}:{self.token}@')}/{repository}.git"


@dataclass(frozen=True, kw_only=True)
class Forgejo:
    """A running server. ``process`` is None if it is not ours."""

    url: str
    admin: Account
    version: str
    process: subprocess.Popen[bytes] | None

    def account(self, name: str, *, email: str | None = None) -> Account:
        """A new user; the login is ``name`` with a number, unique on this server."""
        login = f"{name}{next(_names)}{secrets.token_hex(2)}"
        wanted = {
            "username": login,
            "email": email or f"{login}@example.test",
            "password": PASSWORD,
            "must_change_password": False,
        }
        self.admin.call("POST", "/admin/users", wanted)
        return Account(url=self.url, login=login, token="").with_scopes("all")


@contextmanager
def serve() -> Iterator[Forgejo]:
    """The server at FORGEJO_ADDR, or one of our own until the block ends."""
    if address := os.environ.get("FORGEJO_ADDR"):
        url, token = address.rstrip("/"), os.environ["FORGEJO_TOKEN"]
        yield _running(url, token, None)
        return
    with tempfile.TemporaryDirectory(prefix="disinto-forgejo-") as folder:
        home = Path(folder)
        url, user = _prepare(home)
        _run(home, user, "migrate")
        _run(home, user, "admin", "user", "create", "--admin", "--username", "root-admin",
             "--password", PASSWORD, "--email", "root-admin@example.test",
             "--must-change-password=false")  # fmt: skip
        token = _run(
            home, user, "admin", "user", "generate-access-token", "--username", "root-admin",
            "--token-name", "tests", "--scopes", "all", "--raw",
        ).split()[-1]  # fmt: skip
        process = subprocess.Popen(_command(home, "web"), **_how(home, user))
        try:
            yield _running(url, token, process)
        finally:
            process.terminate()
            process.wait()


def _prepare(home: Path) -> tuple[str, str | None]:
    """Folders and configuration; answers the address and whom to run as."""
    url = f"http://127.0.0.1:{(port := _free_port())}"
    for name in ("data", "log", "repos"):
        (home / name).mkdir()
    (home / "app.ini").write_text(
        APP_INI.format(
            home=home,
            port=port,
            url=url,
            secret=secrets.token_hex(16),
            internal=secrets.token_hex(32),
            jwt=secrets.token_urlsafe(32),
        )
    )
    user = _other_than_root()
    if user:
        for path in (home, *home.rglob("*")):
            shutil.chown(path, user=user)
    return url, user


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _other_than_root() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    wanted = [os.environ.get("FORGEJO_USER", ""), "forgejo", "git", "nobody"]
    return next(name for name in wanted if name in known)


def _command(home: Path, *args: str) -> list[str]:
    return ["forgejo", "--config", str(home / "app.ini"), *args]


def _how(home: Path, user: str | None) -> dict[str, Any]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": user or os.environ["USER"]}
    return {
        "cwd": home,
        "env": {**env, "FORGEJO_WORK_DIR": str(home), "GITEA_WORK_DIR": str(home)},
        "user": user,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }


def _run(home: Path, user: str | None, *args: str) -> str:
    how = {**_how(home, user), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(_command(home, *args), check=False, text=True, **how)
    if done.returncode:
        raise RuntimeError(f"forgejo {args[0]} ended with {done.returncode}: {done.stdout}")
    return str(done.stdout)


@tenacity.retry(
    stop=tenacity.stop_after_delay(60),
    wait=tenacity.wait_fixed(0.1),
    retry=tenacity.retry_if_exception_type(httpx.TransportError),
    reraise=True,
)
def _running(url: str, token: str, process: subprocess.Popen[bytes] | None) -> Forgejo:
    if process is not None and process.poll() is not None:
        raise RuntimeError(f"forgejo ended with {process.returncode}")
    version = httpx.get(f"{url}/api/v1/version", timeout=10).json()["version"]
    login = httpx.get(
        f"{url}/api/v1/user", headers={"Authorization": f"token {token}"}, timeout=10
    ).json()["login"]
    admin = Account(url=url, login=login, token=token)
    return Forgejo(url=url, admin=admin, version=version, process=process)
