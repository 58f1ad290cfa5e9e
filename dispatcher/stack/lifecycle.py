"""The life cycle of one stack, pure: what is wanted, what was observed and the time give the next step.

::

    initializing ─▶ creating-project ─▶ creating-application ─▶ configuring ─▶ creating-domain
        ─▶ deploying ─▶ health-check ─▶ running          (any of them ─▶ failed)

The step follows from what the server lacks, never from what was done: an answer that was lost changes
nothing. An update takes the same way; what is there already is passed over. It must do no I/O: ``converge``
observes, and does what ``Record.next_step`` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from dispatcher.stack.environment import run_of
from dispatcher.stack.marks import Mark
from dispatcher.stack.platform import (
    Application,
    Container,
    Deployment,
    DeploymentStatus,
    Project,
    Task,
)

TRIES = 3
"""How often one step is tried if it leaves nothing behind."""

DEPLOYING = "DEPLOYING"
"""State of the entry of a stack whose run has not ended; only one that was killed leaves it in git."""


TOTAL_S = 255.0
"""Seconds from the first look until a stack runs, unless the settings have another number."""


class Stage(StrEnum):
    """What is shown, with the percentage, and the seconds of ``TOTAL_S`` that it may take.

    Together they are more than ``TOTAL_S``: it limits what a person waits for, they find what does not move.
    A stage that waits for answers has one minute for each change, because a single request may take
    that long (``provision.http``) and is no failure then.
    """

    percent: int
    limit_s: float

    def __new__(cls, word: str, *numbers: int) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.percent, member.limit_s = numbers
        return member

    INITIALIZING = "initializing", 5, 60
    CREATING_PROJECT = "creating-project", 15, 60
    CREATING_APPLICATION = "creating-application", 30, 60
    CONFIGURING = "configuring", 45, 180
    CREATING_DOMAIN = "creating-domain", 60, 60
    DEPLOYING = "deploying", 75, 90
    HEALTH_CHECK = "health-check", 90, 60
    RUNNING = "running", 100, 0
    FAILED = "failed", 100, 0


class Step(StrEnum):
    """What is to be done next."""

    CREATE_PROJECT = "create the project"
    CREATE_APPLICATION = "create the application"
    SAVE_IMAGE = "set the image"
    SAVE_ENVIRONMENT = "set the environment"
    CREATE_MOUNT = "mount the volume"
    CREATE_DOMAIN = "create the domain"
    REMOVE_DOUBLES = "remove what was made twice"
    DEPLOY = "deploy"
    WAIT = "wait"
    PROBE = "probe"
    FINISH = "finish"
    GIVE_UP = "give up"


_STAGES = {
    Step.CREATE_PROJECT: Stage.CREATING_PROJECT,
    Step.CREATE_APPLICATION: Stage.CREATING_APPLICATION,
    Step.SAVE_IMAGE: Stage.CONFIGURING,
    Step.SAVE_ENVIRONMENT: Stage.CONFIGURING,
    Step.CREATE_MOUNT: Stage.CONFIGURING,
    Step.CREATE_DOMAIN: Stage.CREATING_DOMAIN,
    Step.DEPLOY: Stage.DEPLOYING,
    Step.WAIT: Stage.DEPLOYING,
    Step.PROBE: Stage.HEALTH_CHECK,
    Step.FINISH: Stage.RUNNING,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One stack as it is to be.

    Attributes:
        mark: in the description of its project.
        key: of the deployment: it is in the deployment's description.
        environment: encoded; holds secrets.
        volume: "" for none.
        host: under which it is to be reached.
        updates: whether the stack is there already, and nothing is created.
    """

    mark: Mark
    key: str
    name: str
    image: str
    environment: str = field(repr=False)
    volume: str
    path: str
    host: str
    port: int
    https: bool
    certificate: str
    updates: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known now.

    Attributes:
        projects: with the mark of the stack, oldest first.
        strangers: other projects of the same name, oldest first.
        queued: whether its deployment waits in the server's queue; None if that cannot be seen.
        deployment: the last one with the key.
        log: its last lines, if it failed.
        tasks: of versions that were not there before; None if they cannot be seen.
        at_work: ids of the jobs at which the server's queue is; () if that cannot be seen.
        container: of such a task that runs; None if that cannot be seen.
        alone: whether nothing but this version ran, before the probe and after it.
        returned: whether the swarm runs the former version again, because the new one ended at once.
        healthy: which probe was answered, in words; "" for none.
        version: whether an answer showed the wanted version; None if nothing was to be looked for.
        trouble: what the probes found instead.
    """

    projects: tuple[Project, ...] = ()
    strangers: tuple[Project, ...] = ()
    application: Application | None = None
    queued: bool | None = None
    deployment: Deployment | None = None
    log: tuple[str, ...] = ()
    tasks: tuple[Task, ...] | None = None
    at_work: tuple[str, ...] = ()
    container: Container | None = None
    alone: bool = False
    returned: bool = False
    healthy: str = ""
    version: bool | None = None
    trouble: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One stack while it is made or changed.

    Attributes:
        begun, since: when it, and its stage, began: seconds since the epoch.
        limit_s: seconds until it has to run; limits of stages are in proportion.
        tries: how often the next step has been tried before.
        at_work: at which jobs the queue was when ours was seen waiting in it.
        why: of FAILED.
    """

    begun: float
    since: float
    limit_s: float = TOTAL_S
    stage: Stage = Stage.INITIALIZING
    next_step: Step = Step.WAIT
    tries: int = 0
    at_work: tuple[str, ...] = ()
    why: str = ""


def begin(now: float, limit_s: float = TOTAL_S) -> Record:
    """A stack that is about to be made or changed."""
    return Record(begun=now, since=now, limit_s=limit_s)


def advance(record: Record, wanted: Wanted, seen: Seen | None, now: float) -> Record:
    """The next record.

    Args:
        seen: None if the server is unavailable: then only the time has passed.
    """
    if record.stage in (Stage.RUNNING, Stage.FAILED):
        return record
    why = "" if seen is None else _obstacle(wanted, seen)
    if why:
        return _failed(record, now, why)
    step = record.next_step if seen is None else _next(wanted, seen)
    record = _entered(record, step, now)
    if seen is not None and (seen.queued or seen.deployment is not None):
        record = _queued(record, seen, now)
    if record.stage is Stage.RUNNING:
        return record
    if record.tries >= TRIES and step not in (Step.WAIT, Step.PROBE):
        return _failed(record, now, f"the server does not {step.value}, asked {TRIES} times")
    return _in_time(record, seen, now)


def tried(record: Record) -> Record:
    """After the next step was tried, whatever the answer."""
    return replace(record, tries=record.tries + 1)


def fail(record: Record, now: float, why: str) -> Record:
    """It cannot go on."""
    return _failed(record, now, why)


def missing(wanted: Wanted, seen: Seen) -> Step | None:
    """What the server lacks, up to the deployment; None for nothing."""
    if not seen.projects:
        return Step.CREATE_PROJECT
    application = seen.application
    if application is None:
        return Step.CREATE_APPLICATION
    if doubles(wanted, seen):
        return Step.REMOVE_DOUBLES
    unmounted = wanted.volume and not any(m.path == wanted.path for m in application.mounts)
    lacks = {
        Step.SAVE_IMAGE: application.image != wanted.image,
        Step.SAVE_ENVIRONMENT: application.environment != wanted.environment,
        Step.CREATE_MOUNT: bool(unmounted),
        Step.CREATE_DOMAIN: not any(d.host == wanted.host for d in application.domains),
    }
    return next((step for step, lacking in lacks.items() if lacking), None)


def doubles(wanted: Wanted, seen: Seen) -> bool:
    """Whether something was made twice: an answer was lost, and came about later."""
    application = seen.application
    applications = sum(len(project.application_ids) for project in seen.projects)
    if len(seen.projects) > 1 or applications > 1:
        return True
    if application is None:
        return False
    mounts = [each.path for each in application.mounts if each.path == wanted.path]
    hosts = [each.host for each in application.domains if each.host == wanted.host]
    return len(mounts) > 1 or len(hosts) > 1


def _next(wanted: Wanted, seen: Seen) -> Step:
    step = missing(wanted, seen)
    if step is not None:
        return step
    if seen.deployment is None or seen.deployment.status is DeploymentStatus.CANCELLED:
        return Step.WAIT if seen.queued else Step.DEPLOY
    if seen.deployment.status is DeploymentStatus.RUNNING:
        return Step.WAIT
    return Step.FINISH if _is_healthy(wanted, seen) else Step.PROBE


def _is_healthy(wanted: Wanted, seen: Seen) -> bool:
    """Deployed is not healthy: a container of this version has to run, and an endpoint to answer."""
    if not seen.healthy or seen.version is False:
        return False
    if seen.tasks is not None and not any(task.wanted and task.running for task in seen.tasks):
        return False
    if not wanted.updates:
        return True
    # The old container answers as well, until the new one runs, and again if it does not: the swarm
    # returns to the former version by itself. The image may be the same, so the run decides as well.
    # Both run for a moment, so it has to be this version alone that can have answered.
    return seen.version is True or (is_of(wanted, seen.container) and seen.alone)


def is_of(wanted: Wanted, container: Container | None) -> bool:
    """Whether a container is of this version, by its image and the run that deployed it."""
    return (
        container is not None
        and container.image == wanted.image
        and container.run == run_of(wanted.environment)
    )


def _obstacle(wanted: Wanted, seen: Seen) -> str:
    """Why it cannot become a stack; "" if it still may."""
    if wanted.updates and (not seen.projects or seen.application is None):
        return f"the server has no stack {wanted.mark.stack_id} any more"
    if not wanted.updates and seen.strangers:
        ours = seen.projects[0] if seen.projects else None
        older = seen.strangers[0]
        if ours is None or (older.created_at, older.id) < (ours.created_at, ours.id):
            mark = Mark.read(older.description)
            owner = f"stack {mark.stack_id}" if mark else "a project that disinto did not make"
            return f"the name {wanted.name} is taken, by {owner}"
    deployment = seen.deployment
    if deployment is not None and deployment.status is DeploymentStatus.ERROR:
        said = "".join(f"\n  {line}" for line in seen.log) or f": {deployment.error or 'no log'}"
        return f"the deployment of {wanted.image} failed; the server's log ends with{said}"
    if seen.returned:
        return f"the new version does not stay, and the swarm runs the former one again{_trouble(seen)}"
    return ""


def _entered(record: Record, step: Step, now: float) -> Record:
    """The stage of a step. No stage goes back, except to deploy once more."""
    stage = _STAGES.get(step, record.stage)
    if stage.percent < record.stage.percent and step is not Step.DEPLOY:
        stage = record.stage
    same = step is record.next_step or step is Step.WAIT
    return replace(
        record,
        next_step=step,
        tries=record.tries if same else 0,
        stage=stage,
        since=record.since if stage is record.stage else now,
    )


def _queued(record: Record, seen: Seen, now: float) -> Record:
    """A queue that moves is not stuck: while it does, waiting in it costs no time."""
    if seen.at_work == record.at_work:
        return record
    moved = replace(record, at_work=seen.at_work)
    if not record.at_work:
        return moved
    return replace(moved, begun=record.begun + now - record.since, since=now)


def _in_time(record: Record, seen: Seen | None, now: float) -> Record:
    if now - record.begun > record.limit_s:
        why = f"not running after {record.limit_s:.0f} seconds{_trouble(seen)}"
        return _failed(record, now, f"{why} (stage {record.stage.value})")
    limit_s = record.stage.limit_s * record.limit_s / TOTAL_S
    if seen is not None and now - record.since > limit_s:
        limit = f"{limit_s:.0f} seconds"
        if record.stage is Stage.DEPLOYING and seen.deployment is None:
            stuck = "the server's queue is stuck: no deployment began within"
            return _failed(record, now, f"{stuck} {limit}")
        return _failed(record, now, f"{record.stage.value} took more than {limit}{_trouble(seen)}")
    return record


def _trouble(seen: Seen | None) -> str:
    """What is known about a container that does not answer."""
    if seen is None:
        return ": the server does not answer"
    for task in seen.tasks or ():
        if task.error:
            return f": the container ends by itself ({task.error})"
    if seen.tasks is not None and seen.deployment is not None and not seen.tasks:
        return ": no container of this version was started"
    return f": {seen.trouble}" if seen.trouble else ""


def _failed(record: Record, now: float, why: str) -> Record:
    return replace(record, stage=Stage.FAILED, next_step=Step.GIVE_UP, since=now, why=why)
