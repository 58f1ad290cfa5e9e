"""The programs behind the stack formulas on a real Dokploy, killed at each boundary of their requests.

A way to the server kills the process by SIGKILL: before the server gets a request, or before the process gets
the answer. Afterwards there is one stack or none, the outputs name it, and destroying leaves nothing.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import tenacity

from dispatcher.errors import Exit
from tests.servers import dokploy_live
from tests.servers.dokploy_way import Boundary, Way, way_to
from tests.support.live_stacks import Programs, ended

pytestmark = [pytest.mark.needs("dokploy"), pytest.mark.thorough, pytest.mark.timeout(1200)]

CREATING = ("project.create", "application.create", "mounts.create", "domain.create")
CHANGING = (
    "application.saveDockerProvider", "application.saveEnvironment", "application.deploy",
)  # fmt: skip
REMOVING = ("domain.delete", "application.cleanQueues", "application.delete", "project.remove")
PROBING = Boundary(procedure="docker.getServiceContainersByAppName", answered=False)


def boundaries(*procedures: str, nth: int = 1) -> list[Boundary]:
    return [
        Boundary(procedure=each, answered=answered, nth=nth)
        for each in procedures
        for answered in (False, True)
    ]


@dataclass
class Ground:
    """A stack's programs, and the way that they take to the server."""

    programs: Programs
    way: Way
    numbers: Iterator[int]

    def killed(self, boundary: Boundary, program: str) -> None:
        """Run a program, which is killed there."""
        with self.way.deadly(boundary) as client:
            process = self.started(program)
            client(process.pid)
            code, said = ended(process)
        assert code == -signal.SIGKILL, f"{boundary} was not reached: {said}"

    def started(self, program: str) -> subprocess.Popen[str]:
        programs = self.programs
        match program.split():
            case ["deploy"]:
                return programs.deploying()
            case ["destroy"]:
                return programs.start("destroy", {"id": programs.id})
            case ["update", version]:
                return programs.updating(next(self.numbers), dokploy_live.image(version))
        raise AssertionError(program)

    def done(self, program: str) -> None:
        """Run a program to its end."""
        code, said = ended(self.started(program))
        assert code == Exit.OK, said

    @property
    def found(self) -> tuple[int, int]:
        """How many projects and applications the server has of it."""
        projects = self.programs.projects
        return len(projects), sum(len(each.application_ids) for each in projects)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    yield from a_ground(tmp_path)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A stack that runs; each test leaves it running."""
    for ground in a_ground(tmp_path_factory.mktemp("standing")):
        ground.done("deploy")
        yield ground


def a_ground(directory: Path) -> Iterator[Ground]:
    with ExitStack() as stack:
        way = stack.enter_context(way_to(dokploy_live.url()))
        yield Ground(Programs(stack, directory, url=way.url), way, count(1))


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.5), reraise=True)
def nothing_remains(ground: Ground) -> None:
    """A removal whose answer was lost may still be under way at the server."""
    assert dokploy_live.remains(ground.programs.name) == set()


@pytest.mark.parametrize("boundary", [*boundaries(*CREATING, *CHANGING), PROBING], ids=str)
def test_a_deployment_leaves_one_stack_or_none(ground: Ground, boundary: Boundary) -> None:
    networks = dokploy_live.networks()
    ground.killed(boundary, "deploy")
    projects, applications = ground.found
    assert max(projects, applications) <= 1
    if projects:
        assert ground.programs.entry["name"] == ground.programs.name
    ground.done("destroy")
    nothing_remains(ground)
    assert dokploy_live.networks() == networks


@pytest.mark.parametrize("boundary", [*boundaries(*CHANGING), PROBING], ids=str)
def test_an_update_leaves_one_stack_and_can_be_repeated(
    standing: Ground, boundary: Boundary
) -> None:
    killed_and_repeated(standing, boundary, killed="two")


@pytest.mark.parametrize("boundary", boundaries(*CHANGING, nth=2), ids=str)
def test_a_return_leaves_one_stack_and_the_next_update_succeeds(
    standing: Ground, boundary: Boundary
) -> None:
    killed_and_repeated(standing, boundary, killed="bad")


def killed_and_repeated(standing: Ground, boundary: Boundary, *, killed: str) -> None:
    networks = dokploy_live.networks()
    standing.killed(boundary, f"update {killed}")
    assert standing.found == (1, 1)
    standing.done("update two")
    (application,) = standing.programs.applications
    assert application.image == dokploy_live.image("two")
    assert (len(application.mounts), len(application.domains)) == (1, 1)
    assert standing.programs.services == [application.app_name]
    assert dokploy_live.networks() == networks
    standing.done("update one")


@pytest.mark.parametrize("boundary", boundaries(*REMOVING), ids=str)
def test_a_destruction_can_be_repeated(ground: Ground, boundary: Boundary) -> None:
    networks = dokploy_live.networks()
    ground.done("deploy")
    ground.killed(boundary, "destroy")
    ground.done("destroy")
    nothing_remains(ground)
    assert dokploy_live.networks() == networks
