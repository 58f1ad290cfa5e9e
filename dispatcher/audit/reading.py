"""Reads the audit log for people, the newest records first, a part at a time.

Nothing is verified but each record's own hash; ``chain`` verifies the log. It takes no lock: what is
written meanwhile is in the next answer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.audit.log import files
from dispatcher.audit.record import OWN_FIELDS, record_of

BLOCK = 256 * 1024
"""Bytes that are read at a time."""

PROBE = 64 * 1024
"""Bytes in which two ends of lines are expected."""

SEARCH_LIMIT = 32 * 1024 * 1024
"""Bytes that one call searches."""

LINE_LIMIT = 1024 * 1024
"""Bytes of a line; a longer one was not written by us."""

_ROTATED = re.compile(r"\.(\d+)\.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One record.

    Attributes:
        seq: its number; 0 if the line is not a record.
        at: when, RFC 3339, as the record has it.
        event: what happened, in one word.
        facts: everything else.
        intact: whether its hash is that of its content.
    """

    seq: int
    at: str
    event: str
    facts: Mapping[str, Any]
    intact: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPage:
    """Some records, the newest first.

    Attributes:
        older: the number below which the next page begins; 0 if there is none.
        complete: whether the search came to its end, or to as many records as were asked for.
    """

    entries: tuple[AuditEntry, ...]
    older: int
    complete: bool = True


def newest(
    path: Path,
    *,
    count: int,
    before: int = 0,
    event: str = "",
    text: str = "",
    limit: int = SEARCH_LIMIT,
) -> AuditPage:
    """The newest records that are wanted.

    Args:
        path: ``audit.jsonl``; files that were rotated away are found beside it.
        count: how many at most.
        before: only records with a smaller number; 0 for all.
        event: only records of this event.
        text: must be in the record, in any case of letters.
        limit: bytes that are searched.

    Raises:
        FileNotFoundError: there is no log.
        OSError: it cannot be read.
    """
    found: list[AuditEntry] = []
    searched = 0
    named = f'"event":{json.dumps(event, ensure_ascii=False)}'.encode() if event else b""
    for line in _lines(path, before):
        searched += len(line) + 1
        if named in line and text.casefold() in line.decode("utf-8", "replace").casefold():
            entry = _entry(line)
            if (not before or entry.seq < before) and event in ("", entry.event):
                if len(found) == count:
                    return AuditPage(entries=tuple(found), older=found[-1].seq)
                found.append(entry)
        if searched >= limit:
            reached = _entry(line).seq
            if before and not 0 < reached < before:
                reached = before - 1  # whatever somebody wrote, the next page is another one
            return AuditPage(entries=tuple(found), older=reached, complete=reached <= 1)
    return AuditPage(entries=tuple(found), older=0)


def _lines(path: Path, before: int) -> Iterator[bytes]:
    """Whole lines of all files, the last first; only those that may have a number below ``before``."""
    path.stat()  # a log without its last file is none
    for file in reversed(files(path)):
        rotated = _ROTATED.search(file.name)
        if before and rotated and int(rotated[1]) >= before:
            continue
        with file.open("rb") as opened:
            end = os.fstat(opened.fileno()).st_size
            yield from _backwards(opened.fileno(), _end(opened.fileno(), end, before))


def _end(fd: int, end: int, before: int) -> int:
    """Where records end whose numbers are below ``before``, by halving: numbers grow from line to line.
    In a log that somebody changed it may be elsewhere.
    """
    low, high = 0, end
    while before and low < high:
        middle = (low + high) // 2
        partial, _, following = os.pread(fd, PROBE, middle).partition(b"\n")
        start = middle + len(partial) + 1
        record = record_of(following.partition(b"\n")[0])
        if record is None or start >= high:
            break
        low, high = (start, high) if record.seq < before else (low, start)
    return high


def _backwards(fd: int, end: int) -> Iterator[bytes]:
    """The lines that end before an offset, the last first. An incomplete last line is left out."""
    end = min(end, os.fstat(fd).st_size)
    rest, first = b"", True
    while end > 0:
        start = max(0, end - BLOCK)
        block = os.pread(fd, end - start, start)
        end = start
        lines = (block + rest).split(b"\n")
        rest = lines.pop(0)
        if first and lines:
            lines.pop()  # behind the last line's end: empty, or incomplete
            first = False
        elif first:
            rest = b"" if len(rest) > LINE_LIMIT else rest
            continue
        yield from (line for line in reversed(lines) if line)
        if len(rest) > LINE_LIMIT:
            rest = b""
    if rest and not first:
        yield rest


def _entry(line: bytes) -> AuditEntry:
    record = record_of(line)
    if record is None:
        shown = line[:2_000].decode("utf-8", "replace")
        return AuditEntry(seq=0, at="", event="", facts={"line": shown}, intact=False)
    plain = json.loads(line)
    return AuditEntry(
        seq=record.seq,
        at=str(plain.get("time", "")),
        event=str(plain.get("event", "")),
        facts={name: value for name, value in plain.items() if name not in OWN_FIELDS},
        intact=record.true_hash == record.hash,
    )
