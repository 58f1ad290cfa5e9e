"""``python -m dispatcher.desktop create|destroy|reap``, which the formulas of ``actions/desktop`` start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from dispatcher.desktop.apps import choose, find_catalogue
from dispatcher.desktop.certificate import make_certificate
from dispatcher.desktop.cloud import TOKEN, Order
from dispatcher.desktop.create import Creation, Wanted
from dispatcher.desktop.credentials import VARIABLE, Credentials
from dispatcher.desktop.destroy import destroy
from dispatcher.desktop.digitalocean import Connection, DigitalOcean
from dispatcher.desktop.lifecycle import Stage
from dispatcher.desktop.machine import Machine, user_data
from dispatcher.desktop.params import (
    CreateParams,
    DesktopSettings,
    DestroyParams,
    ReapParams,
    read_settings,
)
from dispatcher.desktop.probes import NetworkProber
from dispatcher.desktop.reap import Known, reap
from dispatcher.desktop.tags import Tags
from dispatcher.model.times import epoch, rfc3339
from dispatcher.provision.confidential import Confidential
from dispatcher.provision.params import path_of, read_params, required
from dispatcher.provision.program import Program, run_program
from dispatcher.provision.reporting import FileReporter
from dispatcher.provision.waiting import Pace, SystemClock, patiently


class _Run:
    """What every program has."""

    def __init__(self, environ: Mapping[str, str], clock: SystemClock) -> None:
        self.environ, self.clock = environ, clock
        self.settings: DesktopSettings = read_settings(environ)
        self.tags = Tags(project=self.settings.project)
        self.reporter = FileReporter(
            progress_path=path_of(environ, "DISINTO_PROGRESS"),
            outputs_path=path_of(environ, "DISINTO_OUTPUTS"),
        )
        token = required(environ, TOKEN, f'Name it in the action: secrets = ["{TOKEN}"].')
        self.confidential = Confidential([token.strip().encode()])
        connection = Connection(token, url=self.settings.api_url)
        self.cloud = DigitalOcean(connection, confidential=self.confidential)


def _create(run: _Run) -> None:
    params = read_params(CreateParams, run.environ)
    desktop_id = required(run.environ, "DISINTO_ACTION_ID", "The runner sets it.")
    run.settings.check_id(desktop_id)
    run_key = required(run.environ, "DISINTO_RUN_KEY", "The runner sets it.")
    answer = required(run.environ, VARIABLE, f'Name it in the action: secrets = ["{VARIABLE}"].')
    run.reporter.progress(Stage.PROVISIONING_DROPLET)  # finding the image may take a while
    now = run.clock.now()
    machine = Machine(
        desktop_id=desktop_id,
        run_key=run_key,
        name=params.name,
        credentials=Credentials.from_hmac(answer),
        certificate=make_certificate(desktop_id, now=now),
        apps=choose(find_catalogue(path_of(run.environ, "DISINTO_FILES")), params.apps),
        ssh_keys=params.ssh_keys,
        vigilance=params.watched,
    )
    for secret in machine.credentials.values():
        run.confidential.add(secret)
    run.confidential.add_sent(machine.certificate.secret)
    order = Order(
        name=params.name,
        region=params.region,
        size=params.chosen_size,
        image=_image(run, params),
        tags=run.tags.for_run(desktop_id, run_key),
        ssh_keys=run.settings.ssh_keys,
        user_data=user_data(machine),
    )
    wanted = Wanted(
        order=order,
        run_tag=run.tags.run(run_key),
        fingerprint=machine.certificate.fingerprint,
        entry=_entry(run.settings, params, machine, order, now),
        keep_on_error=params.keep_on_error,
        https_port=run.settings.https_port,
        confidential=run.confidential,
    )
    prober = NetworkProber(http_port=run.settings.http_port, https_port=run.settings.https_port)
    Creation(wanted, cloud=run.cloud, clock=run.clock, prober=prober, reporter=run.reporter).run()


def _image(run: _Run, params: CreateParams) -> str:
    chosen = params.image or run.settings.image_slug
    if chosen:
        return chosen
    pace = Pace(run.cloud, run.clock, run.reporter.say)
    return patiently(lambda: run.cloud.newest_ubuntu(params.region), pace)


def _entry(
    settings: DesktopSettings, params: CreateParams, machine: Machine, order: Order, now: float
) -> dict[str, object]:
    """The inventory entry, as far as it is known before the machine is asked for."""
    entry: dict[str, object] = {
        "id": machine.desktop_id,
        "name": machine.name,
        "region": order.region,
        "size": order.size,
        "image": order.image,
        "fingerprint": machine.certificate.fingerprint,
        "key_version": machine.credentials.key_version,
        "run_key": machine.run_key,
        "project": settings.project,
        "apps": list(machine.apps),
        "vigilance": machine.vigilance is not None,
    }
    if settings.gateway_host:
        entry["gateway_host"] = settings.gateway_host
    if params.life_s is not None:
        entry["expires_at"] = rfc3339(now + params.life_s)
    return entry


def _destroy(run: _Run) -> None:
    params = read_params(DestroyParams, run.environ)
    destroy(
        params.id,
        cloud=run.cloud,
        clock=run.clock,
        reporter=run.reporter,
        tags=run.tags,
        end_sessions=lambda _desktop_id: None,  # a machine takes its own gateway with it
        project=params.project,
        droplet_id=params.droplet_id,
    )


def _reap(run: _Run) -> None:
    params = read_params(ReapParams, run.environ)
    known = Known(
        droplets=frozenset(params.known_droplets),
        run_keys=frozenset(params.known_runs),
        listed_at=epoch(params.listed_at),
    )
    reap(
        known,
        remove=params.remove,
        cloud=run.cloud,
        clock=run.clock,
        reporter=run.reporter,
        tags=run.tags,
    )


_PROGRAMS: Mapping[str, Callable[[_Run], None]] = {
    "create": _create,
    "destroy": _destroy,
    "reap": _reap,
}


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run one program. Returns its exit code."""
    return run_program(
        "dispatcher.desktop",
        {name: _started(program, environ) for name, program in _PROGRAMS.items()},
        argv,
        undone=("create",),
    )


def _started(program: Callable[[_Run], None], environ: Mapping[str, str]) -> Program:
    return lambda clock: program(_Run(environ, clock))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
