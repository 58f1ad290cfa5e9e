"""How commands write: nothing hostile reaches a terminal, and pipes get plain text."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli import console, tables, terminal
from dispatcher.cli.clean import COLOUR


@given(st.text())
def test_clean_leaves_no_control_characters(text: str) -> None:
    cleaned = COLOUR.sub("", console.clean(text))
    assert not any(ord(c) < 0x20 and c not in "\n\t" for c in cleaned)
    assert not any(0x7F <= ord(c) <= 0x9F for c in cleaned)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_clean_keeps_plain_text(text: str) -> None:
    assert console.clean(text) == text


@pytest.mark.parametrize(
    "hostile", ["\x1b]0;title\x07", "\x1b[2J", "a\rb", "\u202eevil", "\x9b31m", "\x1b[1;31H"]
)
def test_what_could_steer_a_terminal_is_taken_out(hostile: str) -> None:
    cleaned = console.clean(hostile)
    assert "\x1b" not in cleaned
    assert "\r" not in cleaned
    assert "\u202e" not in cleaned


def test_our_own_colours_stay() -> None:
    assert console.clean("\x1b[32mok\x1b[0m") == "\x1b[32mok\x1b[0m"


def test_a_table_in_a_pipe_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    tables.table(("ID", "REASON"), [("a", long), ("bcd", "two\nlines")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ID   REASON", f"a    {long}", "bcd  two; lines"]


def test_an_empty_table_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tables.table(("ID",), [])
    assert capsys.readouterr().out == ""


def test_json_keeps_its_letters(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit({"what": "größer"})
    out = capsys.readouterr().out
    assert "größer" in out
    assert json.loads(out) == {"what": "größer"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (86_400, "1 d"), (-5, "0 s")],
)
def test_ago_takes_the_unit_that_fits(seconds: float, words: str) -> None:
    assert console.ago(1000.0, now=1000.0 + seconds) == words


@pytest.mark.parametrize("columns", ["", "0", "-1", "nonsense", "57"])
def test_a_terminal_is_as_wide_as_the_library_says(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal.columns() == shutil.get_terminal_size().columns
    monkeypatch.setattr("os.get_terminal_size", lambda _fd: os.terminal_size((123, 45)))
    assert terminal.columns() == shutil.get_terminal_size().columns
