"""The systemd units of an application.

The deploy user may run exactly the commands that ``privileged`` returns, by a generated sudoers file;
everything else here needs no rights.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from dispatcher.errors import PermanentError
from dispatcher.release.captured import captured, ended_wrongly

SYSTEMCTL = "/usr/bin/systemctl"
VERBS = ("restart", "stop", "reset-failed")
"""What the deploy user may do with a unit of a service."""

_TIMEOUT_S = 180.0
_SHOWN = ("ActiveState", "InvocationID", "ActiveEnterTimestamp")


class UnitFailed(PermanentError):
    """A unit could not be restarted, stopped or queried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitState:
    """The state of a unit.

    Attributes:
        active: whether it runs.
        failed: whether it ended with a failure and systemd does not restart it.
        invocation: id of this run of the unit, which changes with each start; "" if it never ran.
        since: when it became active, seconds since the epoch; 0.0 if unknown.
    """

    active: bool
    failed: bool = False
    invocation: str = ""
    since: float = 0.0


class Units(Protocol):
    """Restarts and queries units. ``Systemd`` does; tests have fakes."""

    def restart(self, unit: str) -> None:
        """Stop the unit if it runs, and start it. Returns when systemd reports it as started.

        Raises:
            UnitFailed: it did not start, or the right to restart it is missing.
        """

    def stop(self, unit: str) -> None:
        """Stop the unit; nothing happens if it does not run.

        Raises:
            UnitFailed: it could not be stopped.
        """

    def state(self, unit: str) -> UnitState:
        """What the unit does now.

        Raises:
            UnitFailed: systemd cannot be queried.
        """


def privileged(verb: str, unit: str) -> tuple[str, ...]:
    """The command for one of ``VERBS``, as the sudoers file has to allow it."""
    return (SYSTEMCTL, verb, unit)


class Systemd:
    """The units of this machine."""

    def restart(self, unit: str) -> None:
        """See ``Units``."""
        # Or else a release that failed several times uses up the unit's start limit, and the safe commit
        # is not started. The command fails if systemd has not loaded the unit, which then has no limit.
        with suppress(UnitFailed):
            self._change("reset-failed", unit)
        self._change("restart", unit)

    def stop(self, unit: str) -> None:
        """See ``Units``."""
        self._change("stop", unit)

    def state(self, unit: str) -> UnitState:
        """See ``Units``."""
        properties = ",".join(_SHOWN)
        shown = _run((SYSTEMCTL, "show", "--timestamp=unix", f"--property={properties}", unit))
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        since = values.get("ActiveEnterTimestamp", "").removeprefix("@")
        return UnitState(
            active=values.get("ActiveState") == "active",
            failed=values.get("ActiveState") == "failed",
            invocation=values.get("InvocationID", ""),
            since=float(since) if since.isdigit() else 0.0,
        )

    def _change(self, verb: str, unit: str) -> None:
        command = privileged(verb, unit)
        _run(command if os.geteuid() == 0 else ("sudo", "-n", *command))


def _run(command: Sequence[str]) -> str:
    done = captured(command, timeout_s=_TIMEOUT_S, failure=UnitFailed)
    if done.returncode:
        raise UnitFailed(
            ended_wrongly(done),
            remedy="'journalctl -u UNIT' shows why; 'disinto release doctor' checks the rights.",
        )
    return done.stdout
