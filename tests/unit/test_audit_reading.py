"""The audit log read from its end, a part at a time, whatever somebody wrote into it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dispatcher.audit import AuditLog, newest, reading
from dispatcher.audit import log as audit_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def _write(path: Path, count: int) -> None:
    log = AuditLog(path)
    for number in range(1, count + 1):
        log.append("claimed" if number % 2 else "ended", action=f"a{number}", reason="Because é")


def _seqs(path: Path, *, count: int, **wanted: object) -> list[list[int]]:
    """The numbers on each page."""
    pages, before = [], 0
    for _ in range(100):
        page = newest(path, count=count, before=before, **wanted)  # type: ignore[arg-type]
        pages.append([entry.seq for entry in page.entries])
        before = page.older
        if not before:
            return pages
    raise AssertionError("there is always another page")


@pytest.mark.parametrize("block", [64, 1_000, 256 * 1024])
@pytest.mark.parametrize("rotate", [400, 2_000, 10**9])
def test_pages_have_every_record_once_the_newest_first(
    path: Path, monkeypatch: pytest.MonkeyPatch, block: int, rotate: int
) -> None:
    monkeypatch.setattr(reading, "BLOCK", block)
    monkeypatch.setattr(audit_log, "ROTATE_BYTES", rotate)
    _write(path, 40)
    pages = _seqs(path, count=7)
    assert [seq for page in pages for seq in page] == list(range(40, 0, -1))
    assert [len(page) for page in pages] == [7] * 5 + [5]
    assert _seqs(path, count=40) == [list(range(40, 0, -1))]


def test_only_what_is_wanted(path: Path) -> None:
    _write(path, 30)
    assert _seqs(path, count=10, event="ended") == [list(range(30, 10, -2)), list(range(10, 0, -2))]
    assert _seqs(path, count=10, text='"A7"') == [[7]]
    assert _seqs(path, count=10, text="because É", event="claimed")[0][0] == 29
    assert _seqs(path, count=10, event='x"') == [[]]


def test_a_search_that_takes_long_is_continued(path: Path) -> None:
    _write(path, 30)
    page = newest(path, count=5, text='"a1"', limit=1_000)
    assert (page.entries, page.complete) == ((), False)
    found = _seqs(path, count=5, text='"a1"', limit=1_000)
    assert len(found) > 3
    assert [seq for page in found for seq in page] == [1]


def test_what_somebody_wrote_is_shown_and_marked(path: Path) -> None:
    _write(path, 4)
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("Because", "Be cause")
    lines[2:2] = ["not a record", "[" * 5_000]
    path.write_text("\n".join(lines) + "\n" + '{"seq": 99, torn')
    entries = newest(path, count=10).entries
    assert [(entry.seq, entry.intact) for entry in entries] == [
        (4, True),
        (3, True),
        (0, False),
        (0, False),
        (2, False),
        (1, True),
    ]
    assert entries[3].facts == {"line": "not a record"}
    assert json.dumps([dict(entry.facts) for entry in entries])


def test_a_line_without_end_is_not_kept_in_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LINE_LIMIT", 1_000)
    monkeypatch.setattr(reading, "BLOCK", 500)
    _write(path, 2)
    with path.open("ab") as file:
        file.write(b"x" * 20_000)
    assert [entry.seq for entry in newest(path, count=10).entries] == [2, 1]


def test_no_log(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        newest(path, count=1)
