"""Tables on a terminal: nothing is cut, and no line is wider than the screen but a long id's own."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.tables import columns_of, fold, folded

COLUMNS = ("ID", "STATE", "FOR", "FORMULA", "TIER", "REASON")
LONG_ID = "rotate-the-signing-keys-of-every-region-" + "0123456789" * 6
REASON = "waits for approval: " + "nobody reviewed it; needs approval from carol " * 3


def lines_of(rows: list[tuple[str, ...]], width: int = 80) -> list[str]:
    return [click.unstyle(line) for line in folded(COLUMNS, rows, width=width)]


def test_a_long_id_has_a_line_of_its_own_and_is_whole() -> None:
    lines = lines_of(
        [
            ("short", "running", "3 min", "deploy", "low", "on local"),
            (LONG_ID, "waiting", "2 d", "deploy", "high", REASON),
        ]
    )
    assert LONG_ID in lines
    assert not any("…" in line for line in lines)
    assert lines[1].split() == ["short", "running", "3", "min", "deploy", "low", "on", "local"]
    rest = lines[lines.index(LONG_ID) + 1 :]
    at = lines[0].index("STATE")
    assert rest[0][:at].strip() == ""
    assert rest[0][at:].startswith("waiting")


def test_the_reason_folds_and_is_whole() -> None:
    lines = lines_of([("a", "waiting", "2 d", "deploy", "high", REASON)])
    at = lines[0].index("REASON")
    assert " ".join(line[at:].strip() for line in lines[1:]) == REASON.strip()
    assert len(lines) > 3


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_but_that_of_a_long_id_is_too_wide(width: int) -> None:
    rows = [("a" * n, "waiting", "2 d", "f" * n, "high", REASON) for n in (1, 20, 39, 80, 100)]
    for line in lines_of(rows, width):
        assert columns_of(line) <= max(width, 60) or set(line) == {"a"}


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"])), st.integers(2, 40))
def test_folding_loses_nothing(text: str, width: int) -> None:
    lines = fold(text, width)
    assert "".join(lines) == text
    assert all(columns_of(line) <= width for line in lines)


def test_words_of_a_state_are_coloured_and_a_person_s_are_not() -> None:
    row = ("failed", "failed", "", "failed", "", "failed")
    line = folded(COLUMNS, [row], width=80)[1]
    assert line.count(click.style("failed", fg="red")) == 1
