"""Makes one stack, or leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.errors import Exit, PermanentError
from dispatcher.provision.waiting import Cancelled
from dispatcher.stack.converge import Convergence, Tools, ours
from dispatcher.stack.lifecycle import DEPLOYING, Seen, Stage, Wanted
from dispatcher.stack.marks import Mark
from dispatcher.stack.platform import Project
from dispatcher.stack.probes import Probed
from dispatcher.stack.removal import Removal


class NoStack(PermanentError):
    """It does not run."""

    exit_code = Exit.FAILED


def entry_of(wanted: Wanted, seen: Seen, probed: Probed, *, state: str) -> dict[str, object]:
    """The inventory entry; of the environment it has no value."""
    scheme = "https" if wanted.https else "http"
    entry: dict[str, object] = {
        "id": wanted.mark.stack_id,
        "name": wanted.name,
        "address": wanted.host,
        "url": f"{scheme}://{wanted.host}/",
        "image": wanted.image,
        "port": wanted.port,
        "volume": wanted.volume,
        "run_key": wanted.mark.run_key,
        "project": wanted.mark.project,
        "state": state,
    }
    if seen.projects:
        entry["project_id"] = seen.projects[0].id
    if seen.application is not None:
        entry["application_id"] = seen.application.id
        entry["service"] = seen.application.app_name
    if state == "RUNNING":
        entry["answered"] = probed.healthy
        entry["certificate"] = probed.certificate
        entry["probe"] = [f"tcp://{wanted.host}:{443 if wanted.https else 80}"]
    return entry


class Creation:
    """One run of the formula ``stack``."""

    def __init__(self, wanted: Wanted, tools: Tools) -> None:
        self._wanted, self._tools = wanted, tools
        self._begun = False
        self._convergence = Convergence(wanted, tools, enter=self._enter)

    def run(self) -> None:
        """Make it.

        Raises:
            NoStack: it does not run, and nothing of it is left.
            Cancelled: the run is to end, and nothing is left.
            StillThere: something is left; the outputs name it.
        """
        try:
            record = self._convergence.run()
        except BaseException as error:
            why = "cancelled" if isinstance(error, Cancelled) else type(error).__name__
            self._clean_up(why)
            raise
        if record.stage is Stage.FAILED:
            self._clean_up(record.why.partition("\n")[0])
            raise NoStack(f"{record.why}\nnothing of it is left, but for a volume that was written")
        convergence = self._convergence
        entry = entry_of(self._wanted, convergence.seen, convergence.probed, state="RUNNING")
        self._tools.reporter.outputs({"inventory": entry})
        self._tools.reporter.say(f"the stack is running: {entry['url']} ({entry['answered']})")
        if convergence.probed.certificate not in ("valid", ""):
            self._tools.reporter.say(f"its certificate: {convergence.probed.certificate}")

    def _enter(self, seen: Seen) -> None:
        """Before each request that makes something: name in the outputs what there may be."""
        self._begun = True
        entry = entry_of(self._wanted, seen, Probed(), state=DEPLOYING)
        self._tools.reporter.outputs({"inventory": entry})

    def _clean_up(self, why: str) -> None:
        reporter = self._tools.reporter
        if self._begun:
            reporter.say(f"{why}: what was made is removed")
            removal = Removal(
                self._tools.platform,
                self._tools.clock,
                reporter,
                find=finder(self._wanted.mark, run=True),
                doubtful=self._convergence.unclear,
            )
            insist(removal)
        reporter.outputs(None)


def finder(mark: Mark, *, run: bool) -> Callable[[list[Project]], tuple[Project, ...]]:
    """What finds the projects of a stack; of one run alone if so wanted."""

    def find(projects: list[Project]) -> tuple[Project, ...]:
        found = ours(projects, mark)
        return tuple(p for p in found if not run or Mark.read(p.description) == mark)

    return find


def insist(removal: Removal) -> None:
    """Remove, however often the run is cancelled meanwhile."""
    while True:
        try:
            removal.run()
        except Cancelled:
            continue
        return


def destroy(stack_id: str, project: str, tools: Tools) -> None:
    """Remove a stack; one that is gone already is removed.

    Raises:
        StillThere, PlatformRefused: see ``Removal``.
    """
    mark = Mark(project=project, stack_id=stack_id, blob="")
    removal = Removal(tools.platform, tools.clock, tools.reporter, find=finder(mark, run=False))
    removal.run()
    if removal.removed:
        tools.reporter.say(f"removed: {stack_id}")
        for volume in removal.volumes:
            tools.reporter.say(f"the volume {volume} is kept")
    else:
        tools.reporter.say(f"the server lists nothing of {stack_id}: it was gone already")
    tools.reporter.outputs({"inventory": {"id": stack_id}, "volumes": removal.volumes})
