"""The programs behind the stack formulas against a real Dokploy: with a restart in the middle, and many rounds."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dispatcher.errors import Exit
from dispatcher.provision.reporting import FileReporter
from dispatcher.provision.waiting import SystemClock
from dispatcher.stack.converge import Tools
from dispatcher.stack.deploy import Creation, destroy
from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.environment import marked
from dispatcher.stack.lifecycle import Wanted
from dispatcher.stack.marks import Mark
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


def test_rounds_leave_no_networks_and_no_services(tmp_path: Path) -> None:
    """By the code of the programs, in this process: 300 rounds take half an hour or more."""
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
            one_round(tools, name, f"stack-{name}.{number:040}")
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
