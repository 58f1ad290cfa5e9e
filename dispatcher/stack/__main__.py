"""``python -m dispatcher.stack deploy|update|destroy|reap``, which the formulas of ``actions/stack`` start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from dispatcher.model.times import epoch
from dispatcher.provision.confidential import Confidential
from dispatcher.provision.params import path_of, read_params, required
from dispatcher.provision.program import Program, run_program
from dispatcher.provision.reporting import FileReporter
from dispatcher.provision.waiting import SystemClock
from dispatcher.stack.converge import Tools
from dispatcher.stack.deploy import Creation, destroy
from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.environment import marked
from dispatcher.stack.lifecycle import Wanted
from dispatcher.stack.marks import Mark
from dispatcher.stack.params import (
    DestroyParams,
    ReapParams,
    StackParams,
    UpdateParams,
    environment_of,
    host_of,
    image_of,
    settings_of,
)
from dispatcher.stack.platform import TOKEN
from dispatcher.stack.probes import NetworkProber
from dispatcher.stack.reap import Known, reap
from dispatcher.stack.registry import why_unavailable
from dispatcher.stack.update import Change, Update


class _Run:
    """What every program has."""

    def __init__(self, environ: Mapping[str, str], clock: SystemClock) -> None:
        self.environ = environ
        self.settings = settings_of(environ)
        settings = self.settings
        self.prober = NetworkProber(
            address=settings.probe_address,
            http_port=settings.http_port,
            https_port=settings.https_port,
            authorities=settings.probe_authorities,
        )
        token = required(environ, TOKEN, f'Name it in the action: secrets = ["{TOKEN}"].')
        self.tools = Tools(
            platform=Dokploy(
                Connection(token, url=settings.url),
                confidential=Confidential([token.strip().encode()]),
            ),
            clock=clock,
            reporter=FileReporter(
                progress_path=path_of(environ, "DISINTO_PROGRESS"),
                outputs_path=path_of(environ, "DISINTO_OUTPUTS"),
            ),
            prober=self.prober,
            limit_s=settings.limit_s,
        )

    @property
    def key(self) -> str:
        return required(self.environ, "DISINTO_RUN_KEY", "The runner sets it.")

    def probing(self, params: StackParams | UpdateParams) -> Tools:
        """The tools, with the probe that the params want."""
        prober = replace(
            self.prober,
            tcp=params.health == "tcp",
            expected=params.expected_text,
            expected_path=params.expected_path,
        )
        return replace(self.tools, prober=prober)


def _deploy(run: _Run) -> None:
    params = read_params(StackParams, run.environ)
    wanted = Wanted(
        mark=Mark.of_run(run.settings.project, run.key),
        key=run.key,
        name=params.name,
        host=host_of(params, run.settings),
        image=image_of(params.image, run.settings),
        environment=marked(
            environment_of(params.environment, params.environment_secrets, run.environ), run.key
        ),
        volume=f"workspace-{params.name}" if params.volume else "",
        path=params.mount_path if params.volume else "",
        port=params.port,
        https=params.https,
        certificate=params.certificate if params.https else "none",
    )
    Creation(wanted, run.probing(params)).run()


def _update(run: _Run) -> None:
    params = read_params(UpdateParams, run.environ)
    environment = None
    if params.environment is not None:
        environment = environment_of(params.environment, params.environment_secrets, run.environ)
    change = Change(
        stack_id=params.id,
        project=run.settings.project,
        key=run.key,
        image=image_of(params.image, run.settings) if params.image else "",
        environment=environment,
        without_return=params.without_return,
    )
    former = replace(run.prober, tcp=params.health == "tcp")
    Update(
        change,
        run.probing(params),
        available=why_unavailable,
        back=replace(run.tools, prober=former),
    ).run()


def _destroy(run: _Run) -> None:
    params = read_params(DestroyParams, run.environ)
    destroy(params.id, run.settings.project, run.tools)


def _reap(run: _Run) -> None:
    params = read_params(ReapParams, run.environ)
    known = Known(run_keys=frozenset(params.known_runs), listed_at=epoch(params.listed_at))
    reap(known, run.settings.project, run.tools, remove=params.remove)


_PROGRAMS: Mapping[str, Callable[[_Run], None]] = {
    "deploy": _deploy,
    "update": _update,
    "destroy": _destroy,
    "reap": _reap,
}


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run one program. Returns its exit code."""
    return run_program(
        "dispatcher.stack",
        {name: _started(program, environ) for name, program in _PROGRAMS.items()},
        argv,
        undone=("deploy",),
    )


def _started(program: Callable[[_Run], None], environ: Mapping[str, str]) -> Program:
    return lambda clock: program(_Run(environ, clock))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
