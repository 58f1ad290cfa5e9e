"""The local ledger on a real disk, beside real processes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Unavailable
from dispatcher.ledger.base import Ledger
from dispatcher.ledger.codec import UnreadableClaim
from dispatcher.ledger.sqlite import DATABASE, LOCK, DamagedLedger, SqliteLedger
from tests.contract.claims import claim
from tests.contract.ledger import LedgerContract, leading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


class TestSqliteLedger(LedgerContract):
    @pytest.fixture
    def opener(self, folder: Path) -> Callable[[], Ledger]:
        return lambda: SqliteLedger(folder)

    @pytest.fixture
    def address(self, folder: Path) -> tuple[str, ...]:
        return ("sqlite", str(folder))


def test_reading_makes_no_file(folder: Path) -> None:
    assert SqliteLedger(folder).open_runs() == ()
    assert not folder.exists()


def test_what_is_written_is_for_the_owner_alone(folder: Path) -> None:
    with leading(SqliteLedger(folder), "me"):
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / LOCK).stat().st_mode & 0o077 == 0


def test_each_commit_is_synced_and_readers_are_not_held_up(folder: Path) -> None:
    ledger = SqliteLedger(folder)
    ledger.claim(claim())
    assert ledger._connection is not None
    assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_many_processes_may_make_the_ledger_at_once(folder: Path) -> None:
    words = [sys.executable, "-m", "tests.contract.ledger_process", "sqlite", str(folder), "lead"]
    racers = [
        subprocess.Popen([*words, f"p{number}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for number in range(4)
    ]
    for racer in racers:
        out, _ = racer.communicate()
        assert out.endswith(b"leading\n")
    left = {entry.name for entry in folder.iterdir()}
    assert {LOCK, DATABASE} <= left <= {LOCK, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}


def test_a_ledger_of_before_takes_notes(folder: Path) -> None:
    SqliteLedger(folder).claim(claim("one"))
    tables = "SELECT name FROM sqlite_schema WHERE name = 'notes'"
    assert sqlite3.connect(folder / DATABASE).execute(tables).fetchall() == []
    ledger = SqliteLedger(folder)
    assert ledger.note("lead") is None
    ledger.write_note("lead", "1", version=0)
    assert [c.key.action_id for c in SqliteLedger(folder).open_runs()] == ["one"]


def test_a_note_that_is_asked_for_makes_no_file(folder: Path) -> None:
    ledger = SqliteLedger(folder)
    assert (ledger.note("lead"), ledger.place()) == (None, "")
    assert not folder.exists()


@pytest.mark.parametrize("how", ["beside", "put back", "moved"])
def test_a_copy_is_at_another_place(folder: Path, how: str) -> None:
    ledger = SqliteLedger(folder)
    ledger.claim(claim("one"))
    place = ledger.place()
    ledger.close()
    copy = folder.with_name("copy")
    if how != "moved":
        shutil.copytree(folder, copy)
    if how == "put back":
        folder.rename(folder.with_name("lost"))
    if how != "beside":
        (folder if how == "moved" else copy).rename(copy if how == "moved" else folder)
    other = SqliteLedger(folder if how == "put back" else copy)
    assert [c.key.action_id for c in other.open_runs()] == ["one"]
    assert other.place() not in ("", place)


def _written(folder: Path) -> Path:
    ledger = SqliteLedger(folder)
    for number in range(200):
        ledger.claim(claim(f"action-{number}"))
    ledger.close()
    return folder / DATABASE


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: b"", id="emptied"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut"),
        pytest.param(lambda data: b"no database" * 400, id="overwritten"),
        pytest.param(lambda data: data[:4096] + b"\xff" * (len(data) - 4096), id="wiped"),
    ],
)
def test_a_damaged_ledger_is_told_and_left_alone(
    folder: Path, spoil: Callable[[bytes], bytes]
) -> None:
    file = _written(folder)
    file.write_bytes(spoil(file.read_bytes()))
    spoiled = file.read_bytes()
    for use in (
        lambda ledger: ledger.open_runs(),
        lambda ledger: ledger.claim(claim("new")),
        lambda ledger: ledger.leader(name="me", waiting=print).__enter__(),
    ):
        with pytest.raises(DamagedLedger, match=r"ledger\.db .*Restore it from a backup"):
            use(SqliteLedger(folder))
    assert file.read_bytes() == spoiled


def test_another_programs_database_is_no_ledger(folder: Path) -> None:
    folder.mkdir()
    other = sqlite3.connect(folder / DATABASE)
    other.execute("CREATE TABLE claims (x)")
    other.commit()
    other.close()
    with pytest.raises(DamagedLedger, match="is not a ledger"):
        SqliteLedger(folder).open_runs()


def test_a_missing_ledger_is_not_made_anew_where_one_led(folder: Path) -> None:
    with leading(SqliteLedger(folder), "me"):
        pass
    (folder / DATABASE).unlink()
    for _ in range(2):
        with pytest.raises(DamagedLedger, match="is missing"):
            SqliteLedger(folder).claim(claim())
        with pytest.raises(DamagedLedger, match="is missing"):
            SqliteLedger(folder).open_runs()


def test_a_ledger_removed_under_us_is_noticed_before_the_next_write(folder: Path) -> None:
    ledger = SqliteLedger(folder)
    ledger.claim(claim("one"))
    (folder / DATABASE).unlink()
    with pytest.raises(DamagedLedger, match="removed or replaced"):
        ledger.claim(claim("two"))


def test_a_spoiled_claim_is_named(folder: Path) -> None:
    file = _written(folder)
    db = sqlite3.connect(file)
    db.execute("UPDATE claims SET claim = '{\"format\": 1}' WHERE action_id = 'action-7'")
    db.commit()
    db.close()
    with pytest.raises(UnreadableClaim, match="action action-7"):
        SqliteLedger(folder).open_runs()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"cannot be used.*permissions"):
        SqliteLedger(tmp_path / "file" / "state").claim(claim())


def test_a_writer_who_does_not_let_go_makes_it_unavailable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.ledger.sqlite.BUSY_TIMEOUT_S", 0.05)
    file = _written(folder)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger = SqliteLedger(folder)
    with pytest.raises(Unavailable, match="locked"):
        ledger.claim(claim("new"))
    assert len(ledger.open_runs()) == 200
    other.rollback()
    other.close()
    ledger.claim(claim("new"))


def test_a_failed_write_leaves_nothing_open(folder: Path) -> None:
    ledger = SqliteLedger(folder)
    ledger.claim(claim("one"))
    with pytest.raises(Conflict):
        ledger.update(claim("two"))
    SqliteLedger(folder).claim(claim("two"))


def test_a_removed_lock_file_ends_the_lease(folder: Path) -> None:
    with leading(SqliteLedger(folder), "first") as lease:
        (folder / LOCK).unlink()
        assert not lease.held()
        with leading(SqliteLedger(folder), "second") as other:
            assert other.held()
        assert (folder / LOCK).read_text() == ""
        assert not lease.held()


def test_processes_that_a_leader_started_do_not_keep_the_lead(folder: Path) -> None:
    with leading(SqliteLedger(folder), "first"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with leading(SqliteLedger(folder), "second") as lease:
            assert lease.held()
    finally:
        child.kill()
        child.wait()


def test_the_lock_file_names_the_holder(folder: Path) -> None:
    with leading(SqliteLedger(folder), f"here:{os.getpid()}"):
        assert (folder / LOCK).read_text() == f"here:{os.getpid()}\n"
    assert (folder / LOCK).read_text() == ""


class _FullAtCommit:
    """A connection whose next commit finds the disk full and leaves the transaction open."""

    def __init__(self, inner: sqlite3.Connection) -> None:
        self._inner = inner
        self._full = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def commit(self) -> None:
        if self._full:
            self._full = False
            raise sqlite3.OperationalError("database or disk is full")
        self._inner.commit()


def test_a_commit_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path)
    first = ledger.claim(claim("first"))
    ledger._connection = _FullAtCommit(ledger._connection)  # type: ignore[assignment, arg-type]
    with pytest.raises(Unavailable, match="full"):
        ledger.claim(claim("second"))
    assert [c.key.action_id for c in ledger.open_runs()] == ["first"]
    ledger.release(first)
    assert ledger.open_runs() == ()
