"""The last lines of a run's output, by stream, wherever the chunks are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.log_tail import last_lines, tail
from dispatcher.engines.base import LogChunk, Stream


@pytest.mark.parametrize(
    ("data", "lines", "end"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\n", 5, b"a\n"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"a\nb\n", 0, b""),
        (b"", 3, b""),
    ],
)
def test_the_last_lines_of_some_data(data: bytes, lines: int, end: bytes) -> None:
    assert last_lines(data, lines) == end


@given(
    st.lists(st.tuples(st.sampled_from(Stream), st.text(alphabet="ab\n", max_size=6))),
    st.integers(0, 4),
)
def test_it_does_not_matter_where_the_chunks_are_cut(
    pieces: list[tuple[Stream, str]], lines: int
) -> None:
    chunks, whole = [], dict.fromkeys(Stream, b"")
    for stream, text in pieces:
        whole[stream] += text.encode()
        chunks.append(LogChunk(stream=stream, offset=len(whole[stream]), data=text.encode()))
    found = {chunk.stream: chunk for chunk in tail(chunks, lines)}
    for stream, data in whole.items():
        if stream in found:
            assert found[stream].data == last_lines(data, lines)
            assert found[stream].offset == len(data)
        else:
            assert data == b""
