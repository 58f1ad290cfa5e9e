"""The outbox: results that the forge has yet to hear of, as files in the state directory.

What is in it came from this dispatcher's ledger, never from git, where anybody with push rights
can put a file that looks like a result. Losing it costs a report, and nothing else.
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
        result: as it was handed in.
        since: when, in seconds since the epoch.
    """

    result: Result
    since: float


class Outbox:
    """One file per action. Used by one thread.

    Args:
        path: of the directory; made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, unreported: Unreported) -> None:
        """Keep one, also if the process dies.

        Raises:
            OSError: it is not kept.
        """
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._file(unreported.result.id)
        unfinished = file.with_suffix(".new")
        text = json.dumps({"since": unreported.since, "result": unreported.result.to_json()})
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)

    def remove(self, action_id: str) -> None:
        """Keep it no longer."""
        with contextlib.suppress(OSError):
            self._file(action_id).unlink()

    def load(self) -> list[Unreported]:
        """All that are kept, the oldest first. What cannot be read is removed."""
        found = []
        for file in sorted(self._path.glob("*")):
            try:
                kept = json.loads(file.read_text(encoding="utf-8"))
                result = Result.model_validate_json(kept["result"])
                unreported = Unreported(result=result, since=float(kept["since"]))
            except (OSError, ValueError, TypeError, KeyError):
                with contextlib.suppress(OSError):
                    file.unlink()
            else:
                found.append(unreported)
        return sorted(found, key=lambda each: each.since)

    def _file(self, action_id: str) -> Path:
        return self._path / f"{action_id}.json"
