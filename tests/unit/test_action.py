"""Parsing of action files: what is taken, and how each mistake is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.action import (
    MAX_ACTION_BYTES,
    Action,
    InvalidAction,
    oversized_action,
    parse_action,
)
from dispatcher.model.mounts import Mount
from dispatcher.model.names import secret_problem
from dispatcher.model.references import check_names
from dispatcher.model.run import Tier
from dispatcher.toml.explain import one_of
from tests.support.action_texts import MINIMAL, parse, problems, replaced


def test_the_least_an_action_says() -> None:
    assert parse(MINIMAL) == Action(id="a", formula="hello", context="why", secrets=())


def test_all_an_action_can_say() -> None:
    text = """
    id = "a"
    formula = "make-server"
    context = '''
    why, in ünicode'''
    secrets = ["GITHUB_TOKEN", "B2"]
    mounts = ["ssh", "project-repos"]
    model = "sonnet"
    tools = ["Bash(git log:*)", "Read"]
    timeout_minutes = 10_080
    blast_radius = "high"
    priority = -100
    dispatch_mode = "direct"
    params = { size = "small", disks = [1, 2.5], nested = { on = true } }
    """
    assert parse(text) == Action(
        id="a",
        formula="make-server",
        context="    why, in ünicode",
        secrets=("GITHUB_TOKEN", "B2"),
        mounts=(Mount.SSH, Mount.PROJECT_REPOS),
        model="sonnet",
        tools=("Bash(git log:*)", "Read"),
        timeout_minutes=10_080,
        blast_radius=Tier.HIGH,
        priority=-100,
        params={"size": "small", "disks": [1, 2.5], "nested": {"on": True}},
    )


@pytest.mark.parametrize("mode", ["1", "'direct'", "[{}]", "1979-05-27", "{a = 1}"])
def test_dispatch_mode_is_taken_and_grants_nothing(mode: str) -> None:
    assert parse(f"dispatch_mode = {mode}\n{MINIMAL}") == parse(MINIMAL)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
id = "b"
secret = ["A"]
formula = 5
secrets = "GITHUB_TOKEN"
mounts = ["shs", "ssh", "ssh"]
timeout_minutes = 1.5
blast_radius = "hi"
"""
    assert problems(text) == [
        '1:1: context is missing. Add context = "Why this runs, and what is wanted"',
        '1:6: id is "b", but the file is "a.toml". Write id = "a", or rename the file',
        '2:1: unknown key "secret". Did you mean "secrets"?',
        '3:11: formula must be a string, not a whole number. Write for example formula = "hello"',
        '4:11: secrets must be a list of strings, not a string. Write secrets = ["GITHUB_TOKEN"]',
        f'5:11: mounts[0] must be {one_of(Mount)}, not "shs". Did you mean "ssh"?',
        "5:25: mounts[2] repeats mounts[1], and each mount is given once. Remove one of them",
        "6:19: timeout_minutes must be a whole number from 1 to 10,080, not a number with a "
        "fraction. Write for example timeout_minutes = 60",
        '7:16: blast_radius must be low, medium or high, not "hi". Did you mean "high"?',
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("timeout_minutes = 0", "from 1 to 10,080"),
        ("timeout_minutes = 10081", "from 1 to 10,080"),
        ("timeout_minutes = true", "not true or false"),
        ("timeout_minutes = '5'", "not a string"),
        ("timeout_minutes = 0x" + "f" * 4_500, "too large"),
        ("priority = 101", "from -100 to 100"),
        ("priority = nan", "not a number with a fraction"),
        ("mounts = ['ssh', 1]", "mounts[1] must be one of"),
        ("mounts = {}", "not a table"),
        ("model = '-rf'", "read as an option"),
        (r'model = "a\u001b[31m"', "control character"),
        (r'tools = ["Bash", "a\nb"]', "control character"),
        ("tools = ['--danger']", "read as an option"),
        ("model = '" + "x" * 201 + "'", "at most 200 characters"),
        ("model = 1979-05-27", "model must not be a date or time"),
        ("params = [1]", "params must be a table, not a list"),
        ("params = { a = 1979-05-27 }", "params.a must not be a date or time"),
        ("params = { a = [inf] }", "inf or nan"),
        ("params = { a = 0x" + "f" * 20 + " }", "64 bits"),
        ("params = { a = " + "[" * 300 + "]" * 300 + " }", "too deep"),
        ("params" + ".a" * 900 + " = 1", "too deep"),
        ("params" + ".a" * 20 + " = 1", "more than 16 deep"),
        ("blast_radius = 3", "one of low, medium, high"),
        ("[agent]", 'unknown key "agent"'),
        ("ID = 'a'", 'Did you mean "id"?'),
    ],
)
def test_a_wrong_line_is_named(line: str, words: str) -> None:
    (told,) = problems(MINIMAL + line)
    assert told.startswith("5:")
    assert words in told


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("../x", 'for example "x"'),
        ("A", 'for example "a"'),
        ("a.b", 'for example "a-b"'),
        ("", "Rename the file"),
        ("-a", "Rename the file"),
        ("a" * 101, "at most 100"),
        ("ä", "Rename the file"),
        ("a\n", "Rename the file"),
    ],
)
def test_a_file_name_that_is_no_id_is_told(stem: str, words: str) -> None:
    told = problems(MINIMAL, stem)
    assert any(words in line for line in told)


def test_an_id_leading_elsewhere_is_refused_twice() -> None:
    told = problems(replaced("id", '"../a"'))
    assert len(told) == 2
    assert "cannot be used as an action's id" in told[0] + told[1]


def test_context_is_bounded_and_has_no_nul() -> None:
    assert "NUL" in problems(replaced("context", r'"\u0000"'))[0]
    long = replaced("context", '"' + "ü" * 50_001 + '"')
    parsed = parse_action(long.encode(), path="a.toml", stem="a", limit=10**6)
    assert isinstance(parsed, InvalidAction)
    assert "100,002 bytes" in parsed.problems[0].message


@pytest.mark.parametrize("size", [MAX_ACTION_BYTES + 1, 50_000_000])
def test_a_large_file_is_refused_by_its_size(size: int) -> None:
    (told,) = problems(b"#" * size)
    assert f"{size:,} bytes" in told
    unread = oversized_action(path="a.toml", stem="a", size=size, limit=MAX_ACTION_BYTES)
    assert unread.problems[0].message in told


def test_an_empty_file_misses_everything() -> None:
    assert [line.split(" is ")[0] for line in problems(b"")] == [
        "1:1: id",
        "1:1: formula",
        "1:1: context",
        "1:1: secrets",
    ]


def test_a_flood_of_problems_is_cut() -> None:
    assert len(problems(MINIMAL + "\n".join(f"x{n} = 1" for n in range(500)))) == 50


def test_messages_hold_no_control_characters() -> None:
    text = replaced("formula", r'"\u001b[2J\u202e"') + '\n"\\u0007" = 1'
    assert all(line.isprintable() for line in problems(text))


def check(action_text: str, **known: Any) -> list[str]:
    action = parse(action_text)
    assert isinstance(action, Action)
    names = {"formulas": {"hello"}, "secrets": set(), "mounts": set(Mount), **known}
    found = check_names(action, action_text.encode(), path="a.toml", **names)
    return [str(problem) for problem in found]


def test_names_that_exist_are_no_problem() -> None:
    text = replaced("secrets", '["A"]') + "\nmounts = ['ssh']"
    assert check(text, secrets={"A", "B"}) == []


def test_an_unknown_formula_is_named_with_the_closest() -> None:
    assert check(MINIMAL, formulas={"helo", "other"}) == [
        'a.toml:2:11: there is no formula "hello". Did you mean "helo"?'
    ]
    assert "Add formulas/hello.sh" in check(MINIMAL, formulas=set())[0]


def test_an_unknown_secret_is_named_with_the_closest_or_its_case_twin() -> None:
    text = replaced("secrets", '["DB_TOKEN", "OTHER"]')
    first, second = check(text, secrets={"db_token"})
    assert first.startswith("a.toml:4:12:")
    assert 'has "db_token", which differs in case' in first
    assert second == (
        "a.toml:4:24: there is no secret OTHER. Store it with: disinto secrets put OTHER"
    )
    assert "Did you mean" in check(text, secrets={"DB_TOKENS", "OTHER"})[0]


def test_a_mount_that_is_not_offered_is_named() -> None:
    text = MINIMAL + "mounts = ['gpg', 'ssh']"
    (told,) = check(text, mounts={Mount.SSH})
    assert told == 'a.toml:5:11: the mount "gpg" is not offered here. Offered: ssh'


def test_what_cannot_be_known_is_not_judged() -> None:
    text = replaced("secrets", '["A"]') + "\nmounts = ['ssh']"
    assert check(text, secrets=None, mounts=None) == []


names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,99}", fullmatch=True)


secret_names = st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: secret_problem(name) is None
)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200)


@given(
    action_id=names,
    formula=names,
    context=texts,
    secrets=st.lists(secret_names, unique=True, max_size=5),
    mounts=st.lists(st.sampled_from(list(Mount)), unique=True),
    timeout=st.integers(1, 10_080),
    priority=st.integers(-100, 100),
    tier=st.none() | st.sampled_from(list(Tier)),
)
def test_what_is_written_is_what_is_read(
    *,
    action_id: str,
    formula: str,
    context: str,
    secrets: list[str],
    mounts: list[Mount],
    timeout: int,
    priority: int,
    tier: Tier | None,
) -> None:
    lines = [
        f"id = {toml_string(action_id)}",
        f"formula = {toml_string(formula)}",
        f"context = {toml_string(context)}",
        f"secrets = [{', '.join(map(toml_string, secrets))}]",
        f"mounts = [{', '.join(map(toml_string, mounts))}]",
        f"timeout_minutes = {timeout}",
        f"priority = {priority}",
        *([f"blast_radius = {toml_string(tier)}"] if tier else []),
    ]
    assert parse("\n".join(lines), action_id) == Action(
        id=action_id,
        formula=formula,
        context=context,
        secrets=tuple(secrets),
        mounts=tuple(mounts),
        timeout_minutes=timeout,
        priority=priority,
        blast_radius=tier,
    )


def toml_string(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" if not c.isalnum() else c for c in text) + '"'


@given(st.binary(max_size=400))
def test_any_bytes_are_an_action_or_have_problems(raw: bytes) -> None:
    parsed = parse(raw)
    assert isinstance(parsed, Action) or parsed.problems
