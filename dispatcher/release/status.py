"""What is deployed, what happened last, and the state of the services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dispatcher.errors import DisintoError
from dispatcher.model.times import rfc3339
from dispatcher.release.application import Application
from dispatcher.release.layout import Layout
from dispatcher.release.lock import holder
from dispatcher.release.records import LEFT, Last, Records
from dispatcher.release.units import Units


def status(application: Application, units: Units) -> dict[str, Any]:
    """The state as plain data, for ``--json``.

    Raises:
        Damaged: a file in ``run/`` cannot be read.
    """
    layout, settings = application.layout, application.settings
    records = Records(layout)
    safe = records.safe_commit()
    release = records.releases().find(safe)
    running, journal = _running(layout), records.journal()
    failure, left, last = records.failure(), records.left(), records.last()
    return {
        "app": settings.app,
        "root": str(layout.root),
        "branch": settings.branch,
        "safe_commit": safe or None,
        "version": release.version if release else None,
        "running": running or None,
        "interrupted": journal.step if journal and not running else None,
        "requested": layout.requested.exists(),
        "failed": {**failure.model_dump(), "at": rfc3339(failure.at)} if failure else None,
        "left": {**left.model_dump(mode="json"), "at": rfc3339(left.at)} if left else None,
        "last": shown(last) if last else None,
        "services": [_service(name, unit, units) for name, unit in settings.units.items()],
    }


def _running(layout: Layout) -> str:
    """Who deploys now; "" if nobody does."""
    if layout.lock.exists() and not os.access(layout.lock, os.R_OK):
        return "unknown: only the deploy user and root can see it"
    return str(holder(layout) or "")


def shown(last: Last) -> dict[str, Any]:
    """How a deploy ended, for ``--json``."""
    times = {"started": rfc3339(last.started), "ended": rfc3339(last.ended)}
    return last.model_dump(mode="json") | times


def lines(record: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    safe, failed, last = record["safe_commit"], record["failed"], record["last"]
    left = [commit[:12] for commit in (record["left"] or {}).get("commits", ())]
    shown = [
        ("application", f"{record['app']} in {record['root']}, branch {record['branch']}"),
        ("safe commit", f"{safe[:12]}  {record['version'] or ''}" if safe else "none yet"),
        ("running", record["running"] or ""),
        ("interrupted", _interrupted(record["interrupted"])),
        ("failed", f"{failed['commit'][:12]} at {failed['step']}: {failed['reason']}" if failed else ""),
        ("left", f"{', '.join(left)}: {LEFT}" if left else ""),
        ("last", f"{last['outcome']} {last['ended']}: {last['message']}" if last else ""),
    ]  # fmt: skip
    out = [f"{label:<14}{text}".rstrip() for label, text in shown if text]
    out += [f"{'service':<14}{each['unit']}  {each['state']}" for each in record["services"]]
    return out


def _interrupted(step: str | None) -> str:
    return f"a deploy at {step}; the next one repairs the machine" if step else ""


def _service(name: str, unit: str, units: Units) -> dict[str, Any]:
    try:
        state = "active" if units.state(unit).active else "not active"
    except DisintoError as error:
        state = f"unknown: {error.what.splitlines()[0]}"
    return {"name": name, "unit": unit, "state": state}
