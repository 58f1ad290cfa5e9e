"""What a machine reports about itself while it is set up, at ``https://<IP>/disinto/status.json``.

nginx serves it from early in the first boot. Whoever has the machine may put anything there, also its own
credentials in a code that nobody knows. So all of it but the end of the log has a closed vocabulary, and
decides on nothing but what is shown, and when waiting is pointless; and the end of the log is shown only
of a machine that is gone (``create``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from dispatcher.provision.confidential import printable

REPORT_PATH = "/disinto/status.json"
REPORT_LIMIT = 64 * 1024
"""Bytes of a report; a larger one is none."""

FAILED = "failed"
"""Stage of a machine whose setup ended and cannot succeed."""

STAGES = frozenset(
    ("installing-packages", "starting-guacamole", "configuring-https", "final-health-check", FAILED)
)
"""What a machine may report as its stage."""

TAIL_LINES = 20
LINE_LENGTH = 300
LOG_PATH = "/var/log/disinto-desktop.log"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One report.

    Attributes:
        stage: a stage of the setup, or ``FAILED``; "" for any other.
        vnc, guacamole: whether they answer on the machine's loopback.
        log_tail: last lines of the log, printable and cut; free text.
        apps_failed: names of apps that could not be installed; whoever reads them knows which there may be.
    """

    stage: str = ""
    vnc: bool = False
    guacamole: bool = False
    log_tail: tuple[str, ...] = field(default=(), repr=False)
    apps_failed: tuple[str, ...] = field(default=(), repr=False)


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
        stage=_stage(value.get("stage")),
        vnc=value.get("vnc") is True,
        guacamole=value.get("guacamole") is True,
        log_tail=_lines(value.get("log_tail")),
        apps_failed=_lines(value.get("apps_failed")),
    )


def _lines(value: object) -> tuple[str, ...]:
    lines = [line for line in value if isinstance(line, str)] if isinstance(value, list) else []
    return tuple(printable(line, limit=LINE_LENGTH) for line in lines[-TAIL_LINES:])


def _stage(value: object) -> str:
    return value if isinstance(value, str) and value in STAGES else ""
