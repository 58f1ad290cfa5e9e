"""Runs that an operator asks for by hand: files in the state directory, which ``serve`` takes up.

A request names the attempt, so that it starts one run however often it is read; once an action of that id
exists, the file goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dispatcher.decide.sidecars import run_id

DIRECTORY = "sidecar-requests"
_LIMIT = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """A run that an operator asks for.

    Attributes:
        digest: of what rules look at; see ``dispatcher.decide.forge_issue``.
    """

    project: str
    issue: int
    rule: str
    attempt: int
    digest: str

    @property
    def action_id(self) -> str:
        """Of the action that it becomes."""
        return run_id(self.rule, self.project, self.issue, self.attempt)


def ask_for(state_dir: Path, request: RunRequest) -> None:
    """Leave a request for ``serve``. Raises ``OSError``."""
    folder = state_dir / DIRECTORY
    folder.mkdir(mode=0o700, exist_ok=True)
    part = folder / f".{request.action_id}.{os.getpid()}"
    part.write_text(json.dumps(asdict(request)))
    part.replace(folder / f"{request.action_id}.json")


def requests_in(state_dir: Path) -> dict[Path, RunRequest]:
    """The requests there are, by file; what is no request is left out."""
    found = {}
    for path in sorted((state_dir / DIRECTORY).glob("*.json")):
        request = _parsed(path)
        if request is not None and path.stem == request.action_id:
            found[path] = request
    return found


def _parsed(path: Path) -> RunRequest | None:
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(_LIMIT))
    except (OSError, ValueError):
        return None
    if not isinstance(values, Mapping):
        return None
    project, rule = values.get("project"), values.get("rule")
    issue, attempt, digest = values.get("issue"), values.get("attempt"), values.get("digest")
    if not (isinstance(project, str) and isinstance(rule, str) and isinstance(digest, str)):
        return None
    if not (isinstance(issue, int) and isinstance(attempt, int)):
        return None
    return RunRequest(project=project, issue=issue, rule=rule, attempt=attempt, digest=digest)
