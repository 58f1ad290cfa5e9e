"""Files of trusted and revoked keys: a line that ssh-keygen would pass over is a problem."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from dispatcher.ops_repo.trusted_keys import (
    KRL_MAGIC,
    read_allowed_signers,
    revocation_problems,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def key(kind: str = "ssh-ed25519") -> str:
    name = kind.encode()
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + b"k" * 32
    return f"{kind} {base64.b64encode(blob).decode()}"


def read(text: str) -> tuple[int, int, list[int | None]]:
    found = read_allowed_signers(text.encode(), path="allowed_signers", now=NOW)
    return found.entries, found.usable, [problem.line for problem in found.problems]


@pytest.mark.parametrize(
    "line",
    [
        f"ada@example.org {key()}",
        f"ada@example.org,bob@example.org {key()} a comment here",
        f'"a name with spaces" {key("sk-ssh-ed25519@openssh.com")}',
        f"*@example.org cert-authority {key('ssh-rsa')}",
        f'ada@example.org namespaces="git,file" {key()}',
        f'ada@example.org cert-authority,namespaces="g*",valid-before="20270101Z" {key()}',
        f'ada@example.org valid-after="202601010000",valid-before="20270101" {key()}',
    ],
)
def test_lines_that_name_a_usable_key(line: str) -> None:
    assert read(f"# people\n\n{line}\r\n") == (1, 1, [])


@pytest.mark.parametrize(
    "options",
    ['namespaces="file"', 'valid-before="20260101Z"', 'valid-after="20270101Z"'],
)
def test_a_key_that_cannot_sign_commits_now_is_not_usable(options: str) -> None:
    assert read(f"ada@example.org {options} {key()}") == (1, 0, [])


@pytest.mark.parametrize(
    "line",
    [
        "ada@example.org",
        key(),  # without a principal
        f"ada@example.org {key()[:-8]}!",
        "ada@example.org ssh-ed25519 bm90IGEga2V5",
        f"ada@example.org ssh-rsa {key().split()[1]}",
        "\x00\xff",
    ],
)
def test_a_line_that_names_no_key_is_a_problem_at_its_place(line: str) -> None:
    assert read(f"ada@example.org {key()}\n{line}\n") == (1, 1, [2])


def test_an_empty_file_names_nobody() -> None:
    assert read("") == (0, 0, [])
    assert read("# nobody\n") == (0, 0, [])


def test_a_revocation_list_holds_keys_or_is_binary() -> None:
    assert revocation_problems(KRL_MAGIC + b"\xff", path="revoked") == ()
    assert revocation_problems(f"# gone\n{key()} a comment\n".encode(), path="revoked") == ()
    (problem,) = revocation_problems(f"{key()}\nSHA256:abc\n".encode(), path="revoked")
    assert (problem.path, problem.line) == ("revoked", 2)
