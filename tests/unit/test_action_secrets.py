"""The names of secrets that an action may ask for."""

from __future__ import annotations

import json
import subprocess

import pytest

from dispatcher.model.names import (
    RESERVED_NAMES,
    secret_problem,
)
from tests.support.action_texts import problems, replaced


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('["db_token"]', 'did you mean "DB_TOKEN"?'),
        ('["1A"]', "cannot be used as the name of a secret"),
        ('[""]', "cannot be used as the name of a secret"),
        ('["Ä"]', "cannot be used as the name of a secret"),
        ('["A\\n"]', "cannot be used as the name of a secret"),
        ('["' + "A" * 101 + '"]', "cannot be used as the name of a secret"),
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
    assert "differs only in case from secrets[0]" in first + second
    assert "cannot be used as the name of a secret" in first + second


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
