"""Changes image and environment of a stack, and returns to the former ones if the new version is not healthy.

The old container goes on running until a new one does, so what answers proves nothing of the new version:
it counts only if its own container was made from the wanted image and bears the mark of this run, or its
page has the wanted text. A new version that ends at once does not stay: the swarm starts the former one
again, as a new task, so neither a new task nor, if the environment alone changes, the image proves anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dispatcher.provision.waiting import Cancelled, Clock, Pace, patiently
from dispatcher.stack.converge import POLL_S, Convergence, Tools, ours, with_applications
from dispatcher.stack.deploy import NoStack, entry_of
from dispatcher.stack.environment import marked, run_of
from dispatcher.stack.lifecycle import Record, Seen, Stage, Wanted
from dispatcher.stack.marks import Mark
from dispatcher.stack.platform import Application, Container, Domain, Project, Task
from dispatcher.stack.probes import Probed

Available = Callable[[str], str]
"""Why an image cannot be pulled; "" if it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is to be changed.

    Attributes:
        key: of this run.
        image: "" for the present one.
        environment: encoded, all of it; None for the present one.
        without_return: go on although the former image may be gone.
    """

    stack_id: str
    project: str
    key: str
    image: str = ""
    environment: str | None = field(default=None, repr=False)
    without_return: bool = False


class Downtime:
    """Seconds for which no probe was answered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._down_since: float | None = None
        self._total_s = 0.0

    def watch(self, probed: Probed) -> None:
        now = self._clock.now()
        if self._down_since is not None:
            self._total_s += now - self._down_since
        self._down_since = None if probed.healthy else now

    @property
    def seconds(self) -> float:
        return self._total_s

    @property
    def measured(self) -> str:
        return (
            f"measured downtime: {self.seconds:.0f} seconds, by a look every {POLL_S:.0f} seconds"
        )


class Update:
    """One run of the formula ``stack-update``.

    Args:
        back: the tools to return with, which look for no text of the new version.
    """

    def __init__(self, change: Change, tools: Tools, *, available: Available, back: Tools) -> None:
        self._change, self._tools, self._available = change, tools, available
        self._back = back
        self._downtime = Downtime(tools.clock)
        self._none_expected = False

    def run(self) -> None:
        """Change it.

        Raises:
            NoStack: the stack is not there, or the new version is not healthy.
            Cancelled: the run is to end; the stack is as it was.
        """
        project, application = self._present()
        former = self._wanted(project, application)
        change = self._change
        wanted = replace(
            former,
            key=change.key,
            image=change.image or former.image,
            environment=marked(
                former.environment if change.environment is None else change.environment,
                change.key,
            ),
        )
        self._prove_return(former)
        tasks = self._tasks(application)
        before = [task.id for task in tasks]
        container = self._running(application, tasks)
        self._expect(application, container)
        forward = Convergence(
            wanted,
            self._tools,
            before=before,
            # If an update was killed, its mark is at the server, but no container's.
            former=container.run if container else run_of(former.environment),
            watch=self._downtime.watch,
        )
        try:
            record = forward.run()
        except Cancelled:
            self._return(former)
            raise
        if record.stage is Stage.FAILED:
            why = record.why
            returned = self._return(former)
            raise NoStack(f"{why}\n{self._outcome(former, returned)}")
        self._finish(wanted, forward.seen, forward.probed)

    def _present(self) -> tuple[Project, Application]:
        change = self._change
        mark = Mark(project=change.project, stack_id=change.stack_id, blob="")
        pace = self._pace()
        platform = self._tools.platform
        projects = ours(patiently(platform.projects, pace), mark)
        for each in projects:
            project, applications = patiently(
                lambda p=each: with_applications(platform, p),  # type: ignore[misc]
                pace,
            )
            application = next((a for a in applications if a.image), None)
            if application is not None:
                return project, application
        raise NoStack(
            f"the server has no stack {change.stack_id}", remedy="'disinto stack list' shows them."
        )

    def _wanted(self, project: Project, application: Application) -> Wanted:
        """The stack as it is now, as something to return to."""
        change = self._change
        mark = Mark.read(project.description)
        assert mark is not None  # noqa: S101 - it was found by it
        none = Domain(id="", host="", port=3000, https=False, certificate="none")
        domain = next(iter(application.domains), none)
        mount = next(iter(application.mounts), None)
        return Wanted(
            mark=mark,
            key=f"{change.key} back",
            name=project.name,
            image=application.image,
            environment=application.environment,
            volume=mount.volume if mount else "",
            path=mount.path if mount else "",
            host=domain.host,
            port=domain.port,
            https=domain.https,
            certificate=domain.certificate,
            updates=True,
        )

    def _prove_return(self, former: Wanted) -> None:
        """Nothing is changed that could not be taken back, unless that was asked for."""
        why = self._available(former.image)
        if not why:
            return
        if not self._change.without_return:
            raise NoStack(
                f"there may be no way back: the present image {former.image} cannot be pulled ({why})",
                remedy="Push it again, or set without_return = true.",
            )
        self._tools.reporter.say(f"there may be no way back to {former.image}: {why}")

    def _expect(self, application: Application, container: Container | None) -> None:
        """Say what the swarm will do; of a new image it is assumed that it has a health check if the old one has."""
        self._none_expected = (
            container is not None and container.checked and not application.stops_first
        )
        if application.stops_first:
            said = "the old container is stopped first: not reachable until the new one runs"
        elif self._none_expected:
            said = "none: the old container runs until the new one has passed its health check"
            if self._change.image:
                said = f"{said}, if the new image has one as the old one has"
        else:
            said = (
                "seconds: the old container runs until the new one is started, and that one may not "
                "answer at once, because its image has no health check"
            )
        self._tools.reporter.say(f"expected downtime: {said}")

    def _tasks(self, application: Application) -> list[Task]:
        tasks = patiently(lambda: self._tools.platform.tasks(application.app_name), self._pace())
        return tasks or []

    def _running(self, application: Application, tasks: Sequence[Task]) -> Container | None:
        running = next((task for task in tasks if task.wanted and task.running), None)
        if running is None:
            return None
        platform = self._tools.platform
        return patiently(
            lambda: platform.container_of(application.app_name, running.id), self._pace()
        )

    def _return(self, former: Wanted) -> Record:
        """Back to the former image and environment, however often the run is cancelled."""
        self._tools.reporter.say(f"back to {former.image}")
        while True:
            # Former tasks count here: if the new version never ran, they still do.
            back = Convergence(former, self._back, watch=self._downtime.watch)
            try:
                return back.run()
            except Cancelled:
                continue

    def _outcome(self, former: Wanted, returned: Record) -> str:
        down = self._measured
        if returned.stage is Stage.RUNNING:
            return f"returned to {former.image}; {down}"
        return f"NOT returned to {former.image}: {returned.why}; {down}"

    @property
    def _measured(self) -> str:
        """What the probes saw, and whether it is more than what was expected."""
        measured = self._downtime.measured
        more = self._none_expected and self._downtime.seconds > 0
        return f"{measured}, although none was expected" if more else measured

    def _finish(self, wanted: Wanted, seen: Seen, probed: Probed) -> None:
        reporter = self._tools.reporter
        image = seen.container.image if seen.container else ""
        reporter.say(f"the new version runs: {image or wanted.image} ({probed.healthy})")
        reporter.say(self._measured)
        entry = entry_of(wanted, seen, probed, state="RUNNING")
        reporter.outputs(
            {
                "inventory": entry,
                "downtime_s": round(self._downtime.seconds),
                "downtime_expected": not self._none_expected,
                "image_seen": image,
            }
        )

    def _pace(self) -> Pace:
        return Pace(self._tools.platform, self._tools.clock, self._tools.reporter.say)
