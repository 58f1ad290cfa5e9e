"""``logs/deploy.log``: every step with its time and output; values of the env files are masked."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dispatcher.release.env_file import values

if TYPE_CHECKING:
    from dispatcher.runner.redact import Redactor, Secrets

LIMIT = 10 * 1024 * 1024
"""Bytes after which the log is renamed to ``deploy.log.1``, at the start of a deploy."""

_SHORTEST = 4
_SECRETIVE = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|PIN\b", re.IGNORECASE)
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s:@]*:([^/?#\s]+)@")
_TAIL = 600
_LINE = 8192
"""Bytes of a line of output; a longer one is continued on the next."""

OUTPUT_LIMIT = 4 * 1024 * 1024
"""Bytes of one command's output that are logged, and its end."""


def secrets_in(files: Iterable[Path]) -> Secrets:
    """The values to mask. Those of fewer than four characters are left out, such as ``1``, unless the
    name suggests a secret.
    """
    from dispatcher.runner.redact import (
        Secrets,
    )  # takes longer to load than a deploy without changes

    masked: dict[str, bytes] = {}
    for path in files:
        with suppress(OSError):
            # Of a file that is not UTF-8, the rest is masked nevertheless.
            variables = values(path.read_bytes().decode("utf-8", "surrogateescape"))
            for name, value in (*_passwords(variables), *_masked(variables)):
                masked[_unused(name, value, masked)] = value
    return Secrets(masked)


def _unused(name: str, value: bytes, masked: Mapping[str, bytes]) -> str:
    """The name under which a value is masked: files may have different values of one name."""
    numbered = (name if n == 1 else f"{name} ({n})" for n in count(1))
    return next(each for each in numbered if masked.get(each, value) == value)


def _masked(variables: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for name, value in variables.items():
        if len(value) >= _SHORTEST or (value and _SECRETIVE.search(name)):
            yield name, value.encode("utf-8", "surrogateescape")


def _passwords(variables: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Passwords in URLs, such as that of a database, which programs print without the rest."""
    for name, value in variables.items():
        for found in _PASSWORD.findall(value):
            for password in (found, unquote(found, errors="surrogateescape")):
                if len(password) >= _SHORTEST:
                    yield name, password.encode("utf-8", "surrogateescape")


class Log:
    """The log of one deploy. Writing it never fails: on a full disk, lines are missing. Nor does it matter
    whether anybody reads the echo.

    Args:
        path: of the file.
        masked: env files whose values are masked, as they are at the first line.
        echo: gets each line, too.
    """

    def __init__(self, path: Path, masked: Iterable[Path], echo: Callable[[str], None]) -> None:
        self._path = path
        self._masked_files = tuple(masked)
        self._echo = echo
        with suppress(OSError):
            if path.stat().st_size > LIMIT:
                path.replace(path.with_name(path.name + ".1"))

    @cached_property
    def secrets(self) -> Secrets:
        """What to mask. A deploy that finds nothing to do never needs it."""
        return secrets_in(self._masked_files)

    def line(self, text: str) -> None:
        """A line of our own."""
        self._write([self.secrets.redact_text(text)])

    def output(self) -> Output:
        """For the output of one command."""
        return Output(self)

    def _write(self, lines: Iterable[str]) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        stamped = [f"{at}  {line}" for line in lines]
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(f"{line}\n" for line in stamped)
        with suppress(OSError):  # whoever watched by SSH may be gone
            for line in stamped:
                self._echo(line)


class Output:
    """The output of one command, as it arrives.

    Attributes:
        tail: its end, masked, for messages.
    """

    def __init__(self, log: Log) -> None:
        self.tail = ""
        self._log = log
        self._redactor: Redactor = log.secrets.redactor()
        self._rest = b""
        self._left = OUTPUT_LIMIT

    def feed(self, data: bytes) -> None:
        """More of it."""
        self._lines(self._redactor.feed(data))

    def finish(self) -> None:
        """It has ended."""
        self._lines(self._redactor.finish())
        if self._rest:
            self._lines(b"\n")
        if self._left < 0:
            self._log._write([f"  | … {-self._left} bytes of output are left out; it ends with:"])
            self._log._write(f"  | {line}" for line in self.tail.splitlines())

    def _lines(self, data: bytes) -> None:
        *whole, rest = (self._rest + data).split(b"\n")
        whole += (rest[at : at + _LINE] for at in range(0, len(rest) - _LINE, _LINE))
        self._rest = rest[(len(rest) - 1) // _LINE * _LINE :] if rest else b""
        shown = [line.decode("utf-8", "replace").rstrip() for line in whole]
        if not shown:
            return
        self.tail = "\n".join([self.tail, *shown[-_TAIL:]])[-_TAIL:]
        if self._left >= 0:
            self._log._write(f"  | {line}" for line in shown)
        self._left -= sum(map(len, whole)) + len(whole)
