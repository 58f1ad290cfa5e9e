"""Finds stacks at the server that nothing names any more, and removes them if that is wanted.

What is named is a param: whoever writes the action has read the inventory and verified it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.model.times import epoch
from dispatcher.provision.reaping import made_before
from dispatcher.provision.waiting import Pace, patiently
from dispatcher.stack.converge import Tools
from dispatcher.stack.marks import Mark
from dispatcher.stack.platform import Project
from dispatcher.stack.removal import Removal


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is not to be touched.

    Attributes:
        run_keys: of entries of the inventory, and of runs in progress.
        listed_at: when they were read, seconds since the epoch.
    """

    run_keys: frozenset[str]
    listed_at: float


def leftovers(
    projects: Sequence[Project], known: Known, project: str, *, before: float
) -> list[Project]:
    """The projects of this installation that nothing names, of those that were made before a time; see
    ``made_before``.
    """
    return [
        each
        for each in projects
        if (mark := Mark.read(each.description)) is not None
        and mark.project == project
        and mark.run_key not in known.run_keys
        and _age_known(each) < before
    ]


def _mark(project: Project) -> str:
    """The mark alone: a description may have more."""
    return str(Mark.read(project.description))


def _age_known(project: Project) -> float:
    """When it was made; never, if the server does not say so in a way that is known."""
    try:
        return epoch(project.created_at)
    except ValueError:
        return float("inf")


def reap(known: Known, project: str, tools: Tools, *, remove: bool) -> None:
    """List what is left over, and remove it if that is wanted.

    Raises:
        BadParams: the list is later than now; see ``made_before``.
        StillThere: something is still there.
        PlatformRefused, PlatformBusy, PlatformUnclear: the server does not answer, or refuses.
    """
    reporter = tools.reporter
    before = made_before(known.listed_at, tools.clock.now())
    pace = Pace(tools.platform, tools.clock, reporter.say)
    listed = patiently(tools.platform.projects, pace)
    found = leftovers(listed, known, project, before=before)
    reporter.say(f"{len(listed)} projects at the server, {len(found)} left over")
    shown = [{"name": each.shown, "project_id": each.id, "mark": _mark(each)} for each in found]
    for each in found:
        reporter.say(f"  {each.shown}, created {each.created_at}, {_mark(each)}")
    reporter.outputs({"leftovers": shown, "removed": []})
    if not remove:
        if found:
            reporter.say("nothing was removed: remove is not set")
        return
    ids = {each.id for each in found}
    removal = Removal(
        tools.platform,
        tools.clock,
        reporter,
        find=lambda projects: tuple(each for each in projects if each.id in ids),
    )
    try:
        removal.run()
    finally:
        reporter.outputs({"leftovers": shown, "removed": removal.removed})
