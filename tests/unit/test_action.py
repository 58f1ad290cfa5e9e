"""Parsing of action files: what is taken, and how each mistake is told."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.action import (
    MAX_ACTION_BYTES,
    Action,
    InvalidAction,
    check_names,
    oversized_action,
    parse_action,
)
from dispatcher.model.names import RESERVED_NAMES, secret_problem
from dispatcher.model.run import Mount, Tier

MINIMAL = """\
id = "a"
formula = "hello"
context = "why"
secrets = []
"""


def parse(text: str | bytes, stem: str = "a") -> Action | InvalidAction:
    data = text.encode() if isinstance(text, str) else text
    return parse_action(data, path=f"vault/actions/{stem}.toml", stem=stem)


def problems(text: str | bytes, stem: str = "a") -> list[str]:
    parsed = parse(text, stem)
    assert isinstance(parsed, InvalidAction)
    assert parsed.id == stem
    assert all(problem.line and problem.column for problem in parsed.problems)
    return [str(problem).removeprefix(f"vault/actions/{stem}.toml:") for problem in parsed.problems]


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
        "5:11: mounts[0] must be ssh, gpg, sops, project-repos, ops-repo or agent-data, "
        'not "shs". Did you mean "ssh"?',
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
        ("timeout_minutes = 0x" + "f" * 4_500, "too large a number"),
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


def replaced(key: str, value: str) -> str:
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"{key} ")]
    return "\n".join([*lines, f"{key} = {value}"])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('["db_token"]', 'did you mean "DB_TOKEN"?'),
        ('["1A"]', "cannot be the name of a secret"),
        ('[""]', "cannot be the name of a secret"),
        ('["Ä"]', "cannot be the name of a secret"),
        ('["A\\n"]', "cannot be the name of a secret"),
        ('["' + "A" * 101 + '"]', "cannot be the name of a secret"),
        ('["PATH"]', "PATH is reserved"),
        ('["LD_PRELOAD"]', "LD_PRELOAD is reserved"),
        ('["BASH_ENV"]', "BASH_ENV is reserved"),
        ('["DISINTO_TIER"]', "DISINTO_TIER is reserved"),
        ('["PYTHONPATH"]', "PYTHONPATH is reserved"),
        ('["A", "A"]', "secrets[1] repeats secrets[0]"),
        ("[[]]", "secrets[0] must be a string, not a list"),
        ("{ A = 1 }", "secrets must be a list of strings, not a table"),
        (json.dumps([f"S{n}" for n in range(65)]), "at most 64 entries"),
    ],
)
def test_a_wrong_secret_is_named(value: str, words: str) -> None:
    (told,) = problems(replaced("secrets", value))
    assert words in told


def test_secrets_equal_but_for_case_are_told_beside_the_wrong_name() -> None:
    first, second = problems(replaced("secrets", '["DB", "db"]'))
    assert "differs by case alone from secrets[0]" in first + second
    assert "cannot be the name of a secret" in first + second


SHELL_VARIABLES = [
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "BASH_ALIASES",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_ARGV0",
    "BASH_CMDS",
    "BASH_COMMAND",
    "BASH_COMPAT",
    "BASH_ENV",
    "BASH_EXECUTION_STRING",
    "BASH_LINENO",
    "BASH_LOADABLES_PATH",
    "BASH_MONOSECONDS",
    "BASH_REMATCH",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_TRAPSIG",
    "BASH_VERSINFO",
    "BASH_VERSION",
    "BASH_XTRACEFD",
    "CDPATH",
    "CHILD_MAX",
    "COLUMNS",
    "COMPREPLY",
    "COMP_CWORD",
    "COMP_KEY",
    "COMP_LINE",
    "COMP_POINT",
    "COMP_TYPE",
    "COMP_WORDBREAKS",
    "COMP_WORDS",
    "COPROC",
    "DIRSTACK",
    "EMACS",
    "ENV",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "EXECIGNORE",
    "FCEDIT",
    "FIGNORE",
    "FUNCNAME",
    "FUNCNEST",
    "GLOBIGNORE",
    "GLOBSORT",
    "GROUPS",
    "HISTCMD",
    "HISTCONTROL",
    "HISTFILE",
    "HISTFILESIZE",
    "HISTIGNORE",
    "HISTSIZE",
    "HISTTIMEFORMAT",
    "HOME",
    "HOSTFILE",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "IGNOREEOF",
    "INPUTRC",
    "INSIDE_EMACS",
    "LANG",
    "LC_ALL",
    "LINENO",
    "LINES",
    "MACHTYPE",
    "MAIL",
    "MAILCHECK",
    "MAILPATH",
    "MAPFILE",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "OSTYPE",
    "PATH",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PPID",
    "PROMPT_COMMAND",
    "PROMPT_DIRTRIM",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "PWD",
    "RANDOM",
    "READLINE_ARGUMENT",
    "READLINE_LINE",
    "READLINE_MARK",
    "READLINE_POINT",
    "REPLY",
    "SECONDS",
    "SHELL",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TIMEFORMAT",
    "TMOUT",
    "TMPDIR",
    "UID",
]  # bash(1), "Shell Variables", 5.2 and 5.3


@pytest.mark.parametrize("name", SHELL_VARIABLES)
def test_no_secret_has_a_name_that_bash_gives_a_meaning_to(name: str) -> None:
    problem = secret_problem(name)
    assert problem is not None
    assert "meaning to the shell" in problem[0]


def test_no_name_is_accepted_that_this_bash_sets_or_loses() -> None:
    """As a formula gets it: asked of the bash that is installed."""
    listed = subprocess.run(
        ["bash", "-c", "compgen -v"], env={}, capture_output=True, text=True, check=True
    ).stdout.split()
    names = {name for name in [*listed, *SHELL_VARIABLES] if name.isupper()} - {"_"}
    env = {name: "kept" for name in names if secret_problem(name) is None}
    script = "".join(f'test "${{{name}-}}" = kept || echo {name};' for name in env) + ":"
    done = subprocess.run(
        ["bash", "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert not set(listed) & env.keys()


def test_reserved_names_are_those_of_the_runner_and_the_shell() -> None:
    assert {"PATH", "HOME", "IFS", "ENV", "SHELL", "USER", "TMPDIR", "LANG", "PS4"} < RESERVED_NAMES
    assert secret_problem("VAULT_TOKEN") is None
    assert secret_problem("BASHFUL") is None


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
    assert "cannot be an action's id" in told[0] + told[1]


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
    assert 'has "db_token", which differs by case' in first
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
