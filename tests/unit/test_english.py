"""The check of phrases finds each of them, and nothing in good English."""

import pytest

from tests.support.english import INSTEAD, findings

BAD = [
    ("docs/a.md", "lies in the state folder of this user", "state folder"),
    ("docs/a.md", "an id runs once, for ever", "for ever"),
    ("docs/a.md", '"timeout" is no key of an action', "is no key of"),
    ("dispatcher/a.py", 'raise E("the file is no JSON object")', "is no JSON"),
    ("dispatcher/a.py", 'raise E("nobody can be asked here")', "nobody can be asked"),
    ("dispatcher/a.py", '"16 runs are in flight, as many as may be"', "as many as may be"),
    ("dispatcher/a.py", "# one log-in", "log-in"),
    ("dispatcher/a.py", "# they differ by case alone", "by case alone"),
    ("docs/a.md", "one policy a secret", "one policy a secret"),
    ("docs/a.md", "it waits for a place", "for a place"),
    ("docs/a.md", "the step is tried again", "is tried again"),
    ("dispatcher/a.py", 'f"the server {where} refused us: {why}"', "refused us"),
    ("docs/a.md", "while Vault cannot be asked", "Vault cannot be asked"),
    ("docs/a.md", "carol who had no hand in it", "had no hand in"),
    ("docs/a.md", "on an author's desk", "author's desk"),
    ("dispatcher/a.py", '"""The head; None where there is none."""', "None where"),
    ("dispatcher/a.py", '# the node; "" where unknown', '"" where'),
]


@pytest.mark.parametrize(("file", "text", "phrase"), BAD)
def test_a_phrase_is_found_at_its_line(file: str, text: str, phrase: str) -> None:
    found = list(findings(file, "# The first line.\n" + text + "\n"))
    assert [(f.file, f.line, f.phrase) for f in found] == [(file, 2, phrase)]
    assert f'{file}:2: "{phrase}"' in str(found[0])


def test_every_phrase_has_an_example() -> None:
    better = {f.better for file, text, _ in BAD for f in findings(file, text)}
    assert better == set(INSTEAD.values())


def test_a_phrase_in_a_long_text_has_the_line_of_its_own() -> None:
    text = 'def f():\n    """One.\n\n    Two of the folder.\n    """\n'
    assert [f.line for f in findings("dispatcher/a.py", text)] == [4]


@pytest.mark.parametrize(
    "text",
    [
        'f"{the_folder} or {folder} or ``folder`` is missing"',
        "the_folder = state.folder  # the directory",
        '"unknown key, retried, logged in, a place to look"',
    ],
)
def test_good_english_and_code_pass(text: str) -> None:
    assert list(findings("dispatcher/a.py", text)) == []


def test_the_line_is_right_after_code_of_several_lines() -> None:
    text = "a ``b\nc`` d\nwaits for a place\n"
    assert [finding.line for finding in findings("x.md", text)] == [3]
