"""Brings Nomad's jobs and ACL policies to what the settings require, for ``disinto apply`` and
``plan``.

First everything is compared, then everything is written: a plan is a list of values, which
``apply`` carries out unchanged. Jobs are parsed and planned by the server itself, and registered
only if nobody changed them since (check-index). Foreign objects are never touched, and nothing is
deleted: a parent job that is no longer in use starts nothing.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from dispatcher.engines.nomad.api import Job, NomadApi, Rejected
from dispatcher.engines.nomad.differences import differences
from dispatcher.engines.nomad.render import (
    PREFIX_KEY,
    AclPolicy,
    Jobspec,
    acl_policies,
    dispatcher_job,
    of_class,
    page_job,
    parent_job,
    parent_name,
    runner_prefix,
)
from dispatcher.engines.nomad.settings import NomadDriver, NomadSettings
from dispatcher.errors import Conflict, Denied
from dispatcher.model.checks import Change, Step
from dispatcher.model.job_class import RUNNER, JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings
from dispatcher.settings.jobs import class_names, class_settings

JOB = "nomad job"
POLICY = "nomad acl policy"
"""Values of ``Change.kind``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobChange:
    """A job and what registering it would do.

    Attributes:
        change: for people.
        job: as the server parsed it.
        modify_index: index of the registered job that was compared; 0 if there is none.
    """

    change: Change
    job: Job
    modify_index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyChange:
    """An ACL policy and what writing it would do."""

    change: Change
    policy: AclPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class NomadPlan:
    """All that ``apply`` would do, in its order: rights first, then the jobs that use them.

    Attributes:
        acl_enabled: False if the cluster has no ACLs; then there are no policies to write.
    """

    policies: tuple[PolicyChange, ...]
    jobs: tuple[JobChange, ...]
    acl_enabled: bool = True

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, unchanged objects included."""
        policies = tuple(item.change for item in self.policies)
        return (*policies, *(item.change for item in self.jobs))

    @property
    def drifted(self) -> bool:
        """True if anything would be written."""
        return any(change.step is not Step.NOTHING for change in self.changes)


def variants(settings: Settings, in_use: Iterable[JobVariant] = ()) -> tuple[JobVariant, ...]:
    """The variants that need a parent job.

    For the class ``runner``: no mounts, the sets of ``[nomad] mount_sets``, those in use, and each
    with the ops repo added. For any other class in use: its own mounts, and unless these are fixed
    the sets in use, and each with the ops repo added. Those with the ops repo are for formulas that
    do not fit into a payload and are read from it. The driver raw_exec has no mounts, and therefore
    one variant.
    """
    used = tuple(in_use)
    return tuple(
        JobVariant(job_class=name, mounts=mounts)
        for name in class_names(settings)
        for mounts in _mount_sets(settings, name, used)
    )


def _mount_sets(
    settings: Settings, name: str, in_use: Iterable[JobVariant]
) -> Iterable[frozenset[Mount]]:
    keys = class_settings(settings, name)
    own = frozenset(keys.mounts)
    if keys.fixed_mounts or of_class(settings, name).driver is NomadDriver.RAW_EXEC:
        return (own,)
    sets = {own, *(own | each.mounts for each in in_use if each.job_class == name)}
    if name == RUNNER:
        sets |= {own | frozenset(m) for m in settings.section(NomadSettings).mount_sets}
    sets |= {mounts | {Mount.OPS_REPO} for mounts in sets}
    order = list(Mount)
    return sorted(sets, key=lambda mounts: (len(mounts), sorted(order.index(m) for m in mounts)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """The parent jobs of this installation that Nomad has.

    Attributes:
        variants: those that the settings know, so that applying keeps them current.
        left_over: names of those whose class is no longer in use, or no longer has these mounts.
        running: IDs of the dispatched jobs in progress.
    """

    variants: tuple[JobVariant, ...]
    left_over: tuple[str, ...]
    running: tuple[str, ...] = ()

    @property
    def busy(self) -> frozenset[str]:
        """Names of parent jobs with a run in progress."""
        return frozenset(map(parent_of, self.running))


def parent_of(job_id: str) -> str:
    """Name of the parent job of a dispatched one."""
    return job_id.partition("/")[0]


def registered(api: NomadApi, settings: Settings) -> Registered:
    """The parent jobs that are ours.

    Raises:
        Unavailable, Denied: Nomad cannot be reached.
    """
    nomad = settings.section(NomadSettings)
    listed = api.jobs(prefix=runner_prefix(nomad), meta=True)
    known = _by_name(settings)
    parents = [stub for stub in listed if "/" not in stub["ID"]]
    left_over = (
        stub["ID"]
        for stub in parents
        if stub["ID"] not in known
        and (stub.get("Meta") or {}).get(PREFIX_KEY) == nomad.ledger_prefix
    )
    return Registered(
        variants=tuple(known[stub["ID"]] for stub in parents if stub["ID"] in known),
        left_over=tuple(sorted(left_over)),
        running=tuple(
            stub["ID"] for stub in listed if "/" in stub["ID"] and stub.get("Status") != "dead"
        ),
    )


def _by_name(settings: Settings) -> dict[str, JobVariant]:
    """Every variant that a run can have with these settings, by the name of its parent job."""
    subsets = tuple(
        chain.from_iterable(combinations(Mount, size) for size in range(len(Mount) + 1))
    )
    possible = (
        JobVariant(job_class=name, mounts=frozenset(mounts))
        for name in class_names(settings)
        for more in ([()] if class_settings(settings, name).fixed_mounts else subsets)
        for mounts in [(*class_settings(settings, name).mounts, *more)]
    )
    return {parent_name(settings, variant): variant for variant in possible}


def rendered_jobs(
    settings: Settings,
    in_use: Iterable[JobVariant] = (),
    *,
    config_files: Mapping[str, str] | None = None,
    page_files: Mapping[str, str] | None = None,
) -> tuple[Jobspec, ...]:
    """The jobs that should be registered.

    Args:
        in_use: the classes and mounts that open actions request.
        config_files: see ``render.dispatcher_job``; None leaves the dispatcher's own job out.
        page_files: the same for the web page's job.

    Raises:
        Misconfigured: the settings contradict each other.
    """
    jobs = [parent_job(settings, variant) for variant in variants(settings, in_use)]
    if config_files is not None:
        jobs.append(dispatcher_job(settings, config_files=config_files))
    if page_files is not None:
        jobs.append(page_job(settings, config_files=page_files))
    return tuple(jobs)


def plan_nomad(
    api: NomadApi, jobs: Sequence[Jobspec], policies: Sequence[AclPolicy] = ()
) -> NomadPlan:
    """What would change. Writes nothing.

    Raises:
        Unavailable, Denied: Nomad cannot be reached.
        Rejected: the server cannot parse a job.
    """
    acl = acl_enabled(api) if policies else True
    return NomadPlan(
        policies=tuple(_plan_policy(api, policy) for policy in policies) if acl else (),
        jobs=tuple(_plan_job(api, job) for job in jobs),
        acl_enabled=acl,
    )


def drift(
    api: NomadApi, jobs: Sequence[Jobspec], policies: Sequence[AclPolicy]
) -> tuple[Change, ...]:
    """Changes that are not applied yet. ACL policies are left out if the token may not read them,
    as the dispatcher's may not.

    Raises:
        Unavailable, Denied: Nomad cannot be queried for jobs.
    """
    changes = plan_nomad(api, jobs).changes
    with contextlib.suppress(Denied):
        changes += plan_nomad(api, (), policies).changes
    return tuple(change for change in changes if change.step is not Step.NOTHING)


def apply_nomad(api: NomadApi, plan: NomadPlan) -> tuple[str, ...]:
    """Carry a plan out; returns Nomad's warnings about jobs.

    Raises:
        Conflict: a job changed after it was planned. What was written before it stays; a new plan
            shows what is left.
        Denied: permission denied; policies require a management token.
    """
    for planned in plan.policies:
        if planned.change.step is not Step.NOTHING:
            policy = planned.policy
            api.put_acl_policy(
                policy.name, policy.rules, description=policy.description, job=policy.job
            )
    warnings = []
    for item in plan.jobs:
        if item.change.step is Step.NOTHING:
            continue
        try:
            registered = api.register(item.job, modify_index=item.modify_index)
        except Conflict as error:
            raise Conflict(
                f"the job {item.change.name} changed while it was being applied",
                remedy="Run `disinto plan` again.",
            ) from error
        if registered.warnings:
            warnings.append(f"{item.change.name}: {' '.join(registered.warnings.split())}")
    return tuple(warnings)


def policies_for(settings: Settings) -> tuple[AclPolicy, ...]:
    """The ACL policies that should exist."""
    return acl_policies(settings.section(NomadSettings))


def _plan_job(api: NomadApi, jobspec: Jobspec) -> JobChange:
    job = api.parse(jobspec.hcl, canonicalize=False)  # else it gets the region `global`
    planned = api.plan(job)
    diff = planned.get("Diff") or {}
    kind = diff.get("Type")
    index = planned.get("JobModifyIndex") or 0
    lines = tuple(differences(diff))
    registered = api.job(jobspec.name) if kind == "None" else None
    if kind == "None" and registered is not None and registered.get("Stop"):
        lines = ("~ the job is stopped",)
    if kind == "Added":
        step, lines = Step.CREATE, tuple(f"+ {line}" for line in jobspec.hcl.splitlines())
    elif kind == "None" and not lines:
        step = Step.NOTHING
    else:
        step = Step.UPDATE
    return JobChange(
        change=Change(kind=JOB, name=jobspec.name, step=step, difference=lines),
        job=job,
        modify_index=index,
    )


def _plan_policy(api: NomadApi, wanted: AclPolicy) -> PolicyChange:
    current = api.acl_policy(wanted.name)
    if current is None:
        lines = tuple(f"+ {line}" for line in wanted.rules.splitlines() if line.strip())
        step = Step.CREATE
    else:
        lines = _policy_difference(current, wanted, api.namespace)
        step = Step.UPDATE if lines else Step.NOTHING
    change = Change(kind=POLICY, name=wanted.name, step=step, difference=lines)
    return PolicyChange(change=change, policy=wanted)


def _policy_difference(
    current: Mapping[str, object], wanted: AclPolicy, namespace: str
) -> tuple[str, ...]:
    job = current.get("JobACL")
    bound = dict(job) if isinstance(job, Mapping) else {}
    before = [
        f"description: {current.get('Description') or ''}",
        f"job: {bound.get('Namespace', '')}/{bound.get('JobID', '')}" if bound else "job: none",
        *str(current.get("Rules") or "").splitlines(),
    ]
    after = [
        f"description: {wanted.description}",
        f"job: {namespace}/{wanted.job}" if wanted.job else "job: none",
        *wanted.rules.splitlines(),
    ]
    lines = difflib.unified_diff(before, after, lineterm="", n=0)
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))


def acl_enabled(api: NomadApi) -> bool:
    try:
        api.acl_policy("anonymous")
    except Rejected as error:
        if "ACL support disabled" in error.what:
            return False
        raise
    return True
