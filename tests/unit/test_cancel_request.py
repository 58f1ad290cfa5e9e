"""What a request to cancel says, and how the tree keeps it; anything may stand in such a file."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.cancel_request import (
    LIMIT,
    REASON_LIMIT,
    CancelRequest,
    parse_cancel_request,
    reason_problem,
)
from dispatcher.ops_repo import Tree
from dispatcher.ops_repo.records import Entry

BLOB = "ab" * 20
PATH = "vault/actions/x.cancel.toml"


def parse(data: bytes | int) -> object:
    return parse_cancel_request(data, path=PATH, action_id="x")


@given(st.text(max_size=REASON_LIMIT).filter(lambda text: not reason_problem(text)))
def test_what_is_written_is_read(reason: str) -> None:
    request = CancelRequest(action_id="x", blob=BLOB, reason=reason)
    assert parse(request.to_toml()) == request


@given(st.binary(max_size=200))
def test_garbage_is_a_problem(data: bytes) -> None:
    assert isinstance(parse(data), tuple)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'id = "y"\nblob = "{BLOB}"', "the file name implies x"),
        (f'blob = "{BLOB}"', "id is missing"),
        ('id = "x"\nblob = "abc"', "blob must be"),
        ('id = "x"\nblob = 3', "blob must be"),
        (f'id = "x"\nblob = "{BLOB}"\nforce = true', 'unknown key "force"'),
        (f'id = "x"\nblob = "{BLOB}"\nreason = "a\\nb"', "one line"),
        (f'id = "x"\nblob = "{BLOB}"\nreason = "\\u001b[2J"', "printable"),
        (f'id = "x"\nblob = "{BLOB}"\nreason = 1', "must be text"),
        (f'id = "x"\nblob = "{BLOB}"\nreason = "{"a" * 301}"', "301 characters"),
        ("[" * 5_000, "bytes"),
    ],
)
def test_each_problem_is_named(text: str, why: str) -> None:
    problems = parse(text.encode())
    assert isinstance(problems, tuple)
    assert any(why in str(problem) for problem in problems), problems


def test_a_huge_file_is_not_read() -> None:
    problems = parse(LIMIT + 1)
    assert isinstance(problems, tuple)
    assert "more than the 4,096 allowed" in str(problems[0])


def test_the_file_is_plain_toml() -> None:
    text = CancelRequest(action_id="x", blob=BLOB, reason='a "quote" \\').to_toml().decode()
    assert tomllib.loads(text) == {"id": "x", "blob": BLOB, "reason": 'a "quote" \\'}


def entry(oid: str = BLOB, mode: int = 0o100644) -> Entry:
    return Entry(mode=mode, oid=oid)


def test_the_tree_keeps_requests_beside_actions_and_takes_them_for_nothing_else() -> None:
    tree = Tree()
    changes = tree.step(
        "c1",
        [
            ("vault/actions/x.toml", entry()),
            (PATH, entry("cd" * 20)),
            ("vault/done/2026-01/old.cancel.toml", entry()),
            ("formulas/x.cancel.toml", entry()),
        ],
    )
    assert changes.opened == ("x",)
    assert tree.cancels["x"].blob == "cd" * 20
    assert not tree.archived
    assert tree.misnamed == {"formulas/x.cancel.toml"}
    tree.step("c2", [(PATH, None)])
    assert not tree.cancels
    assert "x" in tree.open


def test_a_tree_that_is_read_anew_forgets_requests_that_went() -> None:
    tree = Tree()
    tree.step("c1", [(PATH, entry())])
    tree.become("c2", {"vault/actions/x.toml": entry()})
    assert not tree.cancels
    assert list(tree.open) == ["x"]
