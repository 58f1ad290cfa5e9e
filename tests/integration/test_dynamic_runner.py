"""The runner as a process, with leases of a real database engine on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.model.dynamic import DynamicSecret
from dispatcher.model.run import RunSpec
from dispatcher.model.verdicts import Verdict
from tests.servers.bao import Bao
from tests.servers.grants import Minter
from tests.servers.postgres import DatabaseEngine, Postgres, database_engine
from tests.support.runner_process import start

pytestmark = pytest.mark.needs("bao", "postgres")

__all__ = ["start"]  # a fixture


@pytest.fixture
def database(vault: Bao, postgres_server: Postgres) -> DatabaseEngine:
    return database_engine(vault, postgres_server)


def allow(minter: Minter, path: str) -> None:
    """The policy of the secret PROD_DB."""
    text = f'path "{path}" {{ capabilities = ["read"] }}'
    minter.bao.client().sys.create_or_update_policy(name=minter.policy("PROD_DB"), policy=text)


def spec(minter: Minter, database: DatabaseEngine, text: str, **fields: str) -> RunSpec:
    found = fields or {"DB_USER": "username", "DB_PASSWORD": "password"}
    secret = DynamicSecret(name="PROD_DB", path=database.path, fields=found)
    return minter.spec(text, secrets=("PROD_DB",), dynamic=(secret,))


def test_the_formula_finds_the_variables_and_no_other(
    minter: Minter, database: DatabaseEngine, start: Any
) -> None:
    allow(minter, database.path)
    text = 'test -n "$DB_USER" -a -n "$DB_PASSWORD" -a -z "${PROD_DB+x}" && echo "$DB_PASSWORD"'
    run = start(minter.payload(spec(minter, database, text)))
    outcome = run.finish()
    assert outcome.verdict is Verdict.SUCCEEDED, outcome
    assert run.log() == "[redacted:DB_PASSWORD]\n"
    assert len(database.leases()) == 1


def test_what_vault_refuses_is_told_with_path_and_reason(
    minter: Minter, database: DatabaseEngine, start: Any
) -> None:
    allow(minter, "another/path")
    outcome = start(minter.payload(spec(minter, database, "echo never"))).finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert f"PROD_DB ({database.path}) could not be fetched (Vault returned 403" in outcome.error
    assert "permission denied" in outcome.error


def test_a_field_that_is_not_there_is_told_without_values(
    minter: Minter, database: DatabaseEngine, start: Any, postgres_server: Postgres
) -> None:
    allow(minter, database.path)
    wrong = spec(minter, database, "echo never", DB_USER="username", DB_PASSWORD="passwd")
    run = start(minter.payload(wrong))
    outcome = run.finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert "came without a text in the field `passwd`" in outcome.error
    users = postgres_server.made_users()
    assert users
    assert not any(user in outcome.error + run.messages.decode() for user in users)


def test_a_runner_of_an_older_release_stops_before_the_formula(
    minter: Minter, database: DatabaseEngine, start: Any
) -> None:
    """It knows no such key, so it reads what it knows of the payload."""
    allow(minter, database.path)
    document = json.loads(zlib.decompress(minter.payload(spec(minter, database, "echo never"))))
    del document["spec"]["dynamic"]
    outcome = start(zlib.compress(json.dumps(document).encode())).finish()
    assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
    assert "PROD_DB" in outcome.error
    assert not database.leases()


def test_a_run_that_fails_after_its_lease_ended_says_so(
    vault: Bao, minter: Minter, postgres_server: Postgres, start: Any
) -> None:
    short = database_engine(vault, postgres_server, default_ttl="2s")
    allow(minter, short.path)
    outcome = start(minter.payload(spec(minter, short, "sleep 3; exit 4"))).finish()
    assert (outcome.verdict, outcome.exit_code) == (Verdict.FAILED, 4)
    assert "the lease ended before the run did: PROD_DB after 2 s" in outcome.error


@pytest.fixture
def session(
    database: DatabaseEngine, postgres_server: Postgres
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A login that is in use, and its lease."""
    lease = database.bao.client().read(database.path)
    data = lease["data"]
    process = subprocess.Popen(
        [
            *postgres_server.command(data["username"]),
            "-c",
            "\\echo open",
            "-c",
            "select pg_sleep(600)",
        ],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": data["password"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process, lease["lease_id"]
    process.kill()
    process.communicate()


def test_an_open_session_ends_with_its_login(
    database: DatabaseEngine, session: tuple[subprocess.Popen[str], str]
) -> None:
    """By the role's revocation statements, which the documentation shows."""
    process, lease = session
    assert process.stdout
    assert process.stdout.readline() == "open\n"
    database.bao.client().sys.revoke_lease(lease)
    _, words = process.communicate(timeout=60)
    assert "terminating connection" in words
