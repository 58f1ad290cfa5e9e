"""The state directory that a settings file names: found without a parser where that is safe."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.settings_file import plain_value

PIECES = st.sampled_from(
    [
        "state_dir", "state_dirs", "x", " ", "\t", "=", '"', "'", '"""', "'''", "a/b", "# ", "\n", "\r\n", "[", "]",
        "[x]\n", "{", "}", ",", "\\", "\\u0073tate_dir", "1", 'state_dir = "a"', "state_dir = 'b' # c", "x = [\n",
        'x = """\n', "x = {", "\nstate_dir.y = 1\n", '"state_dir"',
    ]
)  # fmt: skip


@given(text=st.lists(PIECES, max_size=12).map("".join))
@example(text='x = """\nstate_dir = "a"\n"""')
@example(text='[vault]\nstate_dir = "a"')
@example(text='x = {\nstate_dir = "a"\n}')
@example(text='"state\\u005fdir" = "a"')
@example(text='state_dir = """a"""')
@example(text='state_dir = "a" # state_dir')
def test_what_is_plain_to_see_is_what_a_parser_finds(text: str) -> None:
    plain = plain_value(text, "state_dir")
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    if plain is not None:
        assert parsed.get("state_dir", "") == plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ('#state_dir = ".disinto"\n[vault]\naddr = "x"\n', ""),
        ('state_dir = "state"\n[vault]\naddr = "x"\n', "state"),
        ("# mine\nstate_dir='~/state'  # here\r\n", "~/state"),
    ],
)
def test_ordinary_files_need_no_parser(text: str, value: str) -> None:
    assert plain_value(text, "state_dir") == value


@pytest.mark.parametrize("text", ["state_dir = 1", 'state_dir = "a', "[a]\nstate_dir = 'b'"])
def test_others_are_left_to_it(text: str) -> None:
    assert plain_value(text, "state_dir") is None
