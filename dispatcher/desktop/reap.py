"""Finds machines of the project that nothing names any more, and removes them if that is wanted.

What is named is a param: whoever writes the action has read the inventory and verified it. A run could
read the ops repo as well, but could not tell a deleted entry from one that somebody hid. Machines that
are younger than the list are left alone, and so are those of runs that were in progress.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.desktop.cloud import Cloud, Droplet
from dispatcher.desktop.destroy import Removal
from dispatcher.desktop.tags import Tags
from dispatcher.model.times import rfc3339
from dispatcher.provision.reaping import made_before
from dispatcher.provision.reporting import Reporter
from dispatcher.provision.waiting import Clock, Pace, patiently


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is not to be touched.

    Attributes:
        droplets: ids of the machines that entries of the inventory name.
        run_keys: of runs in progress, and of entries that name no machine.
        listed_at: when inventory and runs were read, seconds since the epoch.
    """

    droplets: frozenset[int]
    run_keys: frozenset[str]
    listed_at: float


def leftovers(
    machines: Sequence[Droplet], known: Known, tags: Tags, *, before: float
) -> list[Droplet]:
    """The machines that nothing names, of those that were made before a time; see ``made_before``."""
    return [
        machine
        for machine in machines
        if machine.id not in known.droplets
        and tags.run_key(machine.tags) not in known.run_keys
        and machine.created_at < before
    ]


def reap(
    known: Known, *, remove: bool, cloud: Cloud, clock: Clock, reporter: Reporter, tags: Tags
) -> None:
    """List what is left over, and remove it if that is wanted.

    Raises:
        BadParams: the list is later than now; see ``made_before``.
        StillThere: a machine is still there.
        CloudRefused, CloudBusy, CloudUnclear: the provider does not answer, or refuses.
    """
    before = made_before(known.listed_at, clock.now())
    machines = patiently(lambda: cloud.tagged(tags.all), Pace(cloud, clock, reporter.say))
    found = leftovers(machines, known, tags, before=before)
    reporter.say(f"{len(machines)} machines with the tag {tags.all}, {len(found)} left over")
    for machine in found:
        reporter.say(_line(machine, tags))
    shown = [_shown(machine, tags) for machine in found]
    reporter.outputs({"leftovers": shown, "removed": []})
    if not remove:
        if found:
            reporter.say("nothing was removed: remove is not set")
        return
    only = {machine.id for machine in found}
    removal = Removal(cloud, clock, reporter, tag=tags.all, only=only)
    try:
        removal.run()
    finally:
        reporter.outputs({"leftovers": shown, "removed": removal.removed})


def _line(machine: Droplet, tags: Tags) -> str:
    run = tags.run_key(machine.tags) or "none"
    called = f"droplet {machine.id} {machine.name}" if machine.name else _name(machine)
    return (
        f"  {called}, {machine.ip or '-'} {machine.region or '-'} {machine.size or '-'}, "
        f"created {rfc3339(machine.created_at)}, run {run}"
    )


def _name(machine: Droplet) -> str:
    """A name that is not like ours may quote what is confidential on the machine."""
    return machine.name or f"a machine with an odd name ({machine.id})"


def _shown(machine: Droplet, tags: Tags) -> dict[str, object]:
    return {
        "droplet_id": machine.id,
        "name": _name(machine),
        "ip": machine.ip,
        "run_key": tags.run_key(machine.tags),
        "created_at": rfc3339(machine.created_at),
    }
