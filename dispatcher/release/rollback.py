"""The return to the safe commit, after a failure, after an interruption, and after a power cut."""

from __future__ import annotations

from dispatcher.errors import DisintoError
from dispatcher.release.change import Change
from dispatcher.release.health import Unhealthy, states
from dispatcher.release.machine import Machine
from dispatcher.release.records import Journal


def roll_back(machine: Machine, change: Change, reason: str, *, rewrite: bool) -> None:
    """Return to the safe commit; without one, leave the services stopped.

    Needs no network, as long as the environments of the safe commit are there.

    Args:
        machine: what is changed.
        change: the one that failed, or that its journal says was interrupted.
        reason: for the log.
        rewrite: write every file of the checkout anew, since some may have been lost.

    Raises:
        DisintoError, OSError: the machine is not on the safe commit; its journal stays, so the next
            deploy tries again.
    """
    first_attempt = not change.journal.rolling_back
    change.note(rolling_back=True, reason=reason)
    safe = change.journal.safe
    if not safe:
        machine.log.line("there is no safe commit to return to: the services are stopped")
        with change.step("stop"):
            for unit in reversed(list(machine.settings.units.values())):
                machine.units.stop(unit)
        return
    machine.log.line(f"returns to {safe[:12]}: {reason}")
    down_error = _down(change)
    change.checkout(safe, rewrite=rewrite)
    change.dependencies(safe)
    with change.step("env"):
        for line in machine.env.restore(safe):
            machine.log.line(line)
    change.stamp(safe, change.journal.safe_version)
    units = _to_restart(machine, change.journal, down_failed=down_error is not None)
    if units:
        change.restart(units)
    try:
        change.health()
    except Unhealthy:
        if units or not first_attempt or change.journal.migration_failed or down_error:
            raise
        change.restart(machine.settings.units.values())
        change.health()
    if down_error is not None:
        raise down_error


def _down(change: Change) -> DisintoError | None:
    """Undo migrations; an error is returned, because the code is put back nevertheless."""
    try:
        change.down()
    except DisintoError as error:
        return error
    return None


def _to_restart(machine: Machine, journal: Journal, *, down_failed: bool) -> list[str]:
    """Units that do not run the safe commit, or may not. After a failed migration none is started on a
    database of unknown state, except those that have started since, such as by a boot.
    """
    if down_failed:
        machine.log.line("the down command failed: no service is restarted")
        return []
    units = list(machine.settings.units.values())
    if journal.restarting:
        return units
    now = states(machine.settings, machine.units)
    started = [unit for unit in units if now.get(unit) not in (None, journal.invocations.get(unit))]
    if journal.migration_failed:
        machine.log.line("a migration failed: no service is restarted that runs as before")
        return started
    return [unit for unit in units if unit in started or unit not in now]
