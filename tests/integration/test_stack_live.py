"""The programs behind the stack formulas against a real Dokploy: with a restart in the middle, and many rounds."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tenacity

from dispatcher.errors import Exit
from dispatcher.provision.reporting import FileReporter
from dispatcher.provision.waiting import SystemClock
from dispatcher.stack.converge import Tools
from dispatcher.stack.deploy import Creation, destroy
from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.environment import marked
from dispatcher.stack.lifecycle import Wanted
from dispatcher.stack.marks import Mark
from dispatcher.stack.platform import DeploymentStatus, Platform, Project
from dispatcher.stack.probes import NetworkProber
from tests.servers import dokploy_live
from tests.support.live_stacks import Programs, until

pytestmark = [pytest.mark.needs("dokploy"), pytest.mark.thorough, pytest.mark.timeout(14_400)]

LOOK_S = 0.4
ROUNDS = int(os.environ.get("DISINTO_STACK_ROUNDS", "5"))


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with ExitStack() as stack:
        yield Programs(stack, tmp_path)


def test_a_restart_of_the_server_in_the_middle(programs: Programs) -> None:
    if not os.environ.get("DOKPLOY_RESTART"):
        pytest.skip("DOKPLOY_RESTART is not set: NOT RESTARTED")
    with dokploy_live.slow_registry(12.0) as registry:
        _, _, path = dokploy_live.image("one").partition("/")
        process = programs.deploying(image=f"{registry}/{path}")
        until(programs, "deploying")
        dokploy_live.restart()
        out, err = process.communicate(timeout=900)
    (project,) = programs.projects
    assert process.returncode == Exit.OK, out + err
    assert (len(project.application_ids), len(programs.services)) == (1, 1)


class Hasty(SystemClock):
    """Looks more often than programs do: the server is quick."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, LOOK_S))


@pytest.mark.parametrize("way", ["programs", "requests"])
def test_rounds_leave_no_networks_and_no_services(tmp_path: Path, way: str) -> None:
    """By the code of the programs, in this process, which asks some forty times a round; or by as few requests as
    it takes. On a machine at rest 300 rounds of the first take an hour.
    """
    name = f"r{secrets.token_hex(4)}"
    before = counted()
    begun = time.monotonic()
    with ExitStack() as stack:
        stack.callback(dokploy_live.remove_volume, f"workspace-{name}")
        port = stack.enter_context(dokploy_live.pages())
        tools = Tools(
            platform=Dokploy(Connection(os.environ["DOKPLOY_API_TOKEN"], url=dokploy_live.url())),
            clock=Hasty(),
            reporter=FileReporter(
                progress_path=tmp_path / "progress", outputs_path=tmp_path / "outputs"
            ),
            prober=NetworkProber(address="127.0.0.1", http_port=port),
            limit_s=dokploy_live.LIMIT_S,
        )
        for number in range(ROUNDS):
            key = f"stack-{name}.{number:040}"
            if way == "programs":
                one_round(tools, name, key)
            else:
                bare_round(tools.platform, name, key)
            print(f"round {number + 1}: {time.monotonic() - begun:.0f} s in all", flush=True)
    print(f"before: {before}; after: {counted()}", flush=True)
    assert dokploy_live.remains(name) == set()
    assert counted() == before


def counted() -> dict[str, object]:
    """What rounds might leave."""
    return {
        "networks": sorted(dokploy_live.networks()),
        "services": sorted(dokploy_live.services()),
        "routes": sorted(dokploy_live.routes()),
        "rows": dokploy_live.rows(),
    }


def one_round(tools: Tools, name: str, key: str) -> None:
    """Deploy a stack with a volume and a domain, and destroy it."""
    mark = Mark.of_run(f"rounds-{name}", key)
    wanted = Wanted(
        mark=mark, key=key, name=name, image=dokploy_live.image("one"), environment=marked("", key),
        volume=f"workspace-{name}", path="/workspace", host=f"{name}.stacks.example", port=8080,
        https=False, certificate="none",
    )  # fmt: skip
    try:
        Creation(wanted, tools).run()
    finally:
        destroy(mark.stack_id, mark.project, tools)


def bare_round(platform: Platform, name: str, key: str) -> None:
    """The same by the requests that change something, and those that they need."""
    mark = str(Mark.of_run(f"rounds-{name}", key))
    platform.create_project(name, mark)
    project = named(platform, name)
    platform.create_application(project, name, mark)
    project = named(platform, name)
    (id_,) = project.application_ids
    platform.save_image(id_, dokploy_live.image("one"))
    platform.save_environment(id_, marked("", key))
    platform.create_mount(id_, f"workspace-{name}", "/workspace")
    platform.create_domain(
        id_, f"{name}.stacks.example", port=8080, https=False, certificate="none"
    )
    platform.deploy(id_, key)
    deployed(platform, id_)
    application = platform.application(id_)
    assert application is not None
    runs(platform, application.app_name)
    for domain in application.domains:
        assert platform.remove_domain(domain.id)
    assert platform.delete_application(id_)
    assert platform.remove_project(project.id)


def named(platform: Platform, name: str) -> Project:
    (found,) = [each for each in platform.projects() if each.name == name]
    return found


@tenacity.retry(stop=tenacity.stop_after_delay(300), wait=tenacity.wait_fixed(LOOK_S), reraise=True)
def deployed(platform: Platform, application_id: str) -> None:
    (deployment,) = platform.deployments(application_id)
    assert deployment.status is DeploymentStatus.DONE


@tenacity.retry(stop=tenacity.stop_after_delay(300), wait=tenacity.wait_fixed(LOOK_S), reraise=True)
def runs(platform: Platform, app_name: str) -> None:
    assert any(task.wanted and task.running for task in platform.tasks(app_name) or ())
