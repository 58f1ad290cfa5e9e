"""What a run leaves for others: progress, and the inventory entry in its outputs.

The entry is written before anything is made, and taken back once nothing is left. So a run
that is killed in between still names what it may have made, and that can be destroyed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dispatcher.provision.confidential import printable

_LINE_LIMIT = 4000


class Stage(Protocol):
    """What is shown of a life cycle."""

    @property
    def value(self) -> str: ...

    @property
    def percent(self) -> int: ...


class Reporter(Protocol):
    """Where a run reports."""

    def progress(self, stage: Stage, detail: str = "") -> None: ...

    def say(self, text: str) -> None:
        """One line of the run's output."""

    def outputs(self, value: Mapping[str, object] | None) -> None:
        """Replace the outputs; None for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReporter:
    """Reports as a formula does.

    Attributes:
        progress_path, outputs_path: ``$DISINTO_PROGRESS`` and ``$DISINTO_OUTPUTS``; None for none.
    """

    progress_path: Path | None
    outputs_path: Path | None

    def progress(self, stage: Stage, detail: str = "") -> None:
        if self.progress_path is None:
            return
        line = json.dumps({"stage": stage.value, "percent": stage.percent, "detail": detail})
        # A run does not fail because its progress cannot be shown.
        with suppress(OSError), self.progress_path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def say(self, text: str) -> None:
        print(printable(text, limit=_LINE_LIMIT), flush=True)  # noqa: T201 - the output of a formula

    def outputs(self, value: Mapping[str, object] | None) -> None:
        if self.outputs_path is None:
            return
        if value is None:
            self.outputs_path.unlink(missing_ok=True)
            return
        unfinished = self.outputs_path.with_name(self.outputs_path.name + ".new")
        unfinished.write_text(json.dumps(value), "utf-8")
        unfinished.replace(self.outputs_path)
