"""The swarm behind the fake of Dokploy: services, their tasks and containers, and volumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.servers.dokploy_rules import Image, dotenv

CRASH = "task: non-zero exit (1)"
ANSWERS = (Image.GOOD, Image.CHECKED)
CHECKED = (Image.CHECKED, Image.CRASHES_UNCHECKED)
CRASHES = (Image.CRASHES, Image.CRASHES_UNCHECKED)
LISTED = 5  # of the tasks of a service, the newest


@dataclass(kw_only=True)
class Service:
    """A service: it outlives its application if the project was removed first.

    Attributes:
        tasks: newest first.
    """

    image: str
    environment: dict[str, str]
    tasks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class FakeSwarm:
    """One node.

    Attributes:
        images: what is in the registry.
        lives_s: for how long a container runs that ends at once. Until then the former one runs as well.
    """

    images: dict[str, Image]
    lives_s: float = 0.0
    services: dict[str, Service] = field(default_factory=dict)
    networks: set[str] = field(default_factory=lambda: {"dokploy-network"})
    volumes: set[str] = field(default_factory=set)
    _ids: int = 0

    def deploy(self, application: dict[str, Any], *, at: float) -> None:
        """Create or update the service of an application; its container runs from ``at`` on."""
        self.volumes |= {mount["volumeName"] for mount in application["mounts"]}
        name, image = application["appName"], application["dockerImage"]
        environment = dotenv(application["env"])
        service = self.services.get(name)
        if service is not None and self.images.get(image) is Image.CRASHES_UNCHECKED:
            # The former task is stopped once the new one is healthy: it stays.
            service.tasks.insert(0, self._made(image, environment, at) | {"stopped_at": at})
            return
        if service is not None and self._becomes(image, environment) is Image.CRASHES:
            # The swarm watches the new task for five seconds, and returns to what it had.
            failed_at = at + self.lives_s
            service.tasks.insert(0, self._made(image, environment, at) | {"stopped_at": failed_at})
            at = failed_at
        else:
            service = service or Service(image=image, environment={})
            self.services[name] = service
            service.image, service.environment = image, environment
        task = self._made(service.image, service.environment, at)
        for former in service.tasks:
            former.setdefault("stopped_at", at)  # when the new one runs
        service.tasks.insert(0, task)

    def _made(self, image: str, environment: dict[str, str], at: float) -> dict[str, Any]:
        self._ids += 1
        return {"id": f"task-{self._ids}", "image": image, "env": environment, "at": at}

    def _becomes(self, image: str, environment: dict[str, str]) -> Image:
        kind = self.images.get(image, Image.MISSING)
        if kind is Image.CRASHES_WITH_B:
            return Image.CRASHES if "B" in environment else Image.GOOD
        return kind

    def _kind(self, task: dict[str, Any]) -> Image:
        return self._becomes(task["image"], task["env"])

    def listed(self, app_name: str, now: float) -> list[dict[str, Any]]:
        """As ``docker service ps`` has the tasks; the server cuts the text, so the last error is odd."""
        shown = [self._shown(each, now) for each in self._tasks(app_name)[:LISTED]]
        if shown and not shown[-1]["error"]:
            shown[-1]["error"] = "Error:"
        return shown

    def _shown(self, task: dict[str, Any], now: float) -> dict[str, Any]:
        crashed = not self.runs(task, now) and self._kind(task) in CRASHES
        state = "Running 3 seconds ago" if self.runs(task, now) else "Starting 1 second ago"
        stopped = now >= task.get("stopped_at", now + 1)
        return {
            "containerId": task["id"], "name": "app.1", "node": "one",
            "state": "shutdown" if stopped else "running",
            "currentState": "Failed 1 second ago" if crashed else state,
            "error": f'"{CRASH}"' if crashed else "",
        }  # fmt: skip

    def containers(self, app_name: str) -> list[dict[str, Any]]:
        """As ``docker ps`` has them."""
        return [
            {"containerId": f"c-{each['id']}", "name": f"{app_name}.1.{each['id']}", "state": "running"}
            for each in self._tasks(app_name)
        ]  # fmt: skip

    def inspected(self, container_id: str) -> dict[str, Any] | None:
        """As ``docker inspect`` has it; None for one that is unknown."""
        for service in self.services.values():
            for each in service.tasks:
                if f"c-{each['id']}" == container_id:
                    environment = [f"{name}={value}" for name, value in each["env"].items()]
                    config = {"Image": each["image"], "Env": environment}
                    if self.images.get(each["image"]) in CHECKED:
                        config["Healthcheck"] = {"Test": ["CMD", "true"]}
                    return {"Config": config}
        return None

    def runs(self, task: dict[str, Any], now: float) -> bool:
        ends_at = task.get("stopped_at", now + 1)
        if self._kind(task) in CRASHES:
            ends_at = min(ends_at, task["at"] + self.lives_s)
        return bool(task["at"] <= now < ends_at)

    def page(self, app_name: str, now: float) -> str:
        """The image of the container that answers; "" if none does."""
        for task in self._tasks(app_name):
            if self.runs(task, now) and self._kind(task) in ANSWERS:
                return str(task["image"])
        return ""

    def _tasks(self, app_name: str) -> list[dict[str, Any]]:
        service = self.services.get(app_name)
        return service.tasks if service else []
