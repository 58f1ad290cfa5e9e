"""``logs/deploy.log``: every step with its time and output; values of the env files are masked."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.release.deploy_env import values

if TYPE_CHECKING:
    from dispatcher.runner.redact import Redactor, Secrets

LIMIT = 10 * 1024 * 1024
"""Bytes after which the log is renamed to ``deploy.log.1``, at the start of a deploy."""

_SHORTEST = 4
_SECRETIVE = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|PIN\b", re.IGNORECASE)
_TAIL = 600


def secrets_in(files: Iterable[Path]) -> Secrets:
    """The values to mask. Those of fewer than four characters are left out, such as ``1``, unless the
    name suggests a secret.
    """
    from dispatcher.runner.redact import (
        Secrets,
    )  # takes longer to load than a deploy without changes

    masked: dict[str, bytes] = {}
    for path in files:
        with suppress(OSError, UnicodeDecodeError):
            masked |= _masked(values(path.read_text("utf-8")))
    return Secrets(masked)


def _masked(variables: Mapping[str, str]) -> dict[str, bytes]:
    return {
        name: value.encode()
        for name, value in variables.items()
        if len(value) >= _SHORTEST or (value and _SECRETIVE.search(name))
    }


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

    def feed(self, data: bytes) -> None:
        """More of it."""
        self._lines(self._redactor.feed(data))

    def finish(self) -> None:
        """It has ended."""
        self._lines(self._redactor.finish())
        if self._rest:
            self._lines(b"\n")

    def _lines(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        shown = [line.decode("utf-8", "replace").rstrip() for line in whole]
        if shown:
            self.tail = "\n".join([self.tail, *shown])[-_TAIL:]
            self._log._write(f"  | {line}" for line in shown)
