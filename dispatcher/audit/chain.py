"""Verifies the audit log: whether the chain is intact, and if not, where and how it is broken."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dispatcher.audit.log import files, head_file, read_head
from dispatcher.audit.record import GENESIS, Record, record_of


class Break(StrEnum):
    """How a chain is broken. Closed."""

    CHANGED = "changed"  # a record was modified
    MISSING = "missing"  # records were removed before this one
    REORDERED = "reordered"  # a record is in the place of another
    FOREIGN = "foreign"  # the line is not a record
    TORN = "torn"  # the last line has no end
    TRUNCATED = "truncated"  # records were cut off at the end


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditProblem:
    """Where a chain is broken, and how.

    Attributes:
        kind: how.
        path: the file.
        line: from 1.
        message: as one sentence without a full stop.
    """

    kind: Break
    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """The findings of ``verify``.

    Attributes:
        records: how many lines were read.
        digest: hash of the last record: store it elsewhere, and check it with ``holds`` later.
        problems: in the order of the files; empty for an intact chain.
    """

    records: int
    digest: str
    problems: tuple[AuditProblem, ...] = ()


def verify(path: Path) -> AuditReport:
    """Read a chain from its first record to its last.

    Args:
        path: ``audit.jsonl``; files that were rotated away are found beside it.

    Raises:
        FileNotFoundError: there is no log.
    """
    with _quiet(path) as head:
        reader = _Reader()
        for file, number, raw in _lines(path):
            reader.read(str(file), number, raw)
        reader.end(path, head)
    return AuditReport(records=reader.lines, digest=reader.digest, problems=tuple(reader.settled()))


def holds(path: Path, digest: str) -> bool:
    """Whether the log contains an unchanged record with this hash.

    Raises:
        FileNotFoundError: there is no log.
    """
    records = (record_of(raw.rstrip(b"\n")) for _, _, raw in _lines(path))
    return any(record and record.true_hash == digest == record.hash for record in records)


def _lines(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    for file in files(path):
        with file.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                yield file, number, raw


@contextmanager
def _quiet(path: Path) -> Iterator[tuple[int, str] | None]:
    """The head, while writers are locked out; None if there is none."""
    try:
        fd = os.open(head_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield read_head(fd)
    finally:
        os.close(fd)


@dataclass(kw_only=True)
class _Reader:
    """The state of a verification.

    Attributes:
        seq: number of the last record in order.
        hashes: what the next record may name as ``prev``.
        place, last: file and line read now, and of the last record in order.
        foreign: lines without a record since the last one in order.
        gaps: places of problems that miss records, with the first and last missing.
        late: numbers that came after a higher one.
    """

    lines: int = 0
    digest: str = GENESIS
    seq: int = 0
    hashes: tuple[str, ...] = (GENESIS,)
    foreign: int = 0
    place: tuple[str, int] = ("", 0)
    last: tuple[str, int] = ("", 0)
    problems: list[AuditProblem] = field(default_factory=list)
    gaps: dict[int, range] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)

    def read(self, file: str, number: int, raw: bytes) -> None:
        """Check one line."""
        self.lines += 1
        self.place = (file, number)
        if not raw.endswith(b"\n"):
            self._report(Break.TORN, "the line is incomplete: its end is missing")
            return
        record = record_of(raw[:-1])
        if record is None:
            self.foreign += 1
            self._report(Break.FOREIGN, "the line is not a record")
            return
        changed = record.true_hash != record.hash
        if changed:
            self._report(Break.CHANGED, f"record {record.seq} was modified")
        if record.seq <= self.seq and not changed:
            self.late.add(record.seq)
            what = f"record {record.seq} is in the place of record {self.seq + 1}"
            self._report(Break.REORDERED, what)
            return
        self._in_order(record, changed=changed)

    def _in_order(self, record: Record, *, changed: bool) -> None:
        seq = self.seq + 1 if changed else record.seq
        if seq > self.seq + 1 + self.foreign:
            missing = range(self.seq + 1, seq)
            self.gaps[len(self.problems)] = missing
            self._report(Break.MISSING, f"{_named(missing)} missing before this line")
        follows = seq == self.seq + 1 and not changed
        if follows and record.prev not in self.hashes:
            what = f"record {self.seq} is not the one that precedes record {seq}"
            self._report(Break.CHANGED, what, place=self.last)
        self.seq, self.foreign = seq, 0
        self.hashes = (record.hash, record.true_hash)
        self.last = self.place
        self.digest = record.true_hash

    def end(self, path: Path, head: tuple[int, str] | None) -> None:
        """Compare the end with the head."""
        if not self.place[0]:
            self.place = (str(path), 0)
        if head is None:
            if self.lines:
                what = (
                    f"{head_file(path).name} is missing or unreadable: the end may have been cut "
                    "off"
                )
                self._report(Break.TRUNCATED, what)
        elif head[0] > self.seq:
            cut = range(self.seq + 1, head[0] + 1)
            self._report(Break.TRUNCATED, f"{_named(cut)} cut off after this line")
        elif head[0] == self.seq and head[1] not in self.hashes:
            what = f"record {self.seq} is not the last one written"
            self._report(Break.CHANGED, what)

    def settled(self) -> Iterator[AuditProblem]:
        """The problems; records that were only moved do not count as missing."""
        for index, problem in enumerate(self.problems):
            missing = self.gaps.get(index)
            if missing is None or not self.late.issuperset(missing):
                yield problem

    def _report(self, kind: Break, message: str, *, place: tuple[str, int] | None = None) -> None:
        file, line = place or self.place
        self.problems.append(AuditProblem(kind=kind, path=file, line=line, message=message))


def _named(seqs: range) -> str:
    if len(seqs) == 1:
        return f"record {seqs[0]} is"
    return f"records {seqs[0]} to {seqs[-1]} are"
