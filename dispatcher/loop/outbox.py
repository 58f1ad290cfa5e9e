"""The outbox: results not yet reported to the forge, as files in the state directory.

Its content comes from this dispatcher's ledger, never from git, where anybody with push rights can
add a file that looks like a result. Losing it costs a report, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from dispatcher.model.result import Result

NAME = "forge-reports"
"""Of the directory, below the state directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreported:
    """A result that is to be reported.

    Attributes:
        result: the result.
        since: when it was put into the outbox, seconds since the epoch.
    """

    result: Result
    since: float


class Outbox:
    """One file per action. Used by one thread.

    Args:
        path: of the directory; created when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, unreported: Unreported) -> None:
        """Store one, so that it survives the process.

        Raises:
            OSError: it is not stored.
        """
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._file(unreported.result.id)
        unfinished = file.with_suffix(".new")
        text = json.dumps({"since": unreported.since, "result": unreported.result.to_json()})
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)

    def remove(self, action_id: str) -> None:
        """Remove the entry of an action."""
        with contextlib.suppress(OSError):
            self._file(action_id).unlink()

    def load(self) -> list[Unreported]:
        """All entries, the oldest first. Files that cannot be read are removed."""
        unreported_results = []
        for file in sorted(self._path.glob("*")):
            try:
                entry = json.loads(file.read_text(encoding="utf-8"))
                result = Result.model_validate_json(entry["result"])
                unreported = Unreported(result=result, since=float(entry["since"]))
            except (OSError, ValueError, TypeError, KeyError):
                with contextlib.suppress(OSError):
                    file.unlink()
            else:
                unreported_results.append(unreported)
        return sorted(unreported_results, key=lambda each: each.since)

    def _file(self, action_id: str) -> Path:
        return self._path / f"{action_id}.json"
