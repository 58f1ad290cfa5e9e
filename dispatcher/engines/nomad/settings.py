"""The section ``[nomad]`` of the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from dispatcher.model.mounts import Mount
from dispatcher.settings.addresses import is_http, is_loopback, reached_at
from dispatcher.settings.jobs import class_names, class_settings
from dispatcher.settings.models import Settings
from dispatcher.settings.section import (
    Address,
    Contradiction,
    EngineSection,
    PositiveSeconds,
    credential,
    wrong,
)
from dispatcher.settings.workload_identity import WorkloadIdentity
from dispatcher.toml.explain import one_of
from dispatcher.toml.source import quoted


class NomadDriver(StrEnum):
    DOCKER = "docker"
    RAW_EXEC = "raw_exec"


AUTO = "auto"
"""``listener_url`` follows from the other settings."""


class NomadSettings(EngineSection):
    """Nomad. Each connection setting is overridden by the customary NOMAD_* variable."""

    CUSTOMARY: ClassVar[Mapping[str, str]] = {
        "NOMAD_ADDR": "addr",
        "NOMAD_REGION": "region",
        "NOMAD_NAMESPACE": "namespace",
        "NOMAD_CACERT": "cacert",
        "NOMAD_CLIENT_CERT": "client_cert",
        "NOMAD_CLIENT_KEY": "client_key",
        "NOMAD_TLS_SERVER_NAME": "tls_server_name",
    }

    addr: str = Field(default="http://127.0.0.1:4646", description="Address. NOMAD_ADDR.")
    region: str = Field(default="", description="Region. NOMAD_REGION.")
    namespace: str = Field(default="default", description="Namespace. NOMAD_NAMESPACE.")
    token_file: Path | None = credential("File with the ACL token, if NOMAD_TOKEN is not set.")
    cacert: Path | None = Field(default=None, description="CA certificate. NOMAD_CACERT.")
    client_cert: Path | None = Field(default=None, description="NOMAD_CLIENT_CERT.")
    client_key: Path | None = credential("NOMAD_CLIENT_KEY.")
    tls_server_name: str = Field(default="", description="NOMAD_TLS_SERVER_NAME.")
    timeout_s: PositiveSeconds = Field(default=10.0, description="Timeout of one request, seconds.")
    driver: NomadDriver = Field(default=NomadDriver.DOCKER, description="Task driver of runners.")
    image: str = Field(default="disinto:latest", description="Image of the runner (docker driver).")
    runner_command: tuple[str, ...] = Field(
        default=(),
        description="Command that starts the runner inside a job; empty: python3 -m "
        "dispatcher.runner with docker, the same with the interpreter of 'disinto apply' with "
        "raw_exec.",
    )
    listener_url: str = Field(
        default=AUTO,
        description="Where runners reach [http] listen, such as http://192.0.2.5:8480: they then say "
        "when a formula has ended, which Nomad does 0.4 s later. Empty: they do not. auto: at "
        "[http] listen, if addr is on loopback and runners have this machine's network.",
    )
    network_mode: str = Field(default="host", description="Docker network mode of runners.")
    datacenters: tuple[str, ...] = Field(default=("*",), description="Where jobs may be placed.")
    node_pool: str = Field(default="default", description="Node pool of runner jobs.")
    cpu_mhz: int = Field(default=200, gt=0, description="CPU share of a runner, MHz.")
    memory_mb: int = Field(default=256, gt=0, description="Memory reserved for a runner, MiB.")
    memory_max_mb: int = Field(
        default=0, ge=0, description="Memory limit if oversubscription is on, MiB."
    )
    disk_mb: int = Field(default=300, gt=0, description="Ephemeral disk of a runner, MiB.")
    log_files: int = Field(default=3, gt=0, description="Rotated log files kept per stream.")
    log_file_mb: int = Field(default=10, gt=0, description="Size of one log file, MiB.")
    constraints: tuple[dict[str, str], ...] = Field(
        default=(),
        description="Extra constraints of runner jobs: attribute, operator and value.",
    )
    placement_wait_s: PositiveSeconds = Field(
        default=900.0, description="Seconds a run may wait for placement before it is unplaceable."
    )
    node_wait_s: PositiveSeconds = Field(
        default=600.0,
        description="Seconds to wait for a run on a node that stopped responding before it is "
        "lost.",
    )
    mount_sets: tuple[tuple[Mount, ...], ...] = Field(
        default=(),
        description="Sets of mounts that get a runner job, besides those that open actions need.",
    )
    ledger_prefix: str = Field(
        default="disinto",
        description="Path prefix of the ledger's variables; with letters, digits and hyphens alone it "
        "also begins the names of jobs and ACL policies.",
    )
    job_prefix: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)?$",
        max_length=40,
        description="Beginning of the names of jobs and ACL policies, which no other installation on "
        "this cluster may have; empty: ledger_prefix.",
    )
    keep_finished_s: float = Field(
        default=3600.0,
        ge=0,
        description="Seconds a finished run's job is kept for inspection in Nomad and for "
        "'disinto logs', once its result is in git; at most 500 jobs. 0 purges it at once.",
    )
    lease_ttl_s: int = Field(default=15, ge=10, description="TTL of the leader's lock, seconds.")
    priority: int = Field(default=50, ge=1, le=100, description="Nomad priority of runner jobs.")

    def contradictions(self, name: str, settings: Settings) -> Iterator[Contradiction]:
        """See ``EngineSection``."""
        if (self.client_cert is None) != (self.client_key is None):
            key = "client_key" if self.client_key is None else "client_cert"
            yield wrong(
                "client_cert and client_key go together, and one is missing",
                name,
                "client_cert" if key == "client_key" else "client_key",
                remedy=f"Set {key} as well",
            )
        in_use = settings.scheduler == name
        if in_use and not self.job_prefix and names_prefix(self) != self.ledger_prefix:
            yield wrong(
                f"ledger_prefix {quoted(self.ledger_prefix)} cannot begin the names of jobs, and what is "
                f"made of it, {quoted(names_prefix(self))}, may be another installation's",
                name,
                "job_prefix",
                remedy="Set job_prefix to what no other installation on this cluster has; "
                f'job_prefix = "{names_prefix(self)}" keeps the names that earlier releases gave',
            )
        if in_use and self.placement_wait_s > settings.grants.placement_wait_s:
            yield wrong(
                f"a run may wait {self.placement_wait_s:g} s for placement, but its grant can be "
                f"unwrapped for {settings.grants.placement_wait_s} s only",
                name,
                "placement_wait_s",
                remedy="Make [grants] placement_wait_s at least as long",
            )
        if self.memory_max_mb and self.memory_max_mb < self.memory_mb:
            remedy = "Make it larger, or 0 for none"
            what = "memory_max_mb is smaller than memory_mb"
            yield wrong(what, name, "memory_max_mb", remedy=remedy)
        if self.listener_url not in ("", AUTO) and not is_http(self.listener_url):
            remedy = 'Write for example listener_url = "http://192.0.2.5:8480"'
            what = f"listener_url is {quoted(self.listener_url)}, which is no http:// address"
            yield wrong(what, name, "listener_url", remedy=remedy)
        if in_use:
            yield from self._of_classes(settings)

    def _of_classes(self, settings: Settings) -> Iterator[Contradiction]:
        for each in class_names(settings):
            keys = class_settings(settings, each)
            table = ("jobs", each) if each in settings.jobs else ("formulas", "classes")
            drivers = [driver.value for driver in NomadDriver]
            if keys.driver and keys.driver not in drivers:
                what = f"Nomad runs no jobs with the driver {quoted(keys.driver)} here"
                yield wrong(what, *table, "driver", remedy=f"Use {one_of(drivers)}")
            elif (keys.driver or self.driver) == NomadDriver.RAW_EXEC and keys.mounts:
                yield wrong(
                    f"the job class {each} has mounts, and the driver raw_exec has none",
                    *table,
                    remedy=f'Set driver = "docker", or mounts = [] in [jobs.{each}]',
                )
            if keys.memory_max_mb and keys.memory_max_mb < (keys.memory_mb or self.memory_mb):
                what = "memory_max_mb is smaller than memory_mb"
                remedy = "Make it larger, or leave it out"
                yield wrong(what, *table, "memory_max_mb", remedy=remedy)

    def addresses(self) -> tuple[Address, ...]:
        """See ``EngineSection``."""
        carries = "the token and wrapped grants"
        return (Address(key="addr", value=self.addr, carries=carries, may_be_socket=True),)

    def told_at(self, listen: str) -> str:
        """Where runners say that their formula has ended; "" for nowhere.

        Args:
            listen: where ``serve`` listens, host:port; "" for nowhere.
        """
        if self.listener_url != AUTO:
            return self.listener_url
        is_here = is_loopback(urlsplit(self.addr).hostname or "")
        has_network = self.driver is NomadDriver.RAW_EXEC or self.network_mode == "host"
        return f"http://{reached_at(listen)}" if listen and is_here and has_network else ""

    def workload_identity(self) -> WorkloadIdentity:
        """See ``EngineSection``."""
        return WorkloadIdentity(
            job=dispatcher_name(self),
            page_job=page_name(self),
            namespace=self.namespace or "default",
            jwks_url=f"{self.addr.rstrip('/')}/.well-known/jwks.json",
            cacert=self.cacert,
        )


def dispatcher_name(nomad: NomadSettings) -> str:
    """Name of the job that runs the dispatcher itself."""
    return f"{names_prefix(nomad)}-dispatcher"


def page_name(nomad: NomadSettings) -> str:
    """Name of the job that runs the web page."""
    return f"{names_prefix(nomad)}-page"


def names_prefix(nomad: NomadSettings) -> str:
    """Beginning of the names of jobs and ACL policies: ``job_prefix``, or what can be made of
    ``ledger_prefix``. Only where that is the same do the settings count as complete.
    """
    made = re.sub(r"[^A-Za-z0-9-]+", "-", nomad.ledger_prefix).strip("-") or "disinto"
    return nomad.job_prefix or made
