"""A stateful fake of Dokploy's API, from its source (0.30.2) and from what a live server answered.

It has the original's traps: names are not unique and nothing is idempotent; ``deployment.all`` of an
application that is gone is ``[]``; a spent quota of the key answers 401; quotes in the environment are
stripped; an image that crashes ends as ``done``, and at an update the old task goes on; a project is
removed without its services, which then belong to nobody; mounts are checked by nothing; errors of
``project.create`` and ``domain.create`` are 400 whatever they are; a restart empties the queue and cancels
what runs; a queue may be stuck. Faults can be queued: before or after a request was carried out.

Left out: login and rights (every key may do everything), other servers, builds, registries with login,
composes and databases, monitoring, audit; Traefik beside its routes; several replicas; volumes' contents;
time limits of the server. What a service's containers answer to probes is asked of the fake itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dispatcher.provision.http import Raw
from dispatcher.stack.platform import PlatformBusy, PlatformUnclear
from tests.servers.dokploy_rules import HOST, REQUIRED, Fault, Image, dotenv, problem_of

KEY = "dokploy-" + "7" * 40
SECRET_OF_THE_SERVER = "postgres://dokploy:amukds4wi9001583845717ad2@db"


@dataclass(kw_only=True)
class Service:
    """A service of the swarm: it outlives its application if the project was removed first."""

    image: str
    environment: dict[str, str]
    tasks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class FakeDokploy:
    """The server.

    Attributes:
        now: the clock, seconds since the epoch.
        queue_s, pull_s, start_s: until a deployment begins, ends, and its container runs.
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
    stuck: bool = False
    quota: int | None = None
    old: bool = False
    images: dict[str, Image] = field(default_factory=dict)
    faults: dict[str, list[Fault | None]] = field(default_factory=dict)
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    applications: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    services: dict[str, Service] = field(default_factory=dict)
    networks: set[str] = field(default_factory=lambda: {"dokploy-network"})
    volumes: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    late: list[tuple[float, str, Mapping[str, Any] | None]] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    keeps_services: bool = False
    _ids: int = 0

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
        wrapped = procedure in ("project.create", "domain.create")
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
            return _error(403, "You do not have permission")
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
            running = next((d for d in self.deployments if d["status"] == "running"), None)
            if running is not None:
                if now < running["_until"]:
                    return
                self._end(running)
                continue
            if not self.queue or now < self.queue[0]["_at"]:
                return
            job = self.queue.pop(0)
            if job["applicationId"] in self.applications:
                self._begin(job)

    def _begin(self, job: dict[str, Any]) -> None:
        application = self.applications[job["applicationId"]]
        application["applicationStatus"] = "running"
        self.deployments.insert(0, {
            "deploymentId": self._id("dep"),
            "applicationId": job["applicationId"],
            "title": job["titleLog"],
            "description": job["descriptionLog"],
            "status": "running",
            "errorMessage": None,
            "_until": job["_at"] + self.pull_s,
            "_log": ["Initializing deployment", f"Pulling {application['dockerImage']}"],
        })  # fmt: skip

    def _end(self, deployment: dict[str, Any]) -> None:
        application = self.applications[deployment["applicationId"]]
        problem = problem_of(application, self.images)
        status = "error" if problem else "done"
        deployment["status"] = application["applicationStatus"] = status
        if problem:
            deployment["_log"] += [problem, "Error occurred ❌, check the logs for details."]
            return
        for mount in application["mounts"]:
            self.volumes.add(mount["volumeName"])
        begun = deployment["_until"]
        name, image = application["appName"], application["dockerImage"]
        service = self.services.setdefault(name, Service(image=image, environment={}))
        service.image, service.environment = image, dotenv(application["env"])
        task = {"id": self._id("task"), "image": image, "at": begun + self.start_s}
        if self.images[image] is not Image.CRASHES:
            for former in service.tasks:
                former.setdefault("stopped_at", task["at"])  # when the new one runs
        service.tasks.insert(0, task)

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
            return _error(404, "Application not found")
        mount = {"mountId": self._id("mnt"), **body}
        application["mounts"].append(mount)
        return 200, mount

    def _write_domain_create(self, body: dict[str, Any]) -> tuple[int, Any]:
        application = self._application(body)
        if application is None:
            return _error(400, "Application not found")
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
            "applicationId": body["applicationId"], "titleLog": body.get("title", ""),
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
        return 200, [{"id": "1", "state": "waiting", "data": job} for job in self.queue]

    def _read_deployment_readLogs(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        for each in self.deployments:
            if each["deploymentId"] == query["deploymentId"]:
                return 200, "\n".join(each["_log"])
        return _error(404, "Deployment not found")

    def _read_docker_getServiceContainersByAppName(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        service = self.services.get(query["appName"])
        return 200, [self._task(each) for each in (service.tasks if service else [])]

    def _task(self, task: dict[str, Any]) -> dict[str, Any]:
        crashed = self.images.get(task["image"]) is Image.CRASHES
        state = "Running 3 seconds ago" if self.runs(task) else "Starting 1 second ago"
        stopped = self.now() >= task.get("stopped_at", self.now() + 1)
        return {
            "containerId": task["id"], "name": "app.1", "node": "one",
            "state": "shutdown" if stopped else "running",
            "currentState": "Failed 1 second ago" if crashed else state,
            "error": "task: non-zero exit (1)" if crashed else "",
        }  # fmt: skip

    def _read_docker_getContainersByAppNameMatch(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        service = self.services.get(query["appName"])
        return 200, [
            {"containerId": f"c-{each['id']}", "name": f"{query['appName']}.1.{each['id']}", "state": "running"}
            for each in (service.tasks if service else [])
        ]  # fmt: skip

    def _read_docker_getConfig(self, query: dict[str, Any]) -> tuple[int, Any]:  # noqa: N802
        for service in self.services.values():
            for each in service.tasks:
                if f"c-{each['id']}" == query["containerId"]:
                    env = [f"{name}={value}" for name, value in service.environment.items()]
                    return 200, {"Config": {"Image": each["image"], "Env": env}}
        return 200, None

    def runs(self, task: dict[str, Any]) -> bool:
        kind = self.images.get(task["image"], Image.MISSING)
        now = self.now()
        return kind in (Image.GOOD, Image.SILENT) and (
            task["at"] <= now < task.get("stopped_at", now + 1)
        )

    def page(self, host: str) -> str:
        """What ``https://host/`` has: the image of the container behind it; "" for an error page."""
        self.tick()
        for application in self.applications.values():
            if any(domain["host"] == host for domain in application["domains"]):
                service = self.services.get(application["appName"])
                for task in service.tasks if service else []:
                    if self.runs(task) and self.images[task["image"]] is Image.GOOD:
                        return str(task["image"])
        return ""

    def _id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids}"


def _error(status: int, message: str) -> tuple[int, Any]:
    return status, {"message": message, "data": {"httpStatus": status}}


def _raw(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Raw:
    return Raw(status, headers or {}, b"" if value is None else json.dumps(value).encode())
