"""Names that an action file may use: ids, formulas and secrets."""

from __future__ import annotations

import re
from functools import lru_cache

from dispatcher.toml.source import quoted

ID_PATTERN = "^[a-z0-9][a-z0-9_-]{0,99}$"
"""Ids of actions and names of formulas. No dot, so that ``<id>.<blob>`` is one word; no upper
case, so that two ids cannot differ only in case."""

ID_RULE = "Use a-z, 0-9, - and _, at most 100, the first a letter or digit"
"""``ID_PATTERN`` in words."""

SECRET_PATTERN = "^[A-Z][A-Z0-9_]{0,99}$"  # noqa: S105 - a pattern of names

_ID = re.compile(ID_PATTERN.strip("^$"))
_SECRET = re.compile(SECRET_PATTERN.strip("^$"))

RESERVED_NAMES = frozenset(
    [
        "PATH",
        "HOME",
        "IFS",
        "ENV",
        "SHELL",
        "USER",
        "LOGNAME",
        "PWD",
        "OLDPWD",
        "TMPDIR",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TERM",
        "CDPATH",
        "COLUMNS",
        "LINES",
        "SHELLOPTS",
        "SHLVL",
        "PROMPT_COMMAND",
        "PS0",
        "PS1",
        "PS2",
        "PS3",
        "PS4",
        "UID",
        "EUID",
        "PPID",
        "GROUPS",
        "RANDOM",
        "SRANDOM",
        "SECONDS",
        "LINENO",
        "FUNCNAME",
        "FUNCNEST",
        "DIRSTACK",
        "PIPESTATUS",
        "REPLY",
        "MAPFILE",
        "COPROC",
        "OPTIND",
        "OPTARG",
        "OPTERR",
        "HOSTNAME",
        "HOSTTYPE",
        "MACHTYPE",
        "OSTYPE",
        "EPOCHSECONDS",
        "EPOCHREALTIME",
        "GLOBIGNORE",
        "EXECIGNORE",
        "GLOBSORT",
        "FIGNORE",
        "HISTCMD",
        "HISTCONTROL",
        "HISTFILE",
        "HISTFILESIZE",
        "HISTIGNORE",
        "HISTSIZE",
        "HISTTIMEFORMAT",
        "TIMEFORMAT",
        "TMOUT",
        "CHILD_MAX",
        "POSIXLY_CORRECT",
        "INPUTRC",
        "BASH",
        "BASHOPTS",
        "BASHPID",
        "COMPREPLY",
        "EMACS",
        "FCEDIT",
        "HOSTFILE",
        "IGNOREEOF",
        "INSIDE_EMACS",
        "MAIL",
        "MAILCHECK",
        "MAILPATH",
        "PROMPT_DIRTRIM",
        "GLIBC_TUNABLES",
        "GCONV_PATH",
        "LOCPATH",
        "NLSPATH",
        "MALLOC_TRACE",
    ]
)
"""Variables that bash, the C library or the runner's own environment give a meaning to: bash(1),
"Shell Variables", and ld.so(8). A secret of that name would break the formula or be lost."""

RESERVED_PREFIXES = ("DISINTO_", "PYTHON", "LD_", "LC_", "BASH_", "COMP_", "READLINE_")


@lru_cache(maxsize=10_000)
def is_id(name: str) -> bool:
    """Whether a name can be an action's id, or a formula's name. Remembers, because each round asks."""
    return _ID.fullmatch(name) is not None


def name_problem(name: str, what: str) -> tuple[str, str] | None:
    """The problem of an id or a formula's name, and its remedy; None for a valid name."""
    if is_id(name):
        return None
    better = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:100]
    remedy = f"{ID_RULE}; for example {quoted(better)}" if better else ID_RULE
    return f"{quoted(name)} cannot be used as {what}", remedy


def secret_problem(name: str) -> tuple[str, str] | None:
    """The problem of a secret's name, and its remedy; None for a valid name."""
    if not _SECRET.fullmatch(name):
        better = re.sub(r"[^A-Z0-9_]+", "_", name.upper()).strip("_")[:100]
        rule = "Use A-Z, 0-9 and _, at most 100, the first a letter"
        good = _SECRET.fullmatch(better)
        remedy = f"{rule}; did you mean {quoted(better)}?" if good else rule
        return f"{quoted(name)} cannot be used as the name of a secret", remedy
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES):
        return (
            f"{name} is reserved: each secret becomes an environment variable of its name, and "
            "this one has a meaning to the shell or the runner",
            f"Store the secret under another name, such as MY_{name}",
        )
    return None
