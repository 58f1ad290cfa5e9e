"""Looks at the server, and does the next step, until a stack is as it is wanted. Exactly once.

Nothing is created without a look before it, by name and mark. An answer that does not prove that nothing
was done is followed by a pause and a look, never by the same request at once. What came about twice all
the same is removed before it is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from dispatcher.provision.provider import ProviderBusy, ProviderUnclear
from dispatcher.provision.reporting import Reporter
from dispatcher.provision.waiting import Clock, Pace
from dispatcher.stack.lifecycle import (
    TOTAL_S,
    Record,
    Seen,
    Stage,
    Step,
    Wanted,
    advance,
    begin,
    fail,
    is_of,
    missing,
    tried,
)
from dispatcher.stack.marks import Mark
from dispatcher.stack.platform import (
    Application,
    Container,
    Deployment,
    DeploymentStatus,
    Platform,
    PlatformRefused,
    Project,
    Task,
)
from dispatcher.stack.probes import Probed, Prober

POLL_S = 3.0
"""Seconds between two looks while the server works."""

UNCLEAR_PAUSE_S = 6.0
"""Seconds after an answer that proves nothing, until the server is looked at: it may still be at it."""

LONGEST_S = 12.0
"""Seconds between two looks at most, however often the server did not answer."""

_LOST_S = 20.0  # without a sign of a deployment, where the queue cannot be seen: deploy again


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a run works with.

    Attributes:
        limit_s: seconds until a stack has to run.
    """

    platform: Platform
    clock: Clock
    reporter: Reporter
    prober: Prober
    limit_s: float = TOTAL_S


def ours(projects: Collection[Project], mark: Mark) -> tuple[Project, ...]:
    """The projects of one stack, oldest first; the run that made them does not matter."""
    found = [project for project in projects if mark.is_of_stack(project.description)]
    return tuple(sorted(found, key=lambda each: (each.created_at, each.id)))


def with_applications(platform: Platform, project: Project) -> tuple[Project, list[Application]]:
    """A project of ours, and the applications in it that bear the mark of its stack. What somebody else put there
    counts among its other services: it is neither changed nor removed.
    """
    mark = Mark.read(project.description)
    found = [
        application
        for each in project.application_ids
        if (application := platform.application(each)) is not None
    ]
    own = [each for each in found if mark is not None and mark.is_of_stack(each.description)]
    others = project.services + len(found) - len(own)
    ids = tuple(each.id for each in own)
    return replace(project, application_ids=ids, services=others), own


class Convergence:
    """Brings one stack to what is wanted.

    Args:
        before: ids of the tasks of former versions; they do not count.
        former: the mark of the former version; None if none is replaced.
        watch: called with each probe, for what wants to know it.
        enter: called before each request that changes something.

    Attributes:
        unclear: whether a request was not answered clearly: it may still be carried out.
    """

    def __init__(
        self,
        wanted: Wanted,
        tools: Tools,
        *,
        before: Collection[str] = (),
        former: str | None = None,
        watch: Callable[[Probed], None] = lambda _: None,
        enter: Callable[[Seen], None] = lambda _: None,
    ) -> None:
        self._wanted, self._tools = wanted, tools
        self._before, self._former = frozenset(before), former
        self._watch, self._enter = watch, enter
        self._pace = Pace(tools.platform, tools.clock, tools.reporter.say)
        self._asked_at: float | None = None
        self._doubled = False  # something was there twice when a deployment may have begun
        self._spoilt = ""  # id of that deployment: if it fails, that proves nothing
        self.record = begin(tools.clock.now(), tools.limit_s)
        self.seen = Seen()
        self.probed = Probed()
        self.unclear = False

    def run(self) -> Record:
        """Returns the last record, RUNNING or FAILED.

        Raises:
            Cancelled: the run is to end.
        """
        clock = self._tools.clock
        while True:
            pause_s = self._turn()
            if self.record.stage in (Stage.RUNNING, Stage.FAILED):
                return self.record
            if pause_s:
                clock.sleep(min(self._pace.pause_s(pause_s), LONGEST_S))

    def _turn(self) -> float:
        """One look and one step; seconds until the next."""
        clock = self._tools.clock
        try:
            self.seen = self._look()
            self._pace.answered()
        except (ProviderBusy, ProviderUnclear) as error:
            return self._unanswered(error, POLL_S)
        except PlatformRefused as error:
            self.record = fail(self.record, clock.now(), str(error))
            return 0.0
        self.record = advance(self.record, self._wanted, self.seen, clock.now())
        self._progress()
        if self.record.next_step in (Step.FINISH, Step.GIVE_UP):
            return 0.0
        if self.record.next_step in (Step.WAIT, Step.PROBE):
            return POLL_S
        return self._step()

    def _step(self) -> float:
        step, clock = self.record.next_step, self._tools.clock
        self._enter(self.seen)
        unclear, self.unclear = self.unclear, True
        try:
            self._do(step)
            self.unclear = unclear
        except ProviderUnclear as error:
            self.record = tried(self.record)
            clock.sleep(UNCLEAR_PAUSE_S)
            self._unanswered(error, 0.0)
            return 0.0
        except ProviderBusy as error:
            self.unclear = unclear
            return self._unanswered(error, POLL_S)
        except PlatformRefused as error:
            self.unclear = unclear
            self.record = fail(self.record, clock.now(), str(error))
            return 0.0
        self.record = tried(self.record)
        return 0.0

    def _unanswered(self, error: ProviderBusy | ProviderUnclear, pause_s: float) -> float:
        self._pace.failed(error)
        self.record = advance(self.record, self._wanted, None, self._tools.clock.now())
        return pause_s

    def _do(self, step: Step) -> None:
        wanted, platform = self._wanted, self._tools.platform
        if step is Step.CREATE_PROJECT:
            platform.create_project(wanted.name, str(wanted.mark))
            return
        project = self.seen.projects[0]
        if step is Step.CREATE_APPLICATION:
            platform.create_application(project, wanted.name, str(wanted.mark))
            return
        if step is Step.REMOVE_DOUBLES:
            self._remove_doubles()
            self._doubled = self._asked_at is not None
            return
        application = self.seen.application
        assert application is not None  # noqa: S101 - no other step comes before it is there
        if step is Step.SAVE_IMAGE:
            platform.save_image(application.id, wanted.image)
        elif step is Step.SAVE_ENVIRONMENT:
            platform.save_environment(application.id, wanted.environment)
        elif step is Step.CREATE_MOUNT:
            platform.create_mount(application.id, wanted.volume, wanted.path)
        elif step is Step.CREATE_DOMAIN:
            platform.create_domain(
                application.id,
                wanted.host,
                port=wanted.port,
                https=wanted.https,
                certificate=wanted.certificate,
            )
        elif step is Step.DEPLOY:
            self._asked_at = self._tools.clock.now()
            platform.deploy(application.id, wanted.key)

    def _remove_doubles(self) -> None:
        platform, wanted = self._tools.platform, self._wanted
        first, *others = self.seen.projects
        for project in others:
            for application_id in project.application_ids:
                platform.delete_application(application_id)
            if not project.services:
                platform.remove_project(project.id)
        for application_id in first.application_ids[1:]:
            platform.delete_application(application_id)
        application = self.seen.application
        if application is None:
            return
        for mount in [each for each in application.mounts if each.path == wanted.path][1:]:
            platform.remove_mount(mount.id)
        for domain in [each for each in application.domains if each.host == wanted.host][1:]:
            platform.remove_domain(domain.id)

    def _look(self) -> Seen:
        """What the server has of it; no more requests than the next step needs."""
        wanted, platform = self._wanted, self._tools.platform
        listed = platform.projects()
        found = [with_applications(platform, each) for each in ours(listed, wanted.mark)]
        projects = tuple(project for project, _ in found)
        own = {project.id for project in projects}
        strangers = [p for p in listed if p.name == wanted.name and p.id not in own]
        seen = Seen(
            projects=projects,
            strangers=tuple(sorted(strangers, key=lambda each: (each.created_at, each.id))),
        )
        applications = found[0][1] if found else []
        if not applications:
            return seen
        application = applications[0]
        seen = Seen(projects=seen.projects, strangers=seen.strangers, application=application)
        if missing(wanted, seen) is not None:
            return seen
        return self._deployed(seen, application)

    def _deployed(self, seen: Seen, application: Application) -> Seen:
        queued = False
        at_work: tuple[str, ...] = ()
        log: tuple[str, ...] = ()
        deployment = self._deployment(application)
        if _is_none(deployment):
            queued, at_work = self._queued(application)
            if not queued:  # it may have left the queue between these looks
                deployment = self._deployment(application)
        if deployment is not None and deployment.status is DeploymentStatus.ERROR:
            log = self._tools.platform.log_tail(deployment.id)
        if deployment is None or deployment.status is not DeploymentStatus.DONE:
            return Seen(
                projects=seen.projects,
                strangers=seen.strangers,
                application=application,
                deployment=deployment,
                queued=queued,
                at_work=at_work,
                log=log,
            )
        return self._probed(seen, application, deployment)

    def _deployment(self, application: Application) -> Deployment | None:
        """The last one with the key, unless it proves nothing."""
        key = self._wanted.key
        listed = self._tools.platform.deployments(application.id)
        last = next((each for each in listed if each.description == key), None)
        if last is None:
            return None
        if self._doubled:
            self._spoilt, self._doubled = last.id, False
        failed = last.status is DeploymentStatus.ERROR
        return None if failed and last.id == self._spoilt else last

    def _queued(self, application: Application) -> tuple[bool, tuple[str, ...]]:
        """Whether to wait for the queue, and at which jobs it is. Most keys can see it; else time decides."""
        jobs = self._tools.platform.queue()
        if jobs is None:
            now = self._tools.clock.now()
            return self._asked_at is not None and now - self._asked_at < _LOST_S, ()
        mine = (application.id, self._wanted.key)
        queued = any((job.application_id, job.description) == mine for job in jobs)
        return queued, tuple(sorted(job.id for job in jobs if job.active))

    def _probed(self, seen: Seen, application: Application, deployment: Deployment) -> Seen:
        platform = self._tools.platform
        listed = platform.tasks(application.app_name)
        tasks = None
        container = None
        if listed is not None:
            tasks = tuple(task for task in listed if task.id not in self._before)
            running = next((task for task in tasks if task.wanted and task.running), None)
            if running is not None and self._wanted.updates:
                container = platform.container_of(application.app_name, running.id)
        self.probed = self._tools.prober.look(self._wanted.host, https=self._wanted.https)
        self._watch(self.probed)
        alone = bool(self.probed.healthy) and is_of(self._wanted, container)
        alone = alone and self._is_alone(application, listed or [])
        return Seen(
            projects=seen.projects,
            strangers=seen.strangers,
            application=application,
            deployment=deployment,
            tasks=tasks,
            container=container,
            alone=alone,
            returned=self._returned(listed or [], tasks or (), container),
            healthy=self.probed.healthy,
            version=self.probed.version,
            trouble=self.probed.trouble,
        )

    def _is_alone(self, application: Application, listed: Sequence[Task]) -> bool:
        """Whether nothing but this version ran, before the probe and after it: else another may have answered."""
        platform, app_name = self._tools.platform, application.app_name
        before = {task.id for task in listed if task.running}
        after = {task.id for task in platform.tasks(app_name) or () if task.running}
        return before == after and all(
            is_of(self._wanted, platform.container_of(app_name, each)) for each in before
        )

    def _returned(
        self, listed: Sequence[Task], new: Sequence[Task], container: Container | None
    ) -> bool:
        """Whether the swarm runs the former version, because the new one ended.

        By a new task; or by the old one, which it did not stop yet if the image has a health check.
        """
        if not any(task.error for task in new):
            return False
        if container is not None and container.run == self._former:
            return True
        former = [task for task in listed if task.id in self._before]
        stays = any(task.wanted and task.running for task in former)
        return stays and not any(task.wanted for task in new)

    def _progress(self) -> None:
        stage = self.record.stage
        if stage is not Stage.FAILED:
            self._tools.reporter.progress(stage, self._wanted.host)


def _is_none(deployment: Deployment | None) -> bool:
    """Whether there is none, or none that still counts."""
    return deployment is None or deployment.status is DeploymentStatus.CANCELLED
