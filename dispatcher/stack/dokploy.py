"""The adapter for Dokploy's API, read from 0.30.2. The only module that knows it.

No request is repeated here. What a failure proves is in the error's type. Environments hold secrets: each
text of the server's passes ``Confidential``, which withholds what quotes one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from dispatcher.errors import origin_of
from dispatcher.provision.confidential import WITHHELD, Confidential, printable
from dispatcher.provision.http import TIMEOUT_S, HttpClient, Raw, header_number, sendable
from dispatcher.stack.dokploy_records import (
    ApplicationRecord,
    ContainerRecord,
    DeploymentRecord,
    JobRecord,
    ProjectRecord,
    TaskRecord,
)
from dispatcher.stack.platform import (
    TOKEN,
    Application,
    Container,
    Deployment,
    Job,
    PlatformBusy,
    PlatformRefused,
    PlatformUnclear,
    Project,
    Task,
)

LOG_LINES = 12
_LONGEST_RETRY_S = 600.0
_WRAPPED = ("project.create", "application.create", "mounts.create", "domain.create")
"""Procedures that answer 400 to whatever went wrong, also after they did what was asked."""

_NO_RIGHT = re.compile(r"unauthorized to access resource|permission denied", re.IGNORECASE)
"""In the words of a refusal for want of a right, which comes with 400, 401 or 403, and before anything is done."""


_M = TypeVar("_M", bound=BaseModel)


class Connection:
    """Sends requests to the API over HTTP.

    Args:
        token: kept out of every text.
        url: of the server, without ``/api``.

    Raises:
        Misconfigured: the address is none, or the token cannot be sent.
    """

    def __init__(self, token: str, *, url: str, timeout_s: float = TIMEOUT_S) -> None:
        token = sendable(token, name=TOKEN, noun="a key")
        self._http = HttpClient(
            f"{url.rstrip('/')}/api",
            name="Dokploy",
            headers={"x-api-key": token},
            busy=PlatformBusy,
            unclear=PlatformUnclear,
            timeout_s=timeout_s,
        )

    def request(
        self, method: str, path: str, *, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Raw:
        """Send once.

        Raises:
            PlatformBusy: there is no connection, so nothing was done.
            PlatformUnclear: no answer, or one that is too large.
        """
        return self._http.send(method, path, what=path, params=query, body=body)


class Dokploy:
    """A client of one server. Implements ``Platform``.

    Args:
        confidential: what no text of the server's may repeat; what is sent is added.
    """

    def __init__(self, connection: Connection, *, confidential: Confidential | None = None) -> None:
        self._connection = connection
        self._confidential = confidential or Confidential()

    @property
    def requests_left(self) -> float | None:
        return None

    def projects(self) -> list[Project]:
        return [each.plain() for each in _list(ProjectRecord, self._get("project.all"))]

    def create_project(self, name: str, description: str) -> None:
        self._post("project.create", name=name, description=description)

    def remove_project(self, project_id: str) -> bool:
        return self._removed("project.remove", projectId=project_id)

    def application(self, application_id: str) -> Application | None:
        answer = self._get("application.one", unknown=None, applicationId=application_id)
        if answer is None:
            return None
        record = _read(ApplicationRecord, answer)
        self._confidential.add_sent(record.env or "")
        if record.applicationId != application_id:
            raise PlatformUnclear("Dokploy described another application than the one asked for")
        return record.plain()

    def create_application(self, project: Project, name: str, description: str) -> None:
        place = (
            {"environmentId": project.environment_id}
            if project.environment_id
            else {"projectId": project.id}
        )
        self._post("application.create", name=name, appName=name, description=description, **place)

    def delete_application(self, application_id: str) -> bool:
        return self._removed("application.delete", applicationId=application_id)

    def save_image(self, application_id: str, image: str) -> None:
        self._post(
            "application.saveDockerProvider",
            applicationId=application_id,
            dockerImage=image,
            username=None,
            password=None,
            registryUrl=None,
        )

    def save_environment(self, application_id: str, text: str) -> None:
        self._confidential.add_sent(text)
        self._post(
            "application.saveEnvironment",
            applicationId=application_id,
            env=text,
            buildArgs="",
            buildSecrets="",
            createEnvFile=False,
        )

    def create_mount(self, application_id: str, volume: str, path: str) -> None:
        self._post(
            "mounts.create",
            type="volume",
            volumeName=volume,
            mountPath=path,
            serviceId=application_id,
            serviceType="application",
        )

    def remove_mount(self, mount_id: str) -> bool:
        return self._removed("mounts.remove", mountId=mount_id)

    def create_domain(
        self, application_id: str, host: str, *, port: int, https: bool, certificate: str
    ) -> None:
        self._post(
            "domain.create",
            applicationId=application_id,
            domainType="application",
            host=host,
            port=port,
            https=https,
            certificateType=certificate,
        )

    def remove_domain(self, domain_id: str) -> bool:
        return self._removed("domain.delete", domainId=domain_id)

    def deploy(self, application_id: str, description: str) -> None:
        self._post(
            "application.deploy",
            applicationId=application_id,
            title="disinto",
            description=description,
        )

    def deployments(self, application_id: str) -> list[Deployment]:
        answer = self._get("deployment.all", applicationId=application_id)
        return [
            Deployment(
                id=each.deploymentId,
                status=each.status,
                description=each.description or "",
                error=self._confidential.shown(each.errorMessage or ""),
            )
            for each in _list(DeploymentRecord, answer)
        ]

    def queue(self) -> list[Job] | None:
        try:
            answer = self._get("deployment.queueList", unknown=None)
        except PlatformRefused:
            return None
        return None if answer is None else [each.plain() for each in _list(JobRecord, answer)]

    def clean_queue(self, application_id: str) -> None:
        self._removed("application.cleanQueues", applicationId=application_id)

    def log_tail(self, deployment_id: str) -> tuple[str, ...]:
        answer = self._get(
            "deployment.readLogs", unknown="", deploymentId=deployment_id, tail=str(LOG_LINES)
        )
        lines = answer.splitlines()[-LOG_LINES:] if isinstance(answer, str) else []
        if self._confidential.is_in("\n".join(lines)):
            return (WITHHELD,)
        return tuple(printable(line) for line in lines if line.strip())

    def tasks(self, app_name: str) -> list[Task] | None:
        try:
            answer = self._get("docker.getServiceContainersByAppName", appName=app_name)
        except PlatformRefused:
            return None
        return [
            Task(
                id=each.containerId,
                wanted=each.state in ("running", "ready"),  # ready: in a moment
                running=each.currentState.startswith("Running"),
                error=self._confidential.shown(each.trouble),
            )
            for each in _list(TaskRecord, answer)
        ]

    def container_of(self, app_name: str, task_id: str) -> Container | None:
        try:
            answer = self._get("docker.getContainersByAppNameMatch", appName=app_name)
            for each in _list(TaskRecord, answer):
                if each.name.endswith(f".{task_id}"):
                    inspected = self._get("docker.getConfig", containerId=each.containerId)
                    return _read(ContainerRecord, inspected).plain()
        except PlatformRefused:
            pass
        return None

    def _removed(self, procedure: str, **body: Any) -> bool:
        return self._post(procedure, unknown=_UNKNOWN, **body) is not _UNKNOWN

    def _get(self, procedure: str, *, unknown: Any = ..., **query: str) -> Any:
        return self._exchange("GET", procedure, query, None, unknown=unknown)

    def _post(self, procedure: str, *, unknown: Any = ..., **body: Any) -> Any:
        return self._exchange("POST", procedure, {}, body, unknown=unknown)

    def _exchange(
        self,
        method: str,
        procedure: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        *,
        unknown: Any,
    ) -> Any:
        """The answer's JSON; None for an empty one.

        Args:
            unknown: the answer for a 404; left out: that is refused.
        """
        raw = self._connection.request(method, f"/{procedure}", query=query, body=body)
        status, headers, text = raw
        if 300 <= status < 400:
            target = self._confidential.shown(origin_of(headers.get("location", "")))
            raise PlatformRefused(f"Dokploy redirected {procedure} to {target}: not followed")
        value = _json(text)
        if status == 429:
            raise PlatformBusy(
                f"Dokploy's rate limit is reached{self._said(value)}",
                retry_after_s=_retry_after(headers),
            )
        if status >= 500 or (status == 200 and value is _UNREADABLE):
            raise PlatformUnclear(f"Dokploy answered {procedure} with {status}{self._said(value)}")
        if status == 404 and unknown is not ...:
            return unknown
        if status != 200:
            self._refuse(status, value, procedure)
        return value

    def _refuse(self, status: int, answer: Any, procedure: str) -> NoReturn:
        said = self._said(answer)
        if status == 403 or (status in (400, 401) and _NO_RIGHT.search(said)):
            raise PlatformRefused(
                f"Dokploy: the API key may not use {procedure} ({status}){said}",
                remedy="It has to belong to an owner or admin.",
            )
        if status == 401:
            # Some procedures answer so too if the server is not to be used for what was asked.
            why = "" if said == ": Unauthorized" else said
            raise PlatformRefused(
                f"Dokploy rejected the API key (401), asked for {procedure}{why}",
                remedy=f"Store a valid one: disinto secrets put {TOKEN}. A key that is made without "
                "rateLimitEnabled: false answers so too, when its ten requests a day are spent.",
            )
        issues = answer.get("issues") if isinstance(answer, dict) else None
        if status == 400 and procedure in _WRAPPED and not issues:
            raise PlatformUnclear(f"Dokploy failed at {procedure} (400){said}")
        fields = self._fields(issues)
        raise PlatformRefused(f"Dokploy refused {procedure} ({status}){said}{fields}")

    def _said(self, answer: object) -> str:
        """The server's own words, for a message."""
        message = answer.get("message") if isinstance(answer, dict) else None
        if not isinstance(message, str) or not message.strip():
            return ""
        # The database's own words quote what was to be stored.
        message = re.split(r"params:|Failed query", message, maxsplit=1)[0]
        text = self._confidential.shown(message).rstrip(".: ")
        return f": {text}" if text else ""

    def _fields(self, issues: object) -> str:
        """Names of what is invalid; the values are not ours to show."""
        if not isinstance(issues, list):
            return ""
        names = {
            str(each["path"][0])[:40]
            for each in issues[:20]
            if isinstance(each, dict) and isinstance(each.get("path"), list) and each["path"]
        }
        return f": {self._confidential.shown(', '.join(sorted(names)))}" if names else ""


_UNKNOWN: Any = object()
"""In place of an answer: the server does not know what was to be removed."""

_UNREADABLE: Any = object()
"""In place of an answer: it is not JSON."""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    number = header_number(headers, "retry-after")
    return None if number is None else min(max(float(number), 1.0), _LONGEST_RETRY_S)


def _json(text: bytes) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _UNREADABLE


def _list(model: type[_M], answer: object) -> list[_M]:
    if not isinstance(answer, list):
        raise PlatformUnclear("Dokploy's answer is not the list that was asked for")
    return [_read(model, each) for each in answer]


def _read(model: type[_M], answer: object) -> _M:
    try:
        return model.model_validate(answer)
    except ValidationError:
        name = model.__name__.removesuffix("Record").lower()
        raise PlatformUnclear(f"Dokploy described a {name} in a way that is unknown") from None
