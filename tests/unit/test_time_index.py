"""When output was written: what the runner marks, and where a reader begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.time_index import PRECISION_S, encode_mark, offset_since
from dispatcher.runner import time_marks
from dispatcher.runner.time_marks import TimeMarks

PIECES = st.lists(
    st.tuples(st.floats(0, 3), st.text(alphabet="ab\n", max_size=5).map(str.encode)), max_size=30
)


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


@given(PIECES, st.floats(-1, 40))
def test_nothing_later_is_left_out_and_no_more_than_a_second_is_shown_too_much(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[float, bytes]], after: float
) -> None:
    clock, path = Clock(), tmp_path_factory.mktemp("index") / "stdout.times"
    begun, whole = clock.now, b""
    written: list[tuple[float, int, int]] = []  # when, first byte, end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_marks, "time", clock)
        marks = TimeMarks(str(path))
        for pause, data in pieces:
            clock.now += pause
            marks.note(data)
            written.append((clock.now, len(whole), len(whole) + len(data)))
            whole += data
    since = begun + after
    offset = offset_since(path.read_bytes(), since, size=len(whole))
    assert offset is not None
    for at, begin, end in written:
        if at >= since:
            assert offset <= begin
        # Of what is too early only the begin of a line that goes on later is shown.
        if at < since - PRECISION_S - 0.001:
            assert offset >= end or b"\n" not in whole[offset : end - 1]


@pytest.mark.parametrize("index", [None, b"", b"nonsense\n", b"1 2\nx", b"1 2\n3 ", b"-1 0\n"])
def test_without_a_whole_index_nothing_is_known(index: bytes | None) -> None:
    assert offset_since(index, 0.0, size=5) is None
    assert offset_since(index, 0.0, size=0) == 0


def test_an_offset_never_leads_beyond_the_output() -> None:
    assert offset_since(encode_mark(9.0, 10**12), 1.0, size=5) == 5


def test_an_index_that_cannot_be_written_says_that_it_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(), tmp_path / "stdout.times"
    monkeypatch.setattr(time_marks, "time", clock)
    marks = TimeMarks(str(path))
    marks.note(b"a\n")

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        clock.now += 5
        marks.note(b"b\n")
    clock.now += 5
    marks.note(b"c\n")
    assert offset_since(path.read_bytes(), 0.0, size=6) is None


def test_a_flood_costs_one_write_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, path = Clock(), tmp_path / "stdout.times"
    monkeypatch.setattr(time_marks, "time", clock)
    marks = TimeMarks(str(path))
    for _ in range(10_000):
        clock.now += 0.001
        marks.note(b"line\n")
    assert 10 <= path.read_bytes().count(b"\n") <= 12
