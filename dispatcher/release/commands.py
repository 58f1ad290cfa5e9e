"""Runs the commands of a deploy: git, installs, migrations, smoke tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from dispatcher.errors import Exit, PermanentError, reason_of
from dispatcher.host.marked import kill_marked, marking
from dispatcher.release.lock import Lock
from dispatcher.release.log import Log, Output

_CHUNK = 64 * 1024
_DRAIN_S = 10.0
_KEPT = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "TZ", "USER")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE")
_TOOLS = ("UV_", "PIP_")


class CommandFailed(PermanentError):
    """A command ended with another exit code than 0, or too late.

    Attributes:
        output: the end of its output, masked.
    """

    exit_code = Exit.IOERR

    def __init__(self, what: str, *, output: str = "", remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.output = output


class Commands:
    """Runs commands one at a time; their output goes to the log.

    Args:
        log: of the deploy.
        lock: which commands inherit; None while nothing is changed.
        mark: of what commands start, so that it is found and killed after them: the application's root.
    """

    def __init__(self, log: Log, lock: Lock | None, *, mark: Path) -> None:
        self.log = log
        self._lock = lock
        self._mark = str(mark)

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        timeout_s: float,
        name: str,
        sweep: bool = False,
    ) -> None:
        """Run a command to its end. What it left running in its process group is killed.

        Args:
            environ: its whole environment, see ``base_environment``.
            timeout_s: seconds after which it is killed.
            name: of the command in messages.
            sweep: kill what it left running elsewhere, too.

        Raises:
            CommandFailed: it did not succeed.
        """
        output = self.log.output()
        try:
            with marking(self._mark):
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=dict(environ),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=() if self._lock is None else (self._lock.descriptor,),
                )
        except OSError as error:
            where = f"{cwd}: " if error.filename == str(cwd) else ""
            raise CommandFailed(f"{name}: {where}{reason_of(error)}") from None
        assert process.stdout is not None  # noqa: S101 - as asked above
        reader = threading.Thread(target=_copy, args=(process.stdout, output), daemon=True)
        reader.start()
        try:
            if self._lock is not None:
                self._lock.runs(process.pid)
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{name}: timed out after {timeout_s:g} s") from None
        finally:
            _kill_group(process.pid)
            process.wait()
            if sweep:
                kill_marked(self._mark)
            reader.join(_DRAIN_S)
            if self._lock is not None:
                self._lock.runs(0)
        if code:
            last = next((line for line in reversed(output.tail.splitlines()) if line.strip()), "")
            shown = f": {last.strip()}" if last else ""
            raise CommandFailed(f"{name}: {_ended(code)}{shown}", output=output.tail)

    def shell(self, text: str, *, cwd: Path, environ: Mapping[str, str], timeout_s: float) -> None:
        """Run a command line of release.toml by /bin/sh. Nothing that it started is left. See ``run``."""
        command = ("/bin/sh", "-ec", text)
        self.run(command, cwd=cwd, environ=environ, timeout_s=timeout_s, name=text, sweep=True)


def base_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What commands inherit of our environment: paths, locale, proxies and the settings of uv and pip. The
    programs installed beside disinto come first, as in the unit, also for whoever deploys by hand.
    """
    proxies = {name for each in _PROXIES for name in (each, each.lower())}
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name in proxies or name.startswith(_TOOLS)
    }
    path = environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return kept | {"PATH": f"{Path(sys.executable).parent}:{path}"}


def _ended(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _copy(stream: IO[bytes], output: Output) -> None:
    with stream:
        while data := os.read(stream.fileno(), _CHUNK):
            output.feed(data)
    output.finish()
