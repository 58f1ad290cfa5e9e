"""Removal of what ``disinto apply`` registered with Nomad.

The ledger's variables stay: they record which ids ran. So do finished runs that Nomad still lists.
"""

from __future__ import annotations

from collections.abc import Iterator

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.apply import Registered, acl_enabled, parent_of, registered
from dispatcher.engines.nomad.render import (
    acl_policies,
    parent_name,
)
from dispatcher.engines.nomad.settings import NomadSettings, dispatcher_name, page_name
from dispatcher.errors import Conflict
from dispatcher.model.checks import Change, Step
from dispatcher.settings import Settings

JOB, POLICY = "nomad job", "nomad acl policy"


def plan_removal(api: NomadApi, settings: Settings) -> tuple[Change, ...]:
    """Deletions in order: jobs first, then the permissions that they use.

    Raises:
        Conflict: runs are in progress.
        Unavailable, Denied: Nomad cannot be reached.
    """
    nomad = settings.section(NomadSettings)
    held = registered(api, settings)
    parents = {*(parent_name(settings, each) for each in held.variants), *held.left_over}
    running = [job for job in held.running if parent_of(job) in parents]
    if running:
        one = len(running) == 1
        raise Conflict(
            f"1 run is in progress, {running[0]}"
            if one
            else f"{len(running)} runs are in progress, such as {running[0]}",
            remedy=f"Wait until {'it has' if one else 'they have'} ended, or cancel "
            f"{'it' if one else 'them'}, and stop serve.",
        )
    services = (dispatcher_name(nomad), page_name(nomad))
    own = {job["ID"] for each in services for job in api.jobs(prefix=each)} & {*services}
    return (*(_deletion(JOB, name) for name in sorted(parents | own)), *_policies(api, settings))


def left_over(held: Registered, *, remove: bool) -> tuple[Change, ...]:
    """Parent jobs of classes that are no longer in use. Those with a run in progress are left alone.

    Args:
        remove: delete them; otherwise they are reported.
    """
    return tuple(
        _deletion(JOB, name)
        if remove and name not in held.busy
        else Change(kind=f"left over {JOB}", name=name, step=Step.NOTHING)
        for name in held.left_over
    )


def _policies(api: NomadApi, settings: Settings) -> Iterator[Change]:
    if not acl_enabled(api):
        return
    for policy in acl_policies(settings.section(NomadSettings)):
        held = api.acl_policy(policy.name)
        if held is not None and held.get("Description") == policy.description:
            yield _deletion(POLICY, policy.name)


def remove(api: NomadApi, changes: tuple[Change, ...]) -> None:
    """Carry out what was planned.

    Raises:
        Unavailable, Denied: after some of it was removed; a new plan shows the rest.
    """
    for change in changes:
        if change.kind == JOB:
            api.stop(change.name, purge=True)
        else:
            api.delete_acl_policy(change.name)


def _deletion(kind: str, name: str) -> Change:
    return Change(kind=kind, name=name, step=Step.DELETE)
