"""Removes a stack in reverse order: domains, application, project. Idempotent.

An application goes before its project: the server would leave its service running, and nobody could remove
it by id any more. Volumes are kept. What is left behind is named.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Self

from dispatcher.errors import Exit, TemporaryError
from dispatcher.provision.provider import ProviderBusy, ProviderUnclear
from dispatcher.provision.reporting import Reporter
from dispatcher.provision.waiting import Clock, Pace
from dispatcher.stack.converge import with_applications
from dispatcher.stack.platform import Application, DeploymentStatus, Platform, Project

REMOVAL_LIMIT_S = 300.0
"""Seconds until the server has to list nothing of it any more."""

UNDER_WAY_S = 180.0
"""Seconds for which a deployment under way is waited for: it makes its service even if its application is
gone meanwhile, and that service would belong to nobody.
"""

SETTLE_S = 30.0
"""Seconds for which nothing may appear, after a creation without an answer."""

_POLL_S = 3.0


class Stage(StrEnum):
    """What is shown of a stack that is removed."""

    percent: int

    def __new__(cls, word: str, percent: int) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.percent = percent
        return member

    REMOVING_DOMAIN = "removing-domain", 20
    WAITING_FOR_QUEUE = "waiting-for-queue", 30
    REMOVING_APPLICATION = "removing-application", 50
    REMOVING_PROJECT = "removing-project", 80
    REMOVED = "removed", 100


class StillThere(TemporaryError):
    """The server still has some of it, or cannot be asked."""

    exit_code = Exit.TEMPFAIL


class Removal:
    """The removal of what a search finds.

    Args:
        find: the projects that are to go, by what the server lists.
        doubtful: whether something may appear that is not listed yet.
    """

    def __init__(
        self,
        platform: Platform,
        clock: Clock,
        reporter: Reporter,
        *,
        find: Callable[[list[Project]], tuple[Project, ...]],
        doubtful: bool = False,
    ) -> None:
        self._platform, self._clock, self._reporter = platform, clock, reporter
        self._find, self._doubtful = find, doubtful
        self._pace = Pace(platform, clock, reporter.say)
        self._services: dict[str, str] = {}
        self._under_way: list[str] = []
        self._waits_since: float | None = None
        self.removed: list[str] = []
        self.volumes: list[str] = []

    def run(self, *, limit_s: float = REMOVAL_LIMIT_S) -> None:
        """Remove, and look until nothing is left.

        Raises:
            StillThere: not within ``limit_s`` seconds, or something that cannot be removed by id.
            PlatformRefused: the server refuses.
        """
        begun = self._clock.now()
        empty_since: float | None = None
        while True:
            trouble, count = "it is still listed", len(self.removed)
            try:
                done = self._pass()
                self._pace.answered()
            except (ProviderBusy, ProviderUnclear) as error:
                self._pace.failed(error)
                done, trouble = False, error.what
            now = self._clock.now()
            empty_since = (now if empty_since is None else empty_since) if done else None
            settled = SETTLE_S if self._doubtful else 0.0
            if empty_since is not None and now - empty_since >= settled:
                break
            if now - begun > limit_s:
                raise StillThere(
                    f"the stack is not removed: {trouble}",
                    remedy="Destroy it again, or run stack-reap.",
                )
            if len(self.removed) == count:
                self._clock.sleep(self._pace.pause_s(_POLL_S))
        self._check_services()
        self._reporter.progress(Stage.REMOVED)

    def _pass(self) -> bool:
        """One look, and requests to remove what it shows; whether nothing was left.

        Raises:
            StillThere: nothing is left but what cannot be removed.
        """
        projects = self._find(self._platform.projects())
        kept: list[StillThere] = []
        for project in projects:
            try:
                self._remove(project)
            except StillThere as error:  # the others go all the same
                kept.append(error)
        if kept and len(kept) == len(projects):
            raise kept[0]
        return not projects

    def _remove(self, project: Project) -> None:
        project, applications = with_applications(self._platform, project)
        for application in applications:
            self._services[application.app_name] = application.id
            self._unroute(application)
        busy = [each for each in applications if not self._is_quiet(each)]
        if busy:
            return
        self._reporter.progress(Stage.REMOVING_APPLICATION, project.shown)
        for application in applications:
            self.volumes += [m.volume for m in application.mounts if m.volume not in self.volumes]
            self._platform.delete_application(application.id)
        if project.services:
            raise StillThere(
                f"project {project.shown} has other services than its application, so it is kept",
                remedy="Remove them at the server, then destroy the stack again.",
            )
        self._reporter.progress(Stage.REMOVING_PROJECT, project.shown)
        if self._platform.remove_project(project.id):
            self.removed.append(project.id)

    def _unroute(self, application: Application) -> None:
        for domain in application.domains:
            self._reporter.progress(Stage.REMOVING_DOMAIN, domain.host)
            self._platform.remove_domain(domain.id)

    def _is_quiet(self, application: Application) -> bool:
        """Take its deployments out of the queue; False while one is under way."""
        self._platform.clean_queue(application.id)
        if not self._is_deployed_now(application):
            return True
        now = self._clock.now()
        if self._waits_since is None:
            self._waits_since = now
            self._reporter.say("a deployment is under way: it is waited for")
        self._reporter.progress(Stage.WAITING_FOR_QUEUE, application.name)
        if now - self._waits_since < UNDER_WAY_S:
            return False
        self._reporter.say("the server's queue is stuck: the application is removed all the same")
        self._under_way.append(application.app_name)
        return True

    def _is_deployed_now(self, application: Application) -> bool:
        """By the queue; by the deployments' states, of which a crash leaves some, only if it is hidden."""
        jobs = self._platform.queue()
        if jobs is not None:
            return any(job.application_id == application.id for job in jobs)
        deployments = self._platform.deployments(application.id)
        return any(each.status is DeploymentStatus.RUNNING for each in deployments)

    def _check_services(self) -> None:
        """The server ignores that a service cannot be removed."""
        left = []
        for app_name in self._services:
            try:
                tasks = self._platform.tasks(app_name)
            except (ProviderBusy, ProviderUnclear):
                continue
            if any(task.wanted for task in tasks or ()):
                left.append(app_name)
        if left:
            raise StillThere(
                f"left behind, and known to the server no more: service {', '.join(left)}",
                remedy=f"On the server: docker service rm {' '.join(left)}",
            )
        if self._under_way:
            names = ", ".join(self._under_way)
            raise StillThere(
                f"a deployment under way did not end within {UNDER_WAY_S:.0f} seconds: it may still "
                f"make service {names}, which the server knows no more",
                remedy=f"On the server, later: docker service rm {' '.join(self._under_way)}",
            )
