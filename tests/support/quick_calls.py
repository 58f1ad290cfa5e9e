"""Commands that must not load what takes long to load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SLOW_TO_LOAD = (
    "pydantic", "httpx", "urllib3", "hvac", "structlog", "rich", "jinja2", "tenacity", "asyncio",
    "cryptography", "tomli", "logging", "http.client", "tempfile", "getpass", "dispatcher.settings",
    "dispatcher.ops_repo", "dispatcher.decide.reconcile", "dispatcher.model.action", "dispatcher.model.result",
)  # fmt: skip


def called(
    *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The command in a process of its own, and what of ``SLOW_TO_LOAD`` it loaded."""
    program = (
        "import sys, json; from dispatcher.__main__ import main; code = main();"
        f"slow = [m for m in {SLOW_TO_LOAD!r} if m in sys.modules];"
        "print('\\n' + json.dumps(slow), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd=cwd,
    )
    *said, slow = done.stderr.splitlines()
    done.stderr = "\n".join(said)
    return done, json.loads(slow)
