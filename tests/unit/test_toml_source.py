"""Places of keys and values, and a problem instead of an exception whatever the bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.toml.source import TomlSource, dotted, quoted

TEXT = """\
# a comment
id = "x"
"b c".d = [1, "x", { k = 2, 'z'.y = 3 }]

[t.u]
v = \"\"\"
several
lines\"\"\"
[[arr]]
n = 1
[[arr]]
n = 2
[arr.sub]
"ü".w = [
  1, # one
  2,
]
"""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("id",), (2, 6)),
        (("b c", "d"), (3, 11)),
        (("b c", "d", 1), (3, 15)),
        (("b c", "d", 2, "k"), (3, 26)),
        (("b c", "d", 2, "z", "y"), (3, 37)),
        (("t", "u"), (5, 4)),
        (("t", "u", "v"), (6, 5)),
        (("arr", 0, "n"), (10, 5)),
        (("arr", 1, "n"), (12, 5)),
        (("arr", 1, "sub", "ü", "w"), (14, 9)),
        (("arr", 1, "sub", "ü", "w", 1), (16, 3)),
    ],
)
def test_a_value_is_found(path: tuple[str | int, ...], place: tuple[int, int]) -> None:
    assert TomlSource.parse(TEXT.encode(), path="x.toml").locate(path) == place


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("id",), (2, 1)),
        (("b c", "d"), (3, 7)),
        (("t", "u", "v"), (6, 1)),
        (("arr", 1, "n"), (12, 1)),
        (("arr", 1, "sub", "ü", "w"), (14, 5)),
    ],
)
def test_a_key_is_found(path: tuple[str | int, ...], place: tuple[int, int]) -> None:
    assert TomlSource.parse(TEXT.encode(), path="x.toml").locate(path, key=True) == place


def test_a_comment_behind_a_value_does_not_take_its_place() -> None:
    source = TomlSource.parse(b'id = "x"   # why\nlist = [1, 2]  # two\n', path="x.toml")
    assert source.locate(("id",)) == (1, 6)
    assert source.locate(("list",)) == (2, 8)
    assert source.locate(("list", 1)) == (2, 12)


def test_what_is_not_there_gets_the_place_of_its_holder() -> None:
    source = TomlSource.parse(TEXT.encode(), path="x.toml")
    assert source.locate(("t", "u", "missing")) == (5, 4)
    assert source.locate(("missing",)) == (1, 1)
    assert TomlSource.parse(b"", path="x.toml").locate(("id",)) == (1, 1)


def test_columns_count_characters_and_crlf_counts_as_one_end() -> None:
    source = TomlSource.parse('a = 1\r\n"üü" = [ "x" ]\r\n'.encode(), path="x.toml")
    assert not source.problems
    assert source.locate(("üü", 0)) == (2, 10)


@pytest.mark.parametrize(
    ("raw", "line", "column", "words"),
    [
        (b"a = 1\nb =\n", 2, 4, "not TOML"),
        (b"a = 1\na = 2\n", 2, 1, "a is given twice. It is already set in line 1"),
        (b"[a]\nb = 1\n[c]\n[a]\n", 4, 2, "a is given twice. It is already set in line 1"),
        (b"x = { a = 1, a = 2 }", 1, 14, "x.a is given twice"),
        (b"a.b = 1\n[a]\nb = 2\n", 3, 1, "a.b is given twice"),
        (b"ok = 1\nx = '\xc3\xbc\xff'", 2, 7, "byte 0xff is not UTF-8"),
        (b"ok = 1\nx = '\x00'", 2, 6, "NUL"),
        (b"\xef\xbb\xbfa = 1", 1, 1, "byte order mark"),
        ("a = 1".encode("utf-16"), 1, 1, "UTF-16"),
        (b"ok = 1\na = " + b"[" * 500, 2, 1, "nesting"),
        (b"ok = 1\na" + b".a" * 2_000 + b" = 1", 2, 1, "nesting"),
        (b"ok = 1\na = " + b"9" * 5_000, 2, 5, "too large"),
        (b"a = 2024-02-31", 1, 5, "date"),
        (b'a = "\x1b"', 1, 6, "not TOML"),
        (b'a = "x\nb = 1', 1, 7, "Close the quotes"),
        (b"\r\r\r", 1, 1, "not TOML"),
    ],
)
def test_what_is_no_toml_is_a_problem_with_its_place(
    raw: bytes, line: int, column: int, words: str
) -> None:
    source = TomlSource.parse(raw, path="x.toml")
    (problem,) = source.problems
    assert (problem.line, problem.column) == (line, column)
    assert words in str(problem)
    assert source.data == {}


def test_a_large_file_is_refused_by_its_size() -> None:
    (problem,) = TomlSource.parse(b"a" * 50_000_000, path="x.toml", limit=65_536).problems
    assert "50,000,000 bytes" in problem.message
    assert problem.line == 1


@given(st.binary(max_size=300))
def test_any_bytes_parse_or_have_problems(raw: bytes) -> None:
    source = TomlSource.parse(raw, path="x.toml")
    assert all(problem.line for problem in source.problems)
    assert source.locate(("a", 0)) >= (1, 1)


@given(st.text(st.sampled_from("ab=[]{}.'\"\n#, 1"), max_size=80))
def test_any_almost_toml_parses_or_has_problems(text: str) -> None:
    source = TomlSource.parse(text.encode(), path="x.toml")
    assert all(problem.line for problem in source.problems)
    for key in source.data:
        line, column = source.locate((key,), key=True)
        assert text.split("\n")[line - 1][column - 1 :].lstrip("'\"").startswith(key[:1])


def test_paths_and_texts_are_shown_on_one_printable_line() -> None:
    assert dotted(("a", 1, "b c", "d")) == 'a[1]."b c".d'
    assert quoted('a"b\n\x1b[31m\u202e') == r'"a\"b\n\x1b[31m\u202e"'
    assert quoted("x" * 100) == '"' + "x" * 60 + '…"'
