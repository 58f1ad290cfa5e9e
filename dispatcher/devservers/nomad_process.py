"""The process of a Nomad agent: its configuration, its start, and its premature end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import jinja2
import tenacity

from dispatcher.engines.nomad.render import hcl
from dispatcher.errors import PermanentError
from dispatcher.host import resources
from dispatcher.model.mounts import Mount


class AgentEnded(PermanentError):
    """The agent ended by itself; its last log lines are the message."""


retrying = tenacity.retry(
    retry=tenacity.retry_if_not_exception_type(AgentEnded),
    stop=tenacity.stop_after_delay(90),
    wait=tenacity.wait_fixed(0.1),
    reraise=True,
)


Launch = Callable[[list[str], Path], subprocess.Popen[bytes]]
"""Starts ``nomad`` with these arguments; its files are in the directory."""


def start_process(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "agent.log").open("ab") as log:
        return subprocess.Popen(
            ["nomad", *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def write_config(
    folder: Path,
    ports: tuple[int, int, int],
    volumes: Mapping[Mount, Path],
    *,
    extra: str = "",
    servers: Collection[str] = (),
    node_pool: str = "default",
) -> Path:
    """Write the agent's configuration; returns its path."""
    environment = jinja2.Environment(  # noqa: S701 - the output is HCL; the filter escapes for it
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["hcl"] = hcl
    http, rpc, serf = ports
    text = environment.from_string(resources.text("jobs/dev-agent.hcl.j2")).render(
        name=node_pool if servers else f"disinto-{http}",
        folder=str(folder),
        http=http,
        rpc=rpc,
        serf=serf,
        servers=list(servers),
        node_pool=node_pool,
        volumes={mount.value: str(path) for mount, path in volumes.items()},
        lowest_port=20_000 + http % 40 * 200,
    )
    config = folder / "agent.hcl"
    config.write_text(f"{text}\n{extra}")
    return config


def check_alive(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.poll() is not None:
        log = (folder / "agent.log").read_text()[-2000:]
        raise AgentEnded(f"the agent ended with {process.returncode}:\n{log}")
