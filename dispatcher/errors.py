"""The exception tree.

::

    DisintoError
     ├── TemporaryError        trying again can help; the loop backs off and goes on
     │    └── Unavailable      a named dependency cannot be asked now
     └── PermanentError        trying again cannot help; a person must act
          ├── Denied           a dependency denied access: rights are missing
          ├── Misconfigured    a setting is missing or wrong
          ├── NotFound         what the user named is not there
          ├── Conflict         somebody else changed what we were about to change
          ├── InvalidValue     a name or value that a person gave cannot be used
          └── InvalidInput     an input file has problems, each with its place
               └── InvalidSettings    that file is the settings

Only the adapter that raised an error knows whether it is temporary; nobody above it
guesses. A *refusal* (a gate that says no, an action that does not parse) is a value, not
an exception; these classes are for not being able to do or to know something.

No message may contain a secret value: adapters build messages from names and addresses.

This module imports nothing heavy: the runner uses it (see ``dispatcher.runner``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self


class Exit(IntEnum):
    """Exit codes of every command, after sysexits(3). ``disinto dispatch`` adds the action's own.

    One entry each, with its meaning for people: help and docs are derived from it (``make docs``).
    """

    meaning: str

    def __new__(cls, code: int, *meanings: str) -> Self:
        # One meaning for each member; mypy takes Exit(64), which has none, for a call of this.
        (text,) = meanings
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = text
        return member

    OK = 0, "done"
    FAILED = 1, "a check failed, or a prompt was answered with no"
    USAGE = 64, "usage error"
    DATAERR = 65, "an action, a formula or the policy is invalid"
    NOINPUT = 66, "no such action, file or log"
    UNAVAILABLE = 69, "a server cannot be reached"
    SOFTWARE = 70, "internal error in disinto, or a state that needs a person"
    CANTCREAT = 73, "cannot create a file or directory, or the action exists already"
    IOERR = 74, "reading or writing failed"
    TEMPFAIL = 75, "still waiting; try again later"
    NOPERM = 77, "permission denied by a server, or approval refused"
    CONFIG = 78, "the settings are invalid or incomplete"


class Dependency(StrEnum):
    """What can be down on its own; named in ``status``, ``/healthz`` and metrics."""

    REMOTE = "remote"
    VAULT = "vault"
    SCHEDULER = "engine"
    LEDGER = "ledger"
    FORGE = "forge"
    LEAD = "lead"  # of the ops repo, among installations with a ledger each


class DisintoError(Exception):
    """What was wrong, and what to do about it.

    Args:
        what: one sentence, without a trailing full stop, that names the thing and the place.
        remedy: one sentence that says what the reader can do, or None if nothing can be said.
    """

    exit_code: Exit = Exit.SOFTWARE

    def __init__(self, what: str, *, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        # Another program's words, at the end of ``what``, may bring their own full stop.
        return f"{self.what.rstrip('.')}. {self.remedy}" if self.remedy else self.what


class TemporaryError(DisintoError):
    """Trying again, after a pause, can help."""

    exit_code = Exit.TEMPFAIL


class Unavailable(TemporaryError):
    """A dependency cannot be asked at the moment."""

    exit_code = Exit.UNAVAILABLE

    def __init__(self, dependency: Dependency, what: str, *, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.dependency = dependency


class PermanentError(DisintoError):
    """Trying again cannot help until a person changes something."""


class Denied(PermanentError):
    """A dependency understood us and refused: rights or credentials are missing."""

    exit_code = Exit.NOPERM

    def __init__(self, dependency: Dependency, what: str, *, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.dependency = dependency


class Misconfigured(PermanentError):
    """A setting is missing, contradictory or names something that does not exist."""

    exit_code = Exit.CONFIG


class NotFound(PermanentError):
    """What the user named is not there: an action, a file, a log."""

    exit_code = Exit.NOINPUT


class Conflict(PermanentError):
    """A compare-and-set lost: the record is no longer what we read. Read it again and decide
    anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing wrong with an input file, at its place.

    Attributes:
        message: what is wrong, as one sentence without a full stop.
        path: the file, as the user named it.
        line, column: from 1; None if the whole file is meant.
        field: dotted path of the TOML key, such as ``secrets[1]``, or None.
        remedy: what would be right, or None.
    """

    message: str
    path: str
    line: int | None = None
    column: int | None = None
    field: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.path, self.line, self.column) if p is not None)
        text = f"{place}: {self.message}"
        return f"{text}. {self.remedy}" if self.remedy else text


def unexpected(error: BaseException) -> bool:
    """Whether this is a defect of ours: no adapter gave it a meaning. It is no outage, and what
    can be done about it is in nobody's hands but ours.
    """
    return not isinstance(error, DisintoError)


def describe(error: Exception) -> str:
    """An error for people; one that is unexpected names its type, since its text alone may say
    nothing (that of a ``KeyError`` is the key).
    """
    if not unexpected(error):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}. Its traceback is in the log of serve"


def reason_of(error: BaseException) -> str:
    """What a foreign error says, for people: without Python's ``[Errno 111]``, ``[SSL: NAME]`` and
    ``(_ssl.c:1006)``, and never empty.
    """
    text = error.strerror if isinstance(error, OSError) else None
    text = re.sub(r"\[(Errno -?\d+|SSL(: \w+)?)\] | *\(_ssl\.c:\d+\)", "", text or str(error))
    return text.strip() or type(error).__name__


class InvalidValue(PermanentError):
    """A name or a value that a person gave, on the command line or at a prompt, cannot be used."""

    exit_code = Exit.DATAERR


class InvalidInput(PermanentError):
    """An input file has problems; all of them are told at once."""

    exit_code = Exit.DATAERR

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = tuple(problems)


class InvalidSettings(InvalidInput):
    """The settings file, or a variable that stands for a setting, has problems."""

    exit_code = Exit.CONFIG


_MAX_ORIGIN = 200


def origin_of(location: str) -> str:
    """Scheme, host and port of a redirect's target, for an error's text.

    Whoever answered chose the target, so credentials, path, query and what is not printable ASCII
    are left out. "another path" if it names no host.
    """
    from urllib.parse import urlsplit  # seldom needed, and every key press of TAB imports this

    try:
        parts = urlsplit(location)
    except ValueError:
        return "another path"
    if not parts.netloc:
        return "another path"
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return "".join(c for c in origin if c.isascii() and c.isprintable())[:_MAX_ORIGIN]
