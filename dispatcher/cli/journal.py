"""The journal: what ``serve`` does, as log lines on standard error."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import structlog

from dispatcher.cli.console import clean, coloured, interactive
from dispatcher.model.run import Phase
from dispatcher.status.tracker import Status

LEVELS: Mapping[str, str] = {
    "defect": "error",
    "trouble": "warning",
    "down": "warning",
    "step_failed": "warning",
    "report_failed": "warning",
    "report_given_up": "warning",
    "notify_failed": "warning",
    "notice_refused": "warning",
    "output_not_kept": "warning",
    "lead_lost": "warning",
    "waiting_for_lead": "warning",
    "unfit": "warning",
    "reload_failed": "warning",
    "claim": "debug",
    "judged": "debug",
}
"""Events that are not of level info."""


IN_GIT = "its result was in git already"
"""Events of claims whose run is better known in git than in a restored ledger."""

DEFECTS = 1_000
"""Kinds of unexpected errors whose traceback is logged, each once."""

FRAMES = 30
"""Frames of a traceback that are logged, the innermost."""


class Journal:
    """A watch that writes a line for each event: for people on a terminal, else JSON.

    Args:
        level: debug, info, warning or error.
    """

    def __init__(self, *, level: str) -> None:
        self._level = getattr(logging, level.upper(), logging.INFO)
        person = interactive(sys.stderr)
        render: Any = (
            structlog.dev.ConsoleRenderer(colors=coloured(), pad_event_to=18)
            if person
            else structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
        )
        # For the entire process, so that entries of adapters are included.
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(
                    fmt="%H:%M:%S" if person else "iso", utc=not person
                ),
                render,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
        self._log = structlog.get_logger().bind()
        self._holder = ""
        self._phases: dict[str, Phase] = {}
        self._defects: set[tuple[object, ...]] = set()

    def status(self, status: Status) -> None:
        """Rounds are not logged; what starts and ends in them is."""
        for action_id, claim in status.claims.items():
            if self._phases.get(action_id) is claim.phase:
                continue
            if claim.phase is Phase.SUBMITTED:
                self._log.info("running", action=action_id, run=claim.engine_id)
            elif claim.phase is Phase.ENDED and claim.stopped:
                self._log.info("closed", action=action_id, reason=IN_GIT)
            elif claim.phase is Phase.ENDED:
                self._log.info("ended", action=action_id, **_verdict(claim.result))
        self._phases = {action_id: claim.phase for action_id, claim in status.claims.items()}

    def event(self, name: str, /, **facts: object) -> None:
        """Write a line. Persistent news (another dispatcher leads) is written once."""
        if name == "waiting_for_lead":
            holder = str(facts.get("holder", ""))
            if holder == self._holder:
                return
            self._holder = holder
        else:
            self._holder = ""
        level = LEVELS.get(name, "info")
        if getattr(logging, level.upper()) < self._level:
            return  # most events of a busy dispatcher are for debugging
        told = {key: _plain(value) for key, value in facts.items()}
        if name == "defect" and isinstance(error := facts.get("error"), Exception):
            told |= self._defect(str(facts.get("where", "")), error)
        getattr(self._log, level)(name, **told)

    def _defect(self, where: str, error: Exception) -> dict[str, object]:
        """An unexpected error, with its traceback at the first time: it comes with each retry."""
        facts: dict[str, object] = {"error": _plain(f"{type(error).__name__}: {error}")}
        frames = traceback.extract_tb(error.__traceback__, limit=-1)
        place = [(frame.filename, frame.lineno) for frame in frames]
        kind = (where, type(error), *place)
        if kind not in self._defects and len(self._defects) < DEFECTS:
            self._defects.add(kind)
            lines = traceback.format_exception(error, limit=-FRAMES)
            facts["traceback"] = clean("".join(lines))
        return facts


def _verdict(text: str) -> dict[str, object]:
    """A result's facts for a line."""
    try:
        result = json.loads(text)
    except ValueError:
        return {}
    fields = ("verdict", "exit_code", "error")
    return {key: _plain(result[key]) for key in fields if result.get(key)}


def _plain(value: object) -> object:
    """Errors and enums as text; foreign text without control characters."""
    if isinstance(value, bool | int | float) and type(value) in (bool, int, float):
        return value
    return clean(str(value)).replace("\n", "; ")
