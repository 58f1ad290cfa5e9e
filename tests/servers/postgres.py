"""A real PostgreSQL, and OpenBao's database engine on it.

A private cluster on a free loopback port, of an unprivileged user (the server refuses to be root), in
a directory that goes with it. Every login over TCP needs its password.
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tenacity

from dispatcher.devservers.ports import free_port
from tests.servers.bao import Bao

PROGRAMS = ("initdb", "postgres", "psql")
_ADMIN = "bao_admin"
_mounts = itertools.count(1)


def program(name: str) -> str | None:
    """A program of PostgreSQL: on PATH, or where Debian keeps those of the newest release."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if program(name) is None]


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running cluster. ``password`` is the administrator's, whom only OpenBao and tests are."""

    port: int
    password: str

    def command(self, user: str) -> list[str]:
        """``psql`` as this user; the password is PGPASSWORD's."""
        where = f"host=127.0.0.1 port={self.port} dbname=postgres user={user} connect_timeout=10"
        return [str(program("psql")), "-XAtw", "-v", "ON_ERROR_STOP=1", where]

    def query(self, sql: str, *, user: str = _ADMIN, password: str = "") -> str:
        """The answer in lines. Raises ``LoginRefused``; any other failure is an assertion's."""
        done = subprocess.run(
            [*self.command(user), "-c", sql],
            env={"PATH": os.environ["PATH"], "PGPASSWORD": password or self.password},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "authentication failed" in done.stderr or "does not exist" in done.stderr:
            raise LoginRefused(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def accepts(self, user: str, password: str) -> bool:
        """Whether a login works; a server that does not answer is a failure."""
        try:
            return self.query("select current_user", user=user, password=password) == user
        except LoginRefused:
            return False

    def made_users(self) -> set[str]:
        """The users that OpenBao made and has not dropped."""
        return set(self.query("select rolname from pg_roles where rolname like 'v-%'").split())


class LoginRefused(Exception):
    """The server answered that user and password are not good."""


@dataclass(frozen=True, kw_only=True)
class DatabaseEngine:
    """OpenBao's database engine on a cluster, with a role ``app``."""

    bao: Bao
    mount: str

    @property
    def path(self) -> str:
        return f"{self.mount}/creds/app"

    def leases(self) -> list[str]:
        """Those of the role that live."""
        found = self.bao.client().list(f"sys/leases/lookup/{self.path}")
        return list(found["data"]["keys"]) if found else []


def database_engine(bao: Bao, server: Postgres, *, default_ttl: str = "1h") -> DatabaseEngine:
    """A mount of its own; each test may have one."""
    client: Any = bao.client()
    engine = DatabaseEngine(bao=bao, mount=f"database{next(_mounts)}")
    client.sys.enable_secrets_engine("database", path=engine.mount)
    client.write_data(
        f"{engine.mount}/config/main",
        data={
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": ["app"],
            "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:"
            f"{server.port}/postgres?sslmode=disable",
            "username": _ADMIN,
            "password": server.password,
        },
    )
    client.write_data(
        f"{engine.mount}/roles/app",
        data={
            "db_name": "main",
            "default_ttl": default_ttl,
            "max_ttl": "24h",
            "creation_statements": [
                "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' "
                "VALID UNTIL '{{expiration}}'"
            ],
            "revocation_statements": [
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'",
                'DROP ROLE IF EXISTS "{{name}}"',
            ],
        },
    )
    return engine


@contextmanager
def serve() -> Iterator[Postgres]:
    """Make a cluster and run it until the block ends."""
    owner = pwd.getpwnam("postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    as_owner: dict[str, Any] = (
        {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        if os.geteuid() == 0
        else {}
    )
    with tempfile.TemporaryDirectory(prefix="disinto-postgres-") as home:
        server = Postgres(port=free_port(), password=secrets.token_hex(12))
        first = Path(home) / "password"
        first.write_text(server.password)
        os.chown(home, owner.pw_uid, owner.pw_gid)
        os.chown(first, owner.pw_uid, owner.pw_gid)
        common: dict[str, Any] = {
            **as_owner,
            "cwd": home,
            "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            "stdin": subprocess.DEVNULL,
        }
        data = f"{home}/data"
        subprocess.run(
            [
                str(program("initdb")),
                "-D",
                data,
                "-U",
                _ADMIN,
                f"--pwfile={first}",
                "--auth=scram-sha-256",
                "--no-sync",
                "--no-instructions",
            ],
            check=True,
            capture_output=True,
            **common,
        )
        with (Path(home) / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    str(program("postgres")),
                    "-D",
                    data,
                    "-p",
                    str(server.port),
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                    "-c",
                    "fsync=off",
                ],
                stdout=log,
                stderr=log,
                **common,
            )
            try:
                _await(server, process, Path(home) / "log")
                yield server
            finally:
                process.send_signal(signal.SIGINT)  # at SIGTERM it would wait for its clients
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True)
def _await(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"PostgreSQL ended by itself: {log.read_text()}")
    server.query("select 1")
