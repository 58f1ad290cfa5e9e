"""What a machine reports about itself while it is set up, at ``https://<IP>/disinto/status.json``.

nginx serves it from early in the first boot. Whoever has the machine may put anything there: it is
bounded and checked, and decides on nothing but what is shown, and when waiting is pointless.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

REPORT_PATH = "/disinto/status.json"
REPORT_LIMIT = 64 * 1024
"""Bytes of a report; a larger one is none."""

FAILED = "failed"
"""Stage of a machine whose setup ended and cannot succeed."""

TAIL_LINES = 20
LINE_LENGTH = 300
LOG_PATH = "/var/log/disinto-desktop.log"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One report.

    Attributes:
        stage: a stage of the life cycle, or ``FAILED``; another one counts as none.
        vnc, guacamole: whether they answer on the machine's loopback.
        log_tail: last lines of the log, escaped and cut.
        log_path: where the whole log is, on the machine.
        apps_failed: names of apps that could not be installed.
    """

    stage: str = ""
    vnc: bool = False
    guacamole: bool = False
    log_tail: tuple[str, ...] = ()
    log_path: str = LOG_PATH
    apps_failed: tuple[str, ...] = ()


def parse_report(data: bytes) -> Report | None:
    """A report, or None if it is none."""
    if len(data) > REPORT_LIMIT:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return Report(
        stage=_shown(value.get("stage")),
        vnc=value.get("vnc") is True,
        guacamole=value.get("guacamole") is True,
        log_tail=_lines(value.get("log_tail")),
        log_path=_shown(value.get("log_path")) or LOG_PATH,
        apps_failed=_lines(value.get("apps_failed")),
    )


def _lines(value: object) -> tuple[str, ...]:
    lines = [line for line in value if isinstance(line, str)] if isinstance(value, list) else []
    return tuple(_shown(line) for line in lines[-TAIL_LINES:])


def _shown(value: object) -> str:
    """A text without what a terminal would act on."""
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else "?" for c in text[:LINE_LENGTH])
