"""A scene whose runs get a database login and a certificate, and leave both where a test reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tenacity
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.scene import Scene
from tests.servers.bao import Bao
from tests.servers.pki import Pki, pki_engine
from tests.servers.postgres import DatabaseEngine, Postgres, database_engine, program

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)

FORMULA = """#!/bin/bash
set -eu
export PGPASSWORD="$DB_PASSWORD"
{psql} -XAtw "host=127.0.0.1 port={port} dbname=postgres user=$DB_USER" -c 'select 40 + 2'
test "$TOKEN_A" = value-of-a
left={left}/"$DISINTO_ACTION_ID"
mkdir "$left.part"
printf %s "$DB_USER" > "$left.part/user"
printf %s "$DB_PASSWORD" > "$left.part/password"
printf %s "$TLS_CERT" > "$left.part/cert"
printf %s "$TLS_KEY" > "$left.part/key"
echo "carelessly: $DB_USER $DB_PASSWORD"; echo "$TLS_KEY"; echo "$TLS_KEY" | base64
mv "$left.part" "$left"
"""
ENDINGS = {"good": "exit 0\n", "bad": "exit 3\n", "endless": "sleep 600\n"}


@dataclass(frozen=True, kw_only=True)
class Left:
    """What one run got."""

    user: str
    password: str
    key: str
    serial: str


@dataclass(frozen=True, kw_only=True)
class LeasedScene:
    """The scene, and the engines that its runs lease from."""

    scene: Scene
    left_in: Path
    postgres: Postgres
    database: DatabaseEngine
    pki: Pki

    @classmethod
    def set(
        cls,
        root: Path,
        bao: Bao,
        postgres: Postgres,
        *,
        actions: dict[str, str],
        nomad: DevAgent | None = None,
        settings: dict[str, Any],
    ) -> LeasedScene:
        """Args: actions: formula by id; settings: sections that are laid over."""
        server = bao.with_own_mount()
        database, pki = database_engine(server, postgres), pki_engine(server)
        left_in = root / "data"
        left_in.mkdir(mode=0o777)
        text = FORMULA.format(
            psql=program("psql"),
            port=postgres.port,
            left="~/data" if nomad is None else left_in,
        )
        local = {
            "mounts": {"agent-data": str(left_in)},
            "allow_unprotected_mounts": True,
            "kill_grace_s": 1.0,
        }
        dynamic = {
            "PROD_DB": {
                "path": database.path,
                "fields": {"DB_USER": "username", "DB_PASSWORD": "password"},
            },
            "WEB_TLS": {
                "path": f"{pki.mount}/issue/web",
                "fields": {"TLS_CERT": "certificate", "TLS_KEY": "private_key"},
                "write": {"common_name": "app.example"},
            },
        }
        scene = Scene.set(
            root,
            server,
            nomad=nomad,
            values={"TOKEN_A": "value-of-a"},
            settings={
                "vault": {"kv_mount": server.kv_mount, "dynamic": dynamic},
                **({"local": local} if nomad is None else {}),
                **settings,
            },
            tiers=dict.fromkeys(ENDINGS, "low"),
            formulas={f"{name}.sh": text + ending for name, ending in ENDINGS.items()},
        )
        mounts = 'mounts = ["agent-data"]\n' if nomad is None else ""
        scene.merge(
            {
                f"vault/actions/{name}.toml": f'id = "{name}"\nformula = "{formula}"\n'
                f'context = "{root.name}"\nsecrets = ["TOKEN_A", "PROD_DB", "WEB_TLS"]\n{mounts}'
                for name, formula in actions.items()
            },
            "Add all",
        )
        return cls(scene=scene, left_in=left_in, postgres=postgres, database=database, pki=pki)

    @eventually
    def left(self, action_id: str) -> Left:
        """Wait until a run has used its credentials, and left them."""
        folder = self.left_in / action_id
        assert folder.is_dir(), sorted(path.name for path in self.left_in.iterdir())
        user, password, cert, key = (
            (folder / name).read_text() for name in ("user", "password", "cert", "key")
        )
        certificate = x509.load_pem_x509_certificate(cert.encode())
        private = load_pem_private_key(key.encode(), None)
        assert certificate.public_key() == private.public_key()
        digits = f"{certificate.serial_number:x}"
        digits = digits.zfill(len(digits) + len(digits) % 2)
        serial = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
        return Left(user=user, password=password, key=key, serial=serial)

    def works(self, left: Left) -> tuple[bool, bool]:
        """Whether its login and its certificate are good."""
        login = self.postgres.accepts(left.user, left.password)
        return login, self.pki.revoked_at(left.serial) == 0

    @eventually
    def nothing_works(self, *left: Left) -> None:
        """Wait until nothing is left of what these runs got, nor any other lease of the engine."""
        assert [self.works(one) for one in left] == [(False, False)] * len(left)
        assert not self.database.leases()
        assert not self.postgres.made_users() & {one.user for one in left}


def runner_of(action_id: str, context: str) -> int:
    """The process of a run's runner, found from a process of its formula."""
    wanted = {f"DISINTO_ACTION_ID={action_id}".encode(), f"DISINTO_CONTEXT={context}".encode()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            given = set((process / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if wanted <= given:
            return _runner_above(int(process.name))
    raise LookupError(f"no process of {action_id}")


def _runner_above(pid: int) -> int:
    while pid > 1:
        if b"dispatcher.runner" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    raise LookupError("no runner above it")
