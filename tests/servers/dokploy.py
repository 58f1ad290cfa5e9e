"""A stateful fake of Dokploy's API, from its source (0.30.2) and from what a live server answered.

It has the original's traps: names are not unique and nothing is idempotent; ``deployment.all`` of an
application that is gone is ``[]``; a spent quota of the key answers 401; quotes in the environment are
stripped; an image that crashes ends as ``done``, and at an update the swarm starts the former version again,
as a new task; a project is removed without its services, which then belong to nobody, and so does the service
of a deployment that was under way when its application was deleted; mounts are checked by nothing; errors of
four procedures are 400 whatever they are; a restart empties the queue and cancels what runs; a queue may be
stuck; ten domains at a moment stop it (served by ``dokploy_http``). ``tests/contract/dokploy.py`` has what it and the original have to have in common. Faults can be queued: before or after a request was carried out.

Left out: login and rights (every key may do everything), other servers, builds, registries with login,
composes and databases, monitoring, audit; Traefik beside its routes; several replicas; volumes' contents;
time limits of the server. What a service's containers answer to probes is asked of the fake itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from typing import Any

from dispatcher.provision.http import Raw
from dispatcher.stack.platform import PlatformBusy, PlatformUnclear
from tests.servers.dokploy_rules import HOST, REQUIRED, WRAPPED, Fault, Image, problem_of
from tests.servers.dokploy_swarm import FakeSwarm, Service

FAILED = "Error occurred ❌, check the logs for details."
KEY = "dokploy-" + "7" * 40
SECRET_OF_THE_SERVER = "postgres://dokploy:amukds4wi9001583845717ad2@db"


@dataclass(kw_only=True)
class FakeDokploy:
    """The server.

    Attributes:
        now: the clock, seconds since the epoch.
        queue_s, pull_s, start_s: until a deployment begins, ends, and its container runs.
        pulls: ``pull_s`` of single images.
        stuck: whether the queue stands still.
        quota: requests that the key has left; None for no limit.
        old: whether it is a server before 0.25, without environments.
        images: what is in the registry; others cannot be pulled.
        forbidden: procedures that the key may not use.
        keeps_services: whether the swarm fails to remove services, which the server does not report.
    """

    now: Callable[[], float]
    queue_s: float = 1.0
    pull_s: float = 8.0
    start_s: float = 3.0
    pulls: Mapping[str, float] = field(default_factory=dict)
    stuck: bool = False
    quota: int | None = None
    old: bool = False
    images: InitVar[dict[str, Image]] = {}  # noqa: RUF008 - copied
    swarm: FakeSwarm = field(init=False)
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    applications: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    active: dict[str, Any] | None = None
    requests: list[str] = field(default_factory=list)
    late: list[tuple[float, str, Mapping[str, Any] | None]] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    keeps_services: bool = False
    _ids: int = 0
    _free_at: float = 0.0

    def __post_init__(self, images: dict[str, Image]) -> None:
        self.swarm = FakeSwarm(images=dict(images))

    def answer(
        self, procedure: str, query: Mapping[str, str], body: Mapping[str, Any] | None, key: str
    ) -> Raw:
        """Answer one request, or raise what its absence looks like."""
        fault = next(iter(self.faults.get(procedure, self.faults.get("*", []))), None)
        queue = self.faults.get(procedure) or self.faults.get("*")
        if queue:
            queue.pop(0)
        if fault is Fault.REFUSED:
            raise PlatformBusy("Dokploy cannot be reached: Connection refused")
        self.requests.append(procedure)
        self.tick()
        if fault is Fault.LATE:
            self.late.append((self.now() + 8.0, procedure, body))
        if fault in (Fault.LOST_BEFORE, Fault.LATE):
            raise PlatformUnclear("no answer in time")
        if fault is Fault.ERROR_BEFORE:
            return self._failed(procedure)
        if fault is Fault.LIMITED:
            return _raw(429, {"message": "Too many requests"}, {"retry-after": "5"})
        status, value = self._authorized(procedure, query, body, key)
        if fault is Fault.RESTART:
            self.restart()
        if fault in (Fault.LOST_AFTER, Fault.RESTART):
            raise PlatformUnclear("no answer in time")
        if fault is Fault.ERROR_AFTER:
            return self._failed(procedure)
        if fault is Fault.GARBAGE:
            return Raw(status, {}, b"<html>502")
        return _raw(status, value)

    def _failed(self, procedure: str) -> Raw:
        wrapped = procedure in WRAPPED
        said = f"Failed query: insert into x params: {SECRET_OF_THE_SERVER}"
        return _raw(400 if wrapped else 500, _error(400 if wrapped else 500, said)[1])

    def _authorized(
        self, procedure: str, query: Mapping[str, str], body: Mapping[str, Any] | None, key: str
    ) -> tuple[int, Any]:
        if key != KEY or self.quota == 0:
            return 401, {"message": "Unauthorized"}
        if self.quota is not None:
            self.quota -= 1
        if procedure in self.forbidden:
            return _no_right(procedure)
        read = "_read_" + procedure.replace(".", "_")
        write = "_write_" + procedure.replace(".", "_")
        handler = getattr(self, write if body is not None else read, None)
        if handler is None:
            return _error(404, "Not found")
        given = dict(body) if body is not None else dict(query)
        missing = [name for name in REQUIRED.get(procedure, ()) if name not in given]
        if missing:
            issues = [{"path": [name], "message": "Required"} for name in missing]
            return 400, {
                "message": "Input validation failed",
                "code": "BAD_REQUEST",
                "issues": issues,
            }
        status, value = handler(given)
        return status, value

    def restart(self) -> None:
        """The server starts anew: what was queued is gone, what ran is cancelled."""
        self.queue.clear()
        self.active = None
        for each in self.deployments:
            if each["status"] == "running":
                each["status"] = "cancelled"
                self.applications[each["applicationId"]]["applicationStatus"] = "idle"

    def tick(self) -> None:
        """Let the queue do what it has done by now: one deployment at a time."""
        now = self.now()
        due, self.late = [j for j in self.late if j[0] <= now], [j for j in self.late if j[0] > now]
        for _, procedure, body in due:
            if body is not None:
                self._authorized(procedure, {}, body, KEY)
        while not self.stuck:
            if self.active is not None:
                if now < self.active["_until"]:
                    return
                job, self.active = self.active, None
                self._free_at = job["_until"]
                self._end(job)
                continue
            if not self.queue or now < self.queue[0]["_at"]:
                return
            job = self.queue.pop(0)
            if job["applicationId"] in self.applications:
                self._begin(job)

    def _begin(self, job: dict[str, Any]) -> None:
        application = self.applications[job["applicationId"]]
        application["applicationStatus"] = "running"
        # The server works with the application as it was when it began, and does not look again.
        snapshot = {**application, "mounts": list(application["mounts"])}
        begun = max(job["_at"], self._free_at)
        pull_s = self.pulls.get(application["dockerImage"], self.pull_s)
        self.active = {**job, "_until": begun + pull_s, "_application": snapshot}
        self.deployments.insert(0, {
            "deploymentId": self._id("dep"),
            "applicationId": job["applicationId"],
            "title": job["titleLog"],
            "description": job["descriptionLog"],
            "status": "running",
            "errorMessage": None,
            "_job": job["id"],
            "_log": ["Initializing deployment", f"Pulling {application['dockerImage']}"],
        })  # fmt: skip

    def _end(self, job: dict[str, Any]) -> None:
        application = job["_application"]
        problem = problem_of(application, self.swarm.images)
        status = "error" if problem else "done"
        for each in self.deployments:
            if each["_job"] == job["id"]:
                each["status"] = status
                each["_log"] += [problem, FAILED] if problem else []
        if application["applicationId"] in self.applications:
            self.applications[application["applicationId"]]["applicationStatus"] = status
        if not problem:
            self.swarm.deploy(application, at=job["_until"] + self.start_s)

    def _write_project_create(self, body: dict[str, Any]) -> tuple[int, Any]:
        project = {
            "projectId": self._id("prj"),
            "name": body["name"],
            "description": body.get("description"),
            "createdAt": datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds"),
            "env": "",
        }
        self.projects[project["projectId"]] = project
        environment = {"environmentId": f"env-{project['projectId']}", "name": "production"}
        return 200, project if self.old else {"project": project, "environment": environment}

    def _read_project_all(self, _: dict[str, Any]) -> tuple[int, Any]:
        return 200, [self._shown(each) for each in reversed(self.projects.values())]

    def _shown(self, project: dict[str, Any]) -> dict[str, Any]:
        applications = [
            {name: each[name] for name in ("applicationId", "name", "applicationStatus")}
            for each in self.applications.values()
            if each["_project"] == project["projectId"]
        ]
        if self.old:
            return {**project, "applications": applications}
        environment = {
            "environmentId": f"env-{project['projectId']}", "name": "production",
            "isDefault": True, "applications": applications, "postgres": [], "compose": [],
        }  # fmt: skip
        return {**project, "environments": [environment], "projectTags": []}

    def _write_project_remove(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Its services and routes stay, and nobody can remove them by id any more."""
        project = self.projects.pop(body["projectId"], None)
        if project is None:
            return _error(404, "Project not found")
        for id_, each in list(self.applications.items()):
            if each["_project"] == body["projectId"]:
                del self.applications[id_]
        return 200, project

    def _write_application_create(self, body: dict[str, Any]) -> tuple[int, Any]:
        place = body.get("projectId") if self.old else body.get("environmentId", "")[4:]
        if place not in self.projects:
            return _error(404, "Environment not found")
        application = {
            "applicationId": self._id("app"), "name": body["name"],
            "appName": f"{body.get('appName', 'app')}-{self._ids:06d}",
            "description": body.get("description"), "applicationStatus": "idle",
            "sourceType": "github", "dockerImage": None, "env": None, "domains": [], "mounts": [],
            "updateConfigSwarm": None, "_project": place,
        }  # fmt: skip
        self.applications[application["applicationId"]] = application
        return 200, application

    def _application(self, body: dict[str, Any]) -> dict[str, Any] | None:
        return self.applications.get(body["applicationId"])

    def _read_application_one(self, query: dict[str, Any]) -> tuple[int, Any]:
        application = self._application(query)
        return (200, application) if application else _error(404, "Application not found")

    def _write_application_saveDockerProvider(self, body: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        application = self._application(body)
        if application is None:
            return _error(404, "Application not found")
        image = body["dockerImage"]
        application |= {"dockerImage": image, "sourceType": "docker", "applicationStatus": "idle"}
        return 200, True

    def _write_application_saveEnvironment(self, body: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        application = self._application(body)
        if application is None:
            return _error(404, "Application not found")
        application["env"] = body["env"]
        return 200, True

    def _write_mounts_create(self, body: dict[str, Any]) -> tuple[int, Any]:
        application = self.applications.get(body["serviceId"])
        if application is None:
            return _error(400, f"Error Failed query: insert {SECRET_OF_THE_SERVER}")
        mount = {"mountId": self._id("mnt"), **body}
        application["mounts"].append(mount)
        return 200, mount

    def _write_domain_create(self, body: dict[str, Any]) -> tuple[int, Any]:
        application = self._application(body)
        if application is None:
            return _error(400, f"Failed query: insert {SECRET_OF_THE_SERVER}")
        if not HOST.fullmatch(body["host"]):
            issues = [{"path": ["host"], "message": "Invalid domain name."}]
            return 400, {"message": "Input validation failed", "issues": issues}
        domain = {"domainId": self._id("dom"), "port": 3000, **body}
        application["domains"].append(domain)
        return 200, domain

    def _write_domain_delete(self, body: dict[str, Any]) -> tuple[int, Any]:
        return self._drop("domains", "domainId", body["domainId"], "Domain not found")

    def _write_mounts_remove(self, body: dict[str, Any]) -> tuple[int, Any]:
        return self._drop("mounts", "mountId", body["mountId"], "Mount not found")

    def _drop(self, key: str, name: str, value: str, message: str) -> tuple[int, Any]:
        for application in self.applications.values():
            for each in application[key]:
                if each[name] == value:
                    application[key].remove(each)
                    return 200, each
        return _error(404, message)

    def _write_application_deploy(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self._application(body) is None:
            return _error(404, "Application not found")
        self.queue.append({
            "id": self._id("job"), "applicationId": body["applicationId"], "titleLog": body.get("title", ""),
            "descriptionLog": body.get("description", ""), "_at": self.now() + self.queue_s,
        })  # fmt: skip
        return 200, None

    def _write_application_cleanQueues(self, body: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        self.queue = [j for j in self.queue if j["applicationId"] != body["applicationId"]]
        return 200, None

    def _write_application_delete(self, body: dict[str, Any]) -> tuple[int, Any]:
        application = self.applications.pop(body["applicationId"], None)
        if application is None:
            return _error(404, "Application not found")
        self._write_application_cleanQueues(body)
        if not self.keeps_services:
            self.services.pop(application["appName"], None)
        self.deployments = [
            d for d in self.deployments if d["applicationId"] != body["applicationId"]
        ]
        return 200, application

    def _read_deployment_all(self, query: dict[str, Any]) -> tuple[int, Any]:
        mine = [d for d in self.deployments if d["applicationId"] == query["applicationId"]]
        return 200, mine[:10]

    def _read_deployment_queueList(self, _: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        jobs = [*self.queue[::-1], *([self.active] if self.active else [])]
        return 200, [
            {
                "id": job["id"], "name": "deployments", "data": {k: v for k, v in job.items() if k[0] != "_"},
                "state": "active" if job is self.active else "waiting",
            }
            for job in jobs
        ]  # fmt: skip

    def _read_deployment_readLogs(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        for each in self.deployments:
            if each["deploymentId"] == query["deploymentId"]:
                return 200, "\n".join(each["_log"])
        return _error(404, "Deployment not found")

    def _read_docker_getServiceContainersByAppName(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        return 200, self.swarm.listed(query["appName"], self.now())

    def _read_docker_getContainersByAppNameMatch(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        return 200, self.swarm.containers(query["appName"])

    def _read_docker_getConfig(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        return 200, self.swarm.inspected(query["containerId"])

    def page(self, host: str) -> str:
        """What ``https://host/`` has: the image of the container behind it; "" for an error page."""
        self.tick()
        for application in self.applications.values():
            if any(domain["host"] == host for domain in application["domains"]):
                return self.swarm.page(application["appName"], self.now())
        return ""

    @property
    def services(self) -> dict[str, Service]:
        return self.swarm.services

    @property
    def volumes(self) -> set[str]:
        return self.swarm.volumes

    @property
    def networks(self) -> set[str]:
        return self.swarm.networks

    def _id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids}"


def _error(status: int, message: str) -> tuple[int, Any]:
    return status, {"message": message, "data": {"httpStatus": status}}


def _no_right(procedure: str) -> tuple[int, Any]:
    resource, _, _ = procedure.partition(".")
    said = f'unauthorized to access resource "{resource}"'
    if procedure == "project.create":
        return _error(400, f"Error creating the project: {said}")
    return _error(401, said)


def _raw(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Raw:
    return Raw(status, headers or {}, b"" if value is None else json.dumps(value).encode())
