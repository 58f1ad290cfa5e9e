"""The return to the safe commit, after a failure, after an interruption, and after a power cut."""

from __future__ import annotations

from dispatcher.errors import DisintoError
from dispatcher.release.deployment import Deployment
from dispatcher.release.health import Unhealthy, states
from dispatcher.release.records import Journal
from dispatcher.release.transition import Transition


def restore(deployment: Deployment, transition: Transition, reason: str, *, rewrite: bool) -> None:
    """Return to the safe commit; without one, leave the services stopped.

    Needs no network, as long as the environments of the safe commit are there.

    Args:
        deployment: what it works with.
        transition: the one that failed, or that its journal says was interrupted.
        reason: for the log.
        rewrite: write every file of the checkout anew, since some may have been lost.

    Raises:
        DisintoError, OSError: the machine is not on the safe commit; its journal stays, so the next
            deploy tries again.
    """
    first_attempt = not transition.journal.restoring
    transition.note(restoring=True, reason=reason)
    safe = transition.journal.safe
    if not safe:
        deployment.log.line("there is no safe commit to return to: the services are stopped")
        with transition.step("stop"):
            for unit in reversed(list(deployment.settings.units.values())):
                deployment.units.stop(unit)
        return
    deployment.log.line(f"returns to {safe[:12]}: {reason}")
    down_error = _down(transition)
    transition.checkout(safe, rewrite=rewrite)
    if absent := _absent(deployment, safe):
        deployment = transition.leave_out(absent)
    transition.dependencies(safe)
    with transition.step("env"):
        for line in deployment.env.restore(safe):
            deployment.log.line(line)
    transition.stamp(safe, transition.journal.safe_version)
    units = _to_restart(deployment, transition.journal, down_failed=down_error is not None)
    if units:
        transition.restart(units)
    try:
        transition.health()
    except Unhealthy:
        if units or not first_attempt or transition.journal.migration_failed or down_error:
            raise
        transition.restart(deployment.settings.units.values())
        transition.health()
    if down_error is not None:
        raise down_error


def _down(transition: Transition) -> DisintoError | None:
    """Undo migrations; an error is returned, because the code is put back nevertheless."""
    try:
        transition.down()
    except DisintoError as error:
        return error
    return None


def _absent(deployment: Deployment, safe: str) -> list[str]:
    """Services that release.toml has got since the safe commit was deployed."""
    settings, release = deployment.settings, deployment.records.releases().find(safe)
    if release is not None and release.units:
        found = [name for name, unit in settings.units.items() if unit not in release.units]
    else:
        source, missing = deployment.layout.source, deployment.venvs.missing(safe)
        found = [
            name for name in missing if not (source / settings.services[name].directory).is_dir()
        ]
    return found if len(found) < len(settings.services) else []


def _to_restart(deployment: Deployment, journal: Journal, *, down_failed: bool) -> list[str]:
    """Units that do not run the safe commit, or may not. After a failed migration none is started on a
    database of unknown state, except those that have started since, such as by a boot.
    """
    if down_failed:
        deployment.log.line("the down command failed: no service is restarted")
        return []
    units = list(deployment.settings.units.values())
    if journal.restarting:
        return units
    now = states(deployment.settings, deployment.units)
    started = [unit for unit in units if now.get(unit) not in (None, journal.invocations.get(unit))]
    if journal.migration_failed:
        deployment.log.line("a migration failed: no service is restarted that runs as before")
        return started
    return [unit for unit in units if unit in started or unit not in now]
