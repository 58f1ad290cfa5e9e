"""The audit log of several threads: their records are written together, and each is told what became of its own."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from dispatcher.audit import AuditLog, log, verify
from dispatcher.errors import TemporaryError
from tests.support.stage import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with one record."""
    AuditLog(tmp_path / "audit.jsonl").append("first")
    return tmp_path / "audit.jsonl"


def events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


@eventually
def queued(audit: AuditLog, number: int) -> None:
    """Wait until one thread writes, and the records of this many others wait for it."""
    assert audit._write_lock.locked()
    assert len(audit._queue) == number


def test_many_writers_make_one_chain(path: Path) -> None:
    logs = [AuditLog(path) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda log=log: [log.append("claimed") for _ in range(25)])
        for log in logs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = verify(path)
    assert (report.records, report.problems) == (101, ())


def appended_while_locked(audit: AuditLog, path: Path, threads: int) -> list[BaseException]:
    """Append from many threads while another process writes: the first waits for that, and the others for the
    first. Returns what they raised.
    """
    raised: list[BaseException] = []

    def append(number: int) -> None:
        try:
            audit.append("claimed", action=f"b{number}")
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    appending = [threading.Thread(target=append, args=(n,)) for n in range(threads)]
    with log.head_file(path).open("rb+") as head:
        fcntl.flock(head, fcntl.LOCK_EX)
        appending[0].start()
        queued(audit, 0)
        for thread in appending[1:]:
            thread.start()
        queued(audit, threads - 1)
    for thread in appending:
        thread.join(10)
    return raised


def test_records_of_threads_that_wait_for_each_other_are_written_together(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, writes, write = AuditLog(path), [], os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(data) or write(fd, data))
    assert appended_while_locked(audit, path, 5) == []
    assert [data.count(b"\n") for data in writes] == [1, 4]
    assert (verify(path).records, verify(path).problems) == (6, ())


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), TemporaryError),
        (ValueError("a defect"), ValueError),
    ],
)
def test_what_keeps_a_thread_from_writing_is_raised_by_all_it_writes_for(
    path: Path, failure: Exception, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise failure

    audit = AuditLog(path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", fails)
        assert [type(error) for error in appended_while_locked(audit, path, 5)] == [raised] * 5
    audit.append("claimed", action="after")
    assert (verify(path).records, verify(path).problems) == (2, ())


def test_an_interrupted_thread_interrupts_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    raised = appended_while_locked(AuditLog(path), path, 5)
    assert sorted(type(error).__name__ for error in raised) == [
        "KeyboardInterrupt",
        "KeyboardInterrupt",
        *["TemporaryError"] * 3,
    ]


def test_records_written_together_are_cut_off_by_a_full_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record and a half reach the file: the first stays, although its thread was told of an error."""
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if data.count(b"\n") != 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[: data.index(b"\n") * 3 // 2])

    audit = AuditLog(path)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        assert len(appended_while_locked(audit, path, 5)) == 5
    audit.append("claimed", action="after")
    assert verify(path).problems == ()
    assert events(path) == ["first", "claimed", "torn_end", "claimed"]


class _Interrupting:
    """A lock; the thread named ``victim`` is interrupted when it releases it for the n-th time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.left: dict[str, int] = {}

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: Any, value: Any, trace: TracebackType | None) -> None:
        self._lock.release()
        name = threading.current_thread().name
        if name in self.left:
            self.left[name] -= 1
            if self.left[name] == 0:
                raise KeyboardInterrupt


def test_no_thread_is_told_that_its_record_was_written_which_an_interrupted_one_took(
    path: Path,
) -> None:
    audit = AuditLog(path)
    lock = audit._queue_lock = _Interrupting()  # type: ignore[assignment]
    lock.left["victim"] = 2  # once for its own entry, then with all entries taken out
    said: dict[str, str] = {}

    def append(name: str) -> None:
        try:
            audit.append(name)
            said[name] = "written"
        except TemporaryError:
            said[name] = "refused"
        except KeyboardInterrupt:
            said[name] = "interrupted"

    with audit._write_lock:
        threads = []
        for name in ("victim", "other"):
            thread = threading.Thread(target=append, args=(name,), name=name)
            thread.start()
            threads.append(thread)
            queued(audit, len(threads))
    for thread in threads:
        thread.join(10)
    lost = {name for name, what in said.items() if what == "written"}.difference(events(path))
    assert not lost, said
