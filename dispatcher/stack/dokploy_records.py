"""What Dokploy's API answers, as far as it is read. The names of the fields are the API's."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from dispatcher.provision.confidential import printable
from dispatcher.stack.environment import RUN
from dispatcher.stack.platform import (
    Application,
    Container,
    DeploymentStatus,
    Domain,
    Job,
    Mount,
    Project,
)


class NamedRecord(BaseModel):
    applicationId: str = ""  # noqa: N815


class EnvironmentRecord(BaseModel):
    environmentId: str = ""  # noqa: N815
    isDefault: bool = False  # noqa: N815
    applications: list[NamedRecord] = Field(default_factory=list)
    compose: list[Any] = Field(default_factory=list)
    mariadb: list[Any] = Field(default_factory=list)
    mongo: list[Any] = Field(default_factory=list)
    mysql: list[Any] = Field(default_factory=list)
    postgres: list[Any] = Field(default_factory=list)
    redis: list[Any] = Field(default_factory=list)
    libsql: list[Any] = Field(default_factory=list)

    @property
    def services(self) -> int:
        others = (self.compose, self.mariadb, self.mongo, self.mysql, self.postgres)
        return sum(map(len, (*others, self.redis, self.libsql)))


class ProjectRecord(EnvironmentRecord):
    projectId: str  # noqa: N815
    name: str
    description: str | None = None
    createdAt: str = ""  # noqa: N815
    environments: list[EnvironmentRecord] = Field(default_factory=list)

    def plain(self) -> Project:
        places = self.environments or [self]
        default = next((each for each in places if each.isDefault), places[0])
        return Project(
            id=self.projectId,
            name=printable(self.name),
            description=self.description or "",
            environment_id=default.environmentId,
            application_ids=tuple(a.applicationId for p in places for a in p.applications),
            created_at=printable(self.createdAt),
            services=sum(place.services for place in places),
        )


class DomainRecord(BaseModel):
    domainId: str  # noqa: N815
    host: str
    port: int | None = None
    https: bool = False
    certificateType: str = ""  # noqa: N815


class MountRecord(BaseModel):
    mountId: str  # noqa: N815
    volumeName: str | None = None  # noqa: N815
    mountPath: str = ""  # noqa: N815


class ApplicationRecord(BaseModel):
    applicationId: str  # noqa: N815
    name: str
    description: str | None = None
    appName: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")  # noqa: N815
    applicationStatus: str = ""  # noqa: N815
    sourceType: str = ""  # noqa: N815
    dockerImage: str | None = None  # noqa: N815
    env: str | None = None
    domains: list[DomainRecord] = Field(default_factory=list)
    mounts: list[MountRecord] = Field(default_factory=list)
    updateConfigSwarm: dict[str, Any] | None = None  # noqa: N815

    def plain(self) -> Application:
        return Application(
            id=self.applicationId,
            name=printable(self.name),
            app_name=self.appName,
            description=self.description or "",
            status=self.applicationStatus,
            image=printable(self.dockerImage or "") if self.sourceType == "docker" else "",
            environment=self.env or "",
            domains=tuple(
                Domain(
                    id=each.domainId,
                    host=printable(each.host),
                    port=each.port or 3000,
                    https=each.https,
                    certificate=each.certificateType,
                )
                for each in self.domains
            ),
            mounts=tuple(
                Mount(id=each.mountId, volume=printable(each.volumeName or ""), path=each.mountPath)
                for each in self.mounts
            ),
            stops_first=(self.updateConfigSwarm or {}).get("Order") == "stop-first",
        )


class DeploymentRecord(BaseModel):
    deploymentId: str  # noqa: N815
    status: DeploymentStatus
    description: str | None = None
    errorMessage: str | None = None  # noqa: N815


class TaskRecord(BaseModel):
    containerId: str  # noqa: N815
    state: str = ""
    currentState: str = ""  # noqa: N815
    error: str = ""
    name: str = ""

    @property
    def trouble(self) -> str:
        """The server cuts the text of ``docker service ps``: of the last task, without an error, it leaves
        the heading.
        """
        return "" if self.error == "Error:" else self.error.strip('"')


class JobData(BaseModel):
    applicationId: str = ""  # noqa: N815
    descriptionLog: str = ""  # noqa: N815


class JobRecord(BaseModel):
    id: str
    state: str = ""
    data: JobData = Field(default_factory=JobData)

    def plain(self) -> Job:
        return Job(
            id=self.id,
            application_id=self.data.applicationId,
            description=self.data.descriptionLog,
            active=self.state == "active",
        )


class HealthCheckRecord(BaseModel):
    Test: list[str] | None = None


class ConfigRecord(BaseModel):
    Image: str = ""
    Env: list[str] | None = None
    Healthcheck: HealthCheckRecord | None = None

    @property
    def checked(self) -> bool:
        """``NONE`` switches off the one of the image."""
        test = self.Healthcheck.Test if self.Healthcheck else None
        return bool(test) and test != ["NONE"]


class ContainerRecord(BaseModel):
    Config: ConfigRecord

    def plain(self) -> Container:
        """Of the environment, which holds secrets, the mark alone is read."""
        values = [
            each.partition("=")[2] for each in self.Config.Env or () if each.startswith(f"{RUN}=")
        ]
        return Container(
            image=printable(self.Config.Image),
            run=values[0] if values else "",
            checked=self.Config.checked,
        )
