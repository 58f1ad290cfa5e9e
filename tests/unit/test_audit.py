"""The audit log: its chain, what breaks it, and how each break is told."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.audit import AuditLog, Break, files, holds, log, verify
from dispatcher.errors import TemporaryError
from dispatcher.model.times import epoch
from tests.support.thorough import tries


@pytest.fixture
def path(tmp_path: Path) -> Path:
    audit = AuditLog(tmp_path / "audit.jsonl")
    for number in range(5):
        audit.append("claimed", action=f"a{number}", reason="because", empty="")
    return tmp_path / "audit.jsonl"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def rewrite(path: Path, new: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in new))


def told(path: Path) -> list[tuple[Break, int]]:
    return [(problem.kind, problem.line) for problem in verify(path).problems]


def with_new_hash(line: str) -> str:
    """A line changed by somebody who knows how the hash is made."""
    body = line[: line.rindex(',"hash":')] + "}"
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{body[:-1]},"hash":"{digest}"}}'


def test_a_chain_that_nobody_touched_is_whole(path: Path) -> None:
    report = verify(path)
    assert (report.records, report.problems) == (5, ())
    first, second, *_ = map(json.loads, lines(path))
    assert list(first) == ["seq", "time", "event", "action", "reason", "prev", "hash"]
    assert second["prev"] == first["hash"]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("changed", range(5))
def test_a_changed_record_is_named(path: Path, changed: int) -> None:
    text = lines(path)
    text[changed] = text[changed].replace("because", "be cause")
    rewrite(path, text)
    assert told(path) == [(Break.CHANGED, changed + 1)]


@pytest.mark.parametrize("changed", range(5))
def test_a_changed_record_with_a_new_hash_is_named(path: Path, changed: int) -> None:
    text = lines(path)
    text[changed] = with_new_hash(text[changed].replace("because", "be cause"))
    rewrite(path, text)
    assert told(path) == [(Break.CHANGED, changed + 1)]


@pytest.mark.parametrize("gone", [slice(0, 1), slice(1, 2), slice(1, 4), slice(3, 4)])
def test_missing_records_are_named(path: Path, gone: slice) -> None:
    text = lines(path)
    missing = [json.loads(line)["seq"] for line in text[gone]]
    del text[gone]
    rewrite(path, text)
    (problem,) = verify(path).problems
    assert (problem.kind, problem.line) == (Break.MISSING, missing[0])
    assert f"{missing[0]}" in problem.message
    assert f"{missing[-1]}" in problem.message


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_records_cut_off_at_the_end_are_named(path: Path, cut: int) -> None:
    rewrite(path, lines(path)[: 5 - cut])
    (problem,) = verify(path).problems
    assert problem.kind is Break.TRUNCATED
    assert "5" in problem.message


@pytest.mark.parametrize("cut", [1, 5])
def test_what_was_cut_off_stays_missing(path: Path, cut: int) -> None:
    rewrite(path, lines(path)[: 5 - cut])
    AuditLog(path).append("ended")
    (problem,) = verify(path).problems
    assert problem.kind is Break.MISSING


def test_a_log_taken_away_stays_missing(path: Path) -> None:
    path.unlink()
    AuditLog(path).append("ended")
    (problem,) = verify(path).problems
    assert str(problem).endswith("records 1 to 5 are missing before this line")


def test_without_the_head_nobody_knows_the_end(path: Path) -> None:
    log.head_file(path).unlink()
    assert told(path) == [(Break.TRUNCATED, 5)]


def test_records_that_changed_places_are_named(path: Path) -> None:
    text = lines(path)
    rewrite(path, [text[0], text[2], text[1], *text[3:]])
    assert told(path) == [(Break.REORDERED, 3)]


def test_a_record_moved_to_the_end_is_named(path: Path) -> None:
    text = lines(path)
    rewrite(path, [*text[:1], *text[2:], text[1]])
    assert told(path) == [(Break.REORDERED, 5)]


def test_a_record_written_twice_is_named(path: Path) -> None:
    text = lines(path)
    rewrite(path, [*text[:3], text[1], *text[3:]])
    assert told(path) == [(Break.REORDERED, 4)]


@pytest.mark.parametrize("instead", [True, False])
def test_a_line_that_is_no_record_is_named(path: Path, *, instead: bool) -> None:
    text = lines(path)
    rewrite(path, [*text[:3], "no json", *text[4 if instead else 3 :]])
    assert told(path) == [(Break.FOREIGN, 4)]


def test_every_changed_byte_is_told(path: Path) -> None:
    whole = path.read_bytes()
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 0x01
        path.write_bytes(data)
        assert verify(path).problems, at


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=tries(50, 200))
@given(data=st.binary(max_size=200), at=st.integers(0, 900))
def test_any_bytes_put_in_are_told(path: Path, data: bytes, at: int) -> None:
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:at] + data + whole[at:])
        assert bool(verify(path).problems) == bool(data)
    finally:
        path.write_bytes(whole)


def test_a_torn_end_is_put_aside_and_the_chain_goes_on(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"seq":6,"ti')
    assert told(path) == [(Break.TORN, 6)]
    AuditLog(path).append("ended", action="x")
    report = verify(path)
    assert (report.records, report.problems) == (7, ())
    assert json.loads(lines(path)[5])["event"] == "torn_end"
    (aside,) = path.parent.glob("*.torn-*")
    assert aside.read_bytes() == b'{"seq":6,"ti'
    assert aside.stat().st_mode & 0o077 == 0


def test_a_torn_only_line_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"seq":1,"ti')
    AuditLog(path).append("ended")
    assert [json.loads(line)["event"] for line in lines(path)] == ["torn_end", "ended"]
    assert verify(path).problems == ()


def test_a_crash_between_record_and_head_breaks_nothing(path: Path) -> None:
    head = log.head_file(path)
    before = head.read_bytes()
    AuditLog(path).append("ended")
    head.write_bytes(before)
    assert verify(path).problems == ()
    AuditLog(path).append("ended")
    assert verify(path).problems == ()


def test_the_chain_goes_on_in_a_new_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "ROTATE_BYTES", 400)
    audit = AuditLog(path)
    for number in range(20):
        audit.append("claimed", action=f"b{number}")
    assert len(files(path)) > 3
    report = verify(path)
    assert (report.records, report.problems) == (25, ())
    assert holds(path, report.digest)
    files(path)[1].unlink()
    assert [problem.kind for problem in verify(path).problems] == [Break.MISSING]


def test_a_digest_kept_elsewhere_is_found_again(path: Path) -> None:
    digest = verify(path).digest
    AuditLog(path).append("ended")
    assert holds(path, digest)
    text = lines(path)
    rewrite(path, [*text[:4], with_new_hash(text[4].replace("because", "x")), *text[5:]])
    assert not holds(path, digest)
    assert not holds(path, "0" * 64)


def test_facts_cannot_pose_as_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    AuditLog(path).append("claimed", seq=9, prev="x", hash="y", time=0, reason='","hash":"')
    record = json.loads(lines(path)[0])
    assert (record["seq"], record["prev"]) == (1, "0" * 64)
    assert epoch(record["time"]) > 0
    assert verify(path).problems == ()


def test_a_long_fact_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    AuditLog(path).append("ended", reason="x" * 1_000_000, odd="\ud800")
    AuditLog(path).append("ended")
    assert verify(path).problems == ()
    assert len(json.loads(lines(path)[0])["reason"]) == 8_000


def test_a_log_that_cannot_be_written_stops_the_step(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(TemporaryError, match="cannot be written"):
        AuditLog(tmp_path / "audit.jsonl").append("claimed")


def test_without_a_log_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "audit.jsonl")


def test_torn_aside_files_do_not_multiply_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path)
    audit.append("first")
    path.write_bytes(path.read_bytes() + b'{"seq":2,"ti')

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        for _ in range(20):
            with pytest.raises(TemporaryError):
                audit.append("claimed")
    assert len(list(tmp_path.glob("*.torn-*"))) <= 1


def test_a_file_that_cannot_be_opened_after_rotation_closes_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path)
    audit.append("first")
    monkeypatch.setattr(log, "ROTATE_BYTES", 10)
    opened: list[int] = []
    others: list[int] = []
    real = AuditLog._open

    def fails_second(self: AuditLog) -> int:
        if opened:
            others.append(os.open("/dev/null", os.O_RDONLY))  # another thread opens a file now
            raise OSError(errno.EMFILE, "Too many open files")
        opened.append(real(self))
        return opened[-1]

    monkeypatch.setattr(AuditLog, "_open", fails_second)
    with pytest.raises(TemporaryError):
        audit.append("claimed")
    os.fstat(others[0])  # still open
    os.close(others[0])
