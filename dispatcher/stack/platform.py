"""The server that runs stacks, as the life cycle sees it. Nothing it does is idempotent, no name is unique.

``provision.provider`` says what the three errors prove. After ``PlatformUnclear`` look, then decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from dispatcher.provision.provider import ProviderBusy, ProviderRefused, ProviderUnclear

TOKEN = "DOKPLOY_API_TOKEN"  # noqa: S105 - a name
"""The secret, and environment variable, that holds the server's API key."""


class PlatformRefused(ProviderRefused):
    """The request was understood and rejected: key, rights, values."""


class PlatformBusy(ProviderBusy):
    """Nothing was done, and later it may be."""


class PlatformUnclear(ProviderUnclear):
    """No usable answer: the request may have been carried out."""


NAME = re.compile(r"[a-z][a-z0-9-]{1,18}[a-z0-9]", re.ASCII)
"""Names of stacks, as ``stack.schema.json`` has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """What holds the applications of one stack.

    Attributes:
        description: that we gave it; has the stack's mark.
        environment_id: where applications are created; "" up to 0.24, where the project is.
        application_ids: of all its applications, in all environments.
        services: how many of its services are no applications.
        created_at: RFC 3339, by the server's clock; it sorts.
    """

    id: str
    name: str
    description: str
    environment_id: str
    application_ids: tuple[str, ...]
    created_at: str
    services: int = 0

    @property
    def shown(self) -> str:
        """Its name, if it is like ours: another one may quote what is confidential at the server."""
        return self.name if NAME.fullmatch(self.name) else "a project with an odd name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """A route from a host name to an application.

    Attributes:
        port: that the container listens on.
        certificate: ``letsencrypt`` or ``none``.
    """

    id: str
    host: str
    port: int
    https: bool
    certificate: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A volume in a container.

    Attributes:
        path: in the container.
    """

    id: str
    volume: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """One application.

    Attributes:
        app_name: of its service; the server adds a random suffix.
        description: that we gave it; has the stack's mark. Whoever adds one by hand gives it another, or none.
        status: ``idle``, ``running``, ``done`` or ``error``; of its last deployment, not of the service.
        image: "" until it is set.
        environment: as text; holds secrets, so it is kept out of ``repr``.
        stops_first: whether an update stops the old task before the new one starts.
    """

    id: str
    name: str
    app_name: str
    status: str
    image: str
    environment: str = field(repr=False)
    domains: tuple[Domain, ...]
    mounts: tuple[Mount, ...]
    stops_first: bool = False
    description: str = ""


class DeploymentStatus(StrEnum):
    """How far a deployment is."""

    RUNNING = "running"
    DONE = "done"  # the service was created or changed; whether it runs is another question
    ERROR = "error"
    CANCELLED = "cancelled"  # the server was restarted meanwhile


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """One request to run an application, as the server recorded it.

    Attributes:
        description: that we gave it, by which it is found.
        error: why it failed, in the server's words.
    """

    id: str
    status: DeploymentStatus
    description: str
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One attempt of the service to run its container.

    Attributes:
        wanted: whether it is to run; tasks of former versions are not.
        running: whether it runs.
        error: why it ended, in the server's words.
    """

    id: str
    wanted: bool
    running: bool
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One deployment in the server's queue.

    Attributes:
        description: that was given to the deployment.
        active: whether the server is at it; nothing takes it out of the queue then.
    """

    id: str
    application_id: str
    description: str
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """What the container of a task was made from.

    Attributes:
        run: the run that deployed it, by its environment; "" for a run that left no mark there.
        checked: whether it has a health check: the swarm stops the former container only when it is passed.
    """

    image: str
    run: str
    checked: bool = False


class Platform(Protocol):
    """The server. Every method raises ``PlatformRefused``, ``PlatformBusy`` and ``PlatformUnclear``."""

    @property
    def requests_left(self) -> float | None:
        """Share of the allowed requests that is left, 0 to 1; None, because the server does not say."""

    def projects(self) -> list[Project]:
        """All that the key may see."""

    def create_project(self, name: str, description: str) -> None: ...

    def remove_project(self, project_id: str) -> bool:
        """False if it is unknown. Services of its applications go on running: delete those first."""

    def application(self, application_id: str) -> Application | None: ...

    def create_application(self, project: Project, name: str, description: str) -> None: ...

    def delete_application(self, application_id: str) -> bool:
        """False if it is unknown. Removes its service, route, domains and mounts; volumes stay."""

    def save_image(self, application_id: str, image: str) -> None: ...

    def save_environment(self, application_id: str, text: str) -> None:
        """Replace all of it; ``environment.encoded`` makes the text."""

    def create_mount(self, application_id: str, volume: str, path: str) -> None: ...

    def remove_mount(self, mount_id: str) -> bool: ...

    def create_domain(
        self, application_id: str, host: str, *, port: int, https: bool, certificate: str
    ) -> None: ...

    def remove_domain(self, domain_id: str) -> bool: ...

    def deploy(self, application_id: str, description: str) -> None:
        """Put it into the server's queue, which a restart of the server empties."""

    def deployments(self, application_id: str) -> list[Deployment]:
        """Newest first, the last ten; also [] for an application that is gone."""

    def queue(self) -> list[Job] | None:
        """All that is in the queue; None if the key may not see that."""

    def clean_queue(self, application_id: str) -> None:
        """Take its waiting deployments out of the queue."""

    def log_tail(self, deployment_id: str) -> tuple[str, ...]:
        """The last lines of a deployment's log: only there is why it failed."""

    def tasks(self, app_name: str) -> list[Task] | None:
        """None if the key may not see them."""

    def container_of(self, app_name: str, task_id: str) -> Container | None:
        """The container of a task; None if it cannot be seen."""
