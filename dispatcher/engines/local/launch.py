"""Start a runner as a process of its own, cheaply and from any thread."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.engines.base import CannotSubmit
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.errors import Dependency, DisintoError, Unavailable
from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from dispatcher.settings import Settings

_BOOT = "import sys; sys.path += sys.argv.pop(1).split(':'); import dispatcher.runner.__main__"
"""Without ``site`` the interpreter starts in two thirds of the time, and nothing is imported
from the operator's environment or working directory."""

_PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@cache
def command() -> tuple[str, ...]:
    """The runner's command line without its options; works for every way to install."""
    paths: dict[str, None] = {}
    for package in ("dispatcher", "ahocorasick_rs"):
        spec = find_spec(package)
        if spec is None or not spec.origin:
            raise ModuleNotFoundError(package)
        paths[str(Path(spec.origin).parents[1])] = None
    return (sys.executable, "-I", "-S", "-c", _BOOT, ":".join(paths))


def environment(settings: Settings) -> dict[str, str]:
    """The runner's environment; the formula gets only PATH of it."""
    env = {"PATH": settings.section(LocalSettings).path, "LANG": "C.UTF-8"}
    env |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if settings.vault.cacert is not None:
        env["VAULT_CACERT"] = str(settings.vault.cacert.absolute())
    return env


def launch(
    spool: Spool, payload: bytes, *, lock: int, settings: Settings, sandbox: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Start the runner of a run.

    Args:
        payload: handed over through memory: never in arguments, the environment or a file, and
            complete before the runner begins.
        lock: descriptor of the held lock; the runner gets a copy.
        sandbox: command line prefixed to the formula's, or empty.

    Raises:
        OSError: no process could be created.
    """
    options = [
        "--spool", str(spool.path),
        "--lock-fd", str(lock),
        "--log-limit", str(settings.section(LocalSettings).log_limit_mb * 1024 * 1024),
    ]  # fmt: skip
    if sandbox:
        options += ["--", *sandbox]
    memory = os.memfd_create("payload", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(payload)
        os.lseek(memory, 0, os.SEEK_SET)
        with (spool.path / "runner.log").open("ab") as messages:
            return subprocess.Popen(
                [*command(), *options],
                stdin=memory,
                stdout=messages,
                stderr=messages,
                cwd="/",
                env=environment(settings),
                pass_fds=(lock,),
                start_new_session=True,
            )
    finally:
        os.close(memory)


_INPUT_ERRORS = (errno.ENAMETOOLONG, errno.E2BIG)
"""Errors caused by a name or an argument rather than by the machine."""


def not_startable(spool: Spool, error: OSError | ValueError) -> DisintoError:
    """Why no runner could be started: permanently, or until the machine has the resources."""
    if isinstance(error, ValueError) or error.errno in _INPUT_ERRORS:
        why = str(error) if isinstance(error, ValueError) else error.strerror
        return CannotSubmit(
            f"no runner can be started in {spool.path}: {why}",
            verdict=Verdict.INVALID,
            remedy="Shorten the action's input, or the path of the state directory.",
        )
    return Unavailable(
        Dependency.SCHEDULER,
        f"no runner could be started in {spool.path}: {error.strerror}",
        remedy="Check free memory, processes and disk space of this machine.",
    )
