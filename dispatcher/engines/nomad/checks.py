"""Checks of everything that runs on Nomad need, each failure with its remedy.

For ``disinto doctor`` and ``plan``, and for ``serve`` before it enters its loop. Writes nothing:
permissions are tested by calls that read, or that name a job which does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from dispatcher.engines.nomad.api import Node, NomadApi, NotFound
from dispatcher.engines.nomad.apply import plan_nomad, registered, rendered_jobs, variants
from dispatcher.engines.nomad.render import of_class, parent_job, runner_prefix
from dispatcher.engines.nomad.settings import NomadDriver, NomadSettings
from dispatcher.errors import Conflict, DisintoError, Misconfigured
from dispatcher.model.checks import Check, Step
from dispatcher.model.job_class import RUNNER, JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings
from dispatcher.settings.jobs import class_names

OLDEST = (1, 11, 2)
"""Before this release two concurrent dispatches with one idempotency token could both run."""

_APPLY = "Run `disinto apply`."
_IMAGE = "nomad: image"
_NOBODY = "disinto-no-such-thing"
_NEVER = 2**62  # no variable ever has this index, so nothing is written


def check_nomad(
    api: NomadApi, settings: Settings, in_use: Iterable[JobVariant] = ()
) -> list[Check]:
    """All checks of Nomad, in the order in which to fix them.

    Args:
        in_use: the classes and mounts that open actions request.
    """
    reachable = _reachable(api)
    if not reachable.ok:
        return [reachable]
    used = list(in_use)
    with suppress(DisintoError):  # the permissions are checked below
        used += registered(api, settings).variants
    nodes = _nodes(api)
    return [
        reachable,
        _version(api, nodes),
        *_rights(api, settings),
        *_jobs(api, settings, used),
        *_drivers(nodes, settings),
        *_volumes(nodes, settings, _mounts_in_use(settings, used)),
        *_images(settings),
    ]


def offers(api: NomadApi) -> Mapping[Mount, tuple[str, ...]]:
    """Names of the nodes that offer each mount.

    Raises:
        Unavailable, Denied: Nomad cannot be reached, or ``node:read`` is missing.
    """
    return _offers(_whole_nodes(api))


def obstacle(api: NomadApi, settings: Settings, variant: JobVariant) -> str:
    """Why no run of this class with these mounts can be dispatched now, with the remedy; "" if one can.

    Raises:
        Unavailable, Denied: Nomad cannot be reached.
    """
    try:
        name = parent_job(settings, variant).name
    except Misconfigured as error:
        return str(error)
    job = api.job(name)
    if job is not None and not job.get("Stop"):
        return ""
    state = "is stopped in" if job else "is not registered with"
    return f"the job {name} {state} Nomad. {_APPLY}"


def _reachable(api: NomadApi) -> Check:
    try:
        leader = api.leader()
    except DisintoError as error:
        remedy = "Set NOMAD_ADDR or [nomad] addr, and check that its servers have a leader."
        return Check(name="nomad: reachable", ok=False, detail=error.what, remedy=remedy)
    detail = f"{api.addr}, leader {leader}"
    return Check(name="nomad: reachable", ok=True, detail=detail)


def _version(api: NomadApi, nodes: list[Node] | DisintoError) -> Check:
    """Versions of the agent, if the token may query it, and of the nodes."""
    name = "nomad: version"
    try:
        member = api.agent_self().get("member") or {}
        versions = {(member.get("Tags") or {}).get("build", "")}
    except DisintoError:
        versions = set()
    if not isinstance(nodes, DisintoError):
        versions |= {(node.get("Attributes") or {}).get("nomad.version", "") for node in nodes}
    versions.discard("")
    if not versions:
        detail = "neither the agent nor a node reports it"
        return Check(name=name, ok=False, detail=detail, remedy="Give the token node:read.")
    reported = ", ".join(sorted(versions))
    if any(_numbers(version) < OLDEST for version in versions):
        remedy = f"Upgrade to {'.'.join(map(str, OLDEST))} or newer."
        return Check(name=name, ok=False, detail=reported, remedy=remedy)
    return Check(name=name, ok=True, detail=reported)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _rights(api: NomadApi, settings: Settings) -> list[Check]:
    prefix = runner_prefix(settings.section(NomadSettings))
    probe = f"{settings.section(NomadSettings).ledger_prefix}/{_NOBODY}"
    tries: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("list-jobs", lambda: api.jobs(prefix=prefix)),
        ("read-job", lambda: api.job_statuses([_NOBODY])),
        ("dispatch-job", lambda: api.dispatch(_NOBODY)),
        ("purge-job", lambda: api.stop(_NOBODY, purge=True)),
        # Without permission, a list would be empty rather than denied.
        ("read variables", lambda: api.variable(probe)),
        ("write variables", lambda: api.put_variable(probe, {"a": "b"}, cas=_NEVER)),
    )
    return [_right(api, name, call) for name, call in tries]


def _right(api: NomadApi, right: str, call: Callable[[], Any]) -> Check:
    name = f"nomad: right {right}"
    try:
        call()
    except (NotFound, Conflict):
        pass  # permitted: there is no such job, or the index does not match
    except DisintoError as error:
        remedy = (
            f"Give the token the policy that `disinto apply` writes (namespace {api.namespace})."
        )
        return Check(name=name, ok=False, detail=error.what, remedy=remedy)
    return Check(name=name, ok=True, detail=f"in namespace {api.namespace}")


def _jobs(api: NomadApi, settings: Settings, used: Iterable[JobVariant]) -> list[Check]:
    try:
        plan = plan_nomad(api, rendered_jobs(settings, used))
    except DisintoError as error:
        detail, remedy = error.what, error.remedy or ""
        return [Check(name="nomad: jobs", ok=False, detail=detail, remedy=remedy)]
    checks = []
    for change in plan.changes:
        name = f"nomad: job {change.name}"
        if change.step is Step.NOTHING:
            checks.append(Check(name=name, ok=True, detail="registered as rendered"))
            continue
        missing = change.step is Step.CREATE
        detail = "not registered" if missing else f"drifted: {'; '.join(change.difference)}"
        checks.append(Check(name=name, ok=False, detail=detail, remedy=_APPLY))
    return checks


def _nodes(api: NomadApi) -> list[Node] | DisintoError:
    try:
        return _whole_nodes(api)
    except DisintoError as error:
        return error


def _whole_nodes(api: NomadApi) -> list[Node]:
    """Eligible nodes with their volumes: one call for the list and one per node."""
    ready = [
        node
        for node in api.nodes()
        if node.get("Status") == "ready" and node.get("SchedulingEligibility") == "eligible"
    ]
    nodes = (api.node(node["ID"]) for node in ready)
    return [node for node in nodes if node is not None]


def _mounts_in_use(settings: Settings, used: Iterable[JobVariant]) -> frozenset[Mount]:
    """Those of jobs that are there to be used, not only in case a formula is large."""
    of_runner = settings.section(NomadSettings).mount_sets
    others = (v.mounts for v in variants(settings, used) if v.job_class != RUNNER)
    return frozenset().union(*of_runner, *(v.mounts for v in used), *others)


def _drivers(nodes: list[Node] | DisintoError, settings: Settings) -> Iterable[Check]:
    used = dict.fromkeys(of_class(settings, name).driver.value for name in class_names(settings))
    return (_driver(nodes, driver) for driver in used)


def _driver(nodes: list[Node] | DisintoError, driver: str) -> Check:
    name = f"nomad: driver {driver}"
    if isinstance(nodes, DisintoError):
        return Check(name=name, ok=False, detail=nodes.what, remedy=nodes.remedy or "")
    healthy = [
        node.get("Name", "") for node in nodes if _is_healthy((node.get("Drivers") or {}), driver)
    ]
    if healthy:
        return Check(name=name, ok=True, detail=f"healthy on {', '.join(sorted(healthy))}")
    return Check(
        name=name,
        ok=False,
        detail=f"healthy on none of {len(nodes)} nodes",
        remedy="Check `nomad node status -verbose` and the client's plugin configuration.",
    )


def _is_healthy(drivers: Mapping[str, Any], driver: str) -> bool:
    return bool((drivers.get(driver) or {}).get("Healthy"))


def _offers(nodes: Iterable[Node]) -> dict[Mount, tuple[str, ...]]:
    offering: dict[Mount, list[str]] = {mount: [] for mount in Mount}
    for node in nodes:
        for mount in Mount:
            if mount.value in (node.get("HostVolumes") or {}):
                offering[mount].append(node.get("Name") or node.get("ID") or "?")
    return {mount: tuple(sorted(names)) for mount, names in offering.items()}


def _volumes(
    nodes: list[Node] | DisintoError, settings: Settings, in_use: frozenset[Mount]
) -> list[Check]:
    if isinstance(nodes, DisintoError) or _without_containers(settings):
        return []
    checks = []
    for mount, names in _offers(nodes).items():
        name = f"nomad: volume {mount.value}"
        if names:
            checks.append(Check(name=name, ok=True, detail=f"offered by {', '.join(names)}"))
        elif mount in in_use:
            remedy = "Add it to a client's configuration; `disinto apply` prints what to add."
            detail = "offered by no node, but actions need it"
            checks.append(Check(name=name, ok=False, detail=detail, remedy=remedy))
        else:
            checks.append(
                Check(name=name, ok=True, detail="offered by no node; no action needs it")
            )
    return checks


def _without_containers(settings: Settings) -> bool:
    return all(
        of_class(settings, name).driver is NomadDriver.RAW_EXEC for name in class_names(settings)
    )


def _images(settings: Settings) -> Iterable[Check]:
    """One check for each image in use."""
    if _without_containers(settings):
        return [Check(name=_IMAGE, ok=True, detail="the driver raw_exec needs none")]
    classes = (of_class(settings, name) for name in class_names(settings))
    images = dict.fromkeys(c.image for c in classes if c.driver is NomadDriver.DOCKER)
    return [_image(image) for image in images]


def _image(image: str) -> Check:
    name = _IMAGE
    last = image.rsplit("/", 1)[-1]
    if ":" in last and not last.endswith(":latest"):
        return Check(name=name, ok=True, detail=f"{image}; a node that lacks it pulls it")
    return Check(
        name=name,
        ok="@sha256:" in image,
        detail=f"{image} is requested from the registry again for every run",
        remedy="Set [nomad] image to a unique tag, such as disinto:0.1.0, or to a digest.",
    )
