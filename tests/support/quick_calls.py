"""Commands that must not load what takes long to load."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SLOW_TO_LOAD = (
    "pydantic", "httpx", "urllib3", "hvac", "structlog", "rich", "jinja2", "tenacity", "asyncio",
    "cryptography", "tomli", "logging", "http.client", "tempfile", "getpass", "dispatcher.settings",
    "dispatcher.ops_repo", "dispatcher.decide.reconcile", "dispatcher.model.action", "dispatcher.model.result",
)  # fmt: skip
"""Never needed beside a ``serve`` that has written down what is wanted."""

NOT_FOR_AN_ANSWER = (
    *SLOW_TO_LOAD, "click", "dataclasses", "inspect", "typing", "pathlib", "tomllib", "subprocess", "threading",
    "contextlib", "datetime", "shutil", "tokenize", "urllib.parse", "dispatcher.errors", "dispatcher.cli.edge",
    "dispatcher.cli.console", "dispatcher.settings_origin", "dispatcher.status.status_file",
    "dispatcher.status.questions", "dispatcher.engines", "dispatcher.model.run",
)  # fmt: skip
"""Besides, when ``serve`` answers."""


def called(
    *words: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    slow: tuple[str, ...] = SLOW_TO_LOAD,
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The command in a process of its own, and what of ``slow`` it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", program(slow), *words],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd=cwd,
    )
    *said, loaded = done.stderr.splitlines()
    done.stderr = "\n".join(said)
    return done, json.loads(loaded)


def on_terminal(
    *words: str, columns: int, env: Mapping[str, str] | None = None, slow: tuple[str, ...]
) -> tuple[str, list[str]]:
    """What the command shows on a terminal, and what of ``slow`` it loaded."""
    ours, its = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **(env or {})}
    with subprocess.Popen(
        [sys.executable, "-c", program(slow), *words],
        env=environ,
        stdout=its,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(its)
        shown = b""
        while data := _read(ours):
            shown += data
        assert process.stderr is not None
        *_, loaded = process.stderr.read().decode().splitlines()
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), json.loads(loaded)


def program(slow: tuple[str, ...]) -> str:
    """Python that runs the command and then prints on standard error what of ``slow`` it loaded."""
    return (
        "import sys; from dispatcher.__main__ import main; code = main();"
        f"slow = [m for m in {slow!r} if m in sys.modules];"
        "import json; print('\\n' + json.dumps(slow), file=sys.stderr); sys.exit(code)"
    )


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other end is closed
        return b""
