"""What a deploy would do, for ``--plan``. Fetches the branch, and changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatcher.release import lock
from dispatcher.release.application import Application
from dispatcher.release.deployment import Deployment
from dispatcher.release.health import get
from dispatcher.release.records import LEFT
from dispatcher.release.rollout import migration_lines
from dispatcher.release.units import Units

_NEVER_CLONED = "clone, and a first deploy"


def plan(application: Application, units: Units, *, force: bool) -> dict[str, Any]:
    """What would happen, as plain data for ``--json``.

    Raises:
        Held: a deploy runs.
        Unavailable, Misconfigured: the branch cannot be fetched.
        Damaged: a file in ``run/`` cannot be read.
    """
    layout = application.layout
    if not layout.run.is_dir():
        deployment = Deployment.of(application, units, lock=None, echo=_ignore, get=get)
        return _plan(deployment, deployment.checkout.remote_head(), force=force)
    with lock.locked(layout, "plan") as held:
        deployment = Deployment.of(application, units, lock=held, echo=_ignore, get=get)
        known = deployment.checkout.exists
        head = deployment.checkout.fetch() if known else deployment.checkout.remote_head()
        return _plan(deployment, head, force=force)


def lines(record: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    shown = [f"{record['branch']} is at {record['head'][:12]}; safe: {(record['safe_commit'] or 'none yet')[:12]}"]  # fmt: skip
    if record["repair"]:
        shown.append(
            f"first: repair, because the last deploy was interrupted at {record['repair']}"
        )
    if record["failed"]:
        shown.append("this commit failed before: the timer does not deploy it, a person can")
    if record["left"]:
        shown.append(f"this commit was {LEFT}")
    shown += [f"  commit  {each}" for each in record["commits"]]
    shown += record["migrations"]
    shown += [f"  step    {step}" for step in record["steps"]]
    return shown if record["steps"] else [*shown, "nothing to do"]


def _plan(deployment: Deployment, head: str, *, force: bool) -> dict[str, Any]:
    settings, records = deployment.settings, deployment.records
    safe, journal, failure = records.safe_commit(), records.journal(), records.failure()
    left = records.left()
    changes = head != safe or force
    cloned = deployment.checkout.exists and deployment.checkout.has(head)
    return {
        "app": settings.app,
        "branch": settings.branch,
        "head": head,
        "safe_commit": safe or None,
        "repair": (journal.step or "its beginning") if journal else None,
        "failed": failure is not None and failure.commit == head,
        "left": left is not None and head in left.commits,
        "commits": deployment.checkout.commits_between(safe, head) if changes and cloned else [],
        "migrations": migration_lines(deployment, safe, head) if changes and cloned else [],
        "steps": _steps(deployment, head, cloned=cloned) if changes else [],
    }


def _steps(deployment: Deployment, head: str, *, cloned: bool) -> list[str]:
    settings = deployment.settings
    steps = [] if cloned else [_NEVER_CLONED]
    steps += [f"checkout of {head[:12]}"]
    steps += [
        f"dependencies of {name}: {settings.services[name].install}"
        for name in deployment.venvs.missing(head)
    ]
    if settings.migrations is not None:
        steps.append(f"migrations: {settings.migrations.command}")
    if settings.smoke is not None and deployment.run_smoke:
        steps.append(f"smoke test: {settings.smoke.command}")
    steps += [f"restart of {unit}" for unit in settings.units.values()]
    return [*steps, f"health, at most {settings.health.timeout:g} s", "record as safe"]


def _ignore(_line: str) -> None:
    """A plan prints its result alone."""
