"""What every Dokploy does, the fake included: the facts on which the provisioner of stacks relies.

Subclass ``DokployContract`` and give the fixture ``ground``. ``dispatcher.stack.dokploy`` makes the requests, so
its reading of the answers is proved as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import pytest

from dispatcher.stack.dokploy import Dokploy
from dispatcher.stack.environment import encoded, marked
from dispatcher.stack.platform import (
    Application,
    Container,
    Deployment,
    DeploymentStatus,
    PlatformRefused,
    PlatformUnclear,
    Project,
    Task,
)

MARK = "disinto:contract:{name}:" + "0" * 40
VALUES = {"PLAIN": "a-b.c", "QUOTED": 'it\'s # "2" \\n', "LINES": "a\nb", "EMPTY": ""}
_T = TypeVar("_T")
CRASH = "task: non-zero exit (1)"


class Ground(Protocol):
    """One server.

    Attributes:
        platform: the adapter, with a key that may do everything.
    """

    platform: Dokploy

    def name(self) -> str:
        """A new one."""

    def image(self, version: str) -> str:
        """``one`` and ``two`` answer, ``bad`` ends at once, ``gone`` cannot be pulled; ``one`` ends at once if its
        environment has a ``B``; ``slow`` takes half a minute to be pulled; ``checked`` answers, and has a health
        check.
        """

    def with_key(self, key: str) -> Dokploy: ...

    def pause(self, seconds: float) -> None: ...

    def environment(self, app_name: str) -> dict[str, str]:
        """Of the running container."""

    def services(self) -> set[str]: ...

    def volumes(self) -> set[str]: ...

    def route(self, host: str) -> bool:
        """Whether the proxy knows a host."""

    def restart(self) -> None:
        """Kill the server and start it again. Skips the test if nobody said how."""


class DokployContract:
    """The suite. Names are new in each test, so one server may serve all."""

    def test_what_is_created_can_be_read_and_removed(self, ground: Ground) -> None:
        platform = ground.platform
        project, application = made(ground, "one", environment=VALUES, volume=True, routed=True)
        assert (project.name, project.services) == (application.name, 0)
        assert application.app_name.startswith(f"{application.name}-")
        assert application.image == ground.image("one")
        assert application.environment == encoded(VALUES)
        assert [(m.volume, m.path) for m in application.mounts] == [
            (f"v-{project.name}", "/workspace")
        ]
        (domain,) = application.domains
        assert (domain.host, domain.port, domain.https) == (
            f"{project.name}.stacks.example",
            8080,
            False,
        )
        assert ground.route(domain.host)

        deploy(ground, application, "first", DeploymentStatus.DONE)
        task = running(ground, application)
        assert task.error == ""
        container = platform.container_of(application.app_name, task.id)
        assert container == Container(image=application.image, run="")
        assert ground.environment(application.app_name) == VALUES
        assert f"v-{project.name}" in ground.volumes()

        assert platform.remove_domain(domain.id)
        assert not ground.route(domain.host)
        assert platform.remove_mount(application.mounts[0].id)
        assert platform.delete_application(application.id)
        assert application.app_name not in ground.services()
        assert platform.remove_project(project.id)
        assert found(platform, project.name) == []
        assert f"v-{project.name}" in ground.volumes()

    def test_what_is_gone_is_told_from_what_failed(self, ground: Ground) -> None:
        platform = ground.platform
        assert platform.application("gone") is None
        assert platform.deployments("gone") == []
        assert platform.tasks("gone") == []
        assert platform.container_of("gone", "gone") is None
        assert platform.log_tail("gone") == ()
        platform.clean_queue("gone")
        removals: list[Callable[[str], bool]] = [
            platform.remove_domain, platform.remove_mount, platform.delete_application,
            platform.remove_project,
        ]  # fmt: skip
        assert [remove("gone") for remove in removals] == [False] * 4

    def test_names_are_not_unique(self, ground: Ground) -> None:
        platform, name = ground.platform, ground.name()
        for _ in range(2):
            platform.create_project(name, MARK.format(name=name))
        twins = found(platform, name)
        assert len(twins) == 2
        for _ in range(2):
            platform.create_application(twins[0], name, "mark")
        (first, *_) = found(platform, name)
        applications = [
            platform.application(i) for p in found(platform, name) for i in p.application_ids
        ]
        assert first.created_at
        assert len({each.app_name for each in applications if each}) == 2

    def test_what_cannot_be_created_is_refused_or_unclear_and_quotes_nothing(
        self, ground: Ground
    ) -> None:
        platform = ground.platform
        _, application = made(ground, "one")
        nowhere = Project(
            id="gone",
            name="x",
            description="",
            environment_id="gone",
            application_ids=(),
            created_at="",
        )
        with pytest.raises(PlatformRefused, match=r"application\.create \(404\)"):
            platform.create_application(nowhere, "x", "canary")
        with pytest.raises(PlatformRefused, match=r"domain\.create \(400\)(?s:.*): host"):
            domain(platform, application.id, "al_ice.stacks.example")
        for request in (
            lambda: platform.create_mount("gone", "canary", "/x"),
            lambda: domain(platform, "gone", "canary.stacks.example"),
        ):
            with pytest.raises(PlatformUnclear, match="400") as unclear:
                request()
            assert "canary" not in str(unclear.value)
        with pytest.raises(PlatformRefused, match=r"application\.deploy \(404\)"):
            platform.deploy("gone", "x")
        with pytest.raises(PlatformRefused, match=r"\(401\)"):
            ground.with_key("dokploy-none").projects()

    def test_an_image_that_cannot_be_pulled_fails_with_a_log(self, ground: Ground) -> None:
        _, application = made(ground, "gone")
        deployment = deploy(ground, application, "first", DeploymentStatus.ERROR)
        assert any("manifest unknown" in line for line in ground.platform.log_tail(deployment.id))
        assert application.app_name not in ground.services()

    def test_a_volume_mounted_twice_fails(self, ground: Ground) -> None:
        project, application = made(ground, "one", volume=True)
        ground.platform.create_mount(application.id, f"v-{project.name}", "/workspace")
        deployment = deploy(ground, application, "first", DeploymentStatus.ERROR)
        log = "\n".join(ground.platform.log_tail(deployment.id))
        assert "uplicate mount point" in log, log

    def test_an_image_that_ends_at_once_is_done_and_its_tasks_have_the_reason(
        self, ground: Ground
    ) -> None:
        _, application = made(ground, "bad")
        deploy(ground, application, "first", DeploymentStatus.DONE)
        tasks = awaited(ground, lambda: failed(ground, application))
        assert {task.error for task in tasks if task.error} == {CRASH}

    @pytest.mark.parametrize("broken", ["image", "environment"])
    def test_the_swarm_returns_from_an_update_that_ends_at_once(
        self, ground: Ground, broken: str
    ) -> None:
        """To the former version, by a new task, which runs and has the environment of before."""
        platform = ground.platform
        _, application = made(ground, "one", environment={"A": "1"}, run="first")
        deploy(ground, application, "first", DeploymentStatus.DONE)
        before = running(ground, application)
        if broken == "image":
            platform.save_image(application.id, ground.image("bad"))
        values = {"A": "1"} if broken == "image" else {"B": "1"}
        platform.save_environment(application.id, marked(encoded(values), "second"))
        deploy(ground, application, "second", DeploymentStatus.DONE)
        awaited(ground, lambda: failed(ground, application))

        def returned() -> Container | None:
            after = running(ground, application)
            same = after.id == before.id
            return None if same else platform.container_of(application.app_name, after.id)

        assert awaited(ground, returned) == Container(image=ground.image("one"), run="first")

    def test_an_update_replaces_the_container(self, ground: Ground) -> None:
        platform = ground.platform
        _, application = made(ground, "one", run="first")
        deploy(ground, application, "first", DeploymentStatus.DONE)
        before = running(ground, application)
        platform.save_image(application.id, ground.image("two"))
        platform.save_environment(application.id, marked("", "second"))
        deploy(ground, application, "second", DeploymentStatus.DONE)
        after = awaited(ground, lambda: other_than(before, running(ground, application)))
        container = platform.container_of(application.app_name, after.id)
        assert container == Container(image=ground.image("two"), run="second")
        assert [d.description for d in platform.deployments(application.id)] == ["second", "first"]

    def test_whether_a_container_has_a_health_check_can_be_read(self, ground: Ground) -> None:
        platform = ground.platform
        _, application = made(ground, "checked", run="first")
        deploy(ground, application, "first", DeploymentStatus.DONE)
        task = running(ground, application)
        container = platform.container_of(application.app_name, task.id)
        assert container == Container(image=ground.image("checked"), run="first", checked=True)

    def test_a_project_that_goes_first_leaves_its_service_to_nobody(self, ground: Ground) -> None:
        project, application = made(ground, "one")
        deploy(ground, application, "first", DeploymentStatus.DONE)
        assert ground.platform.remove_project(project.id)
        assert ground.platform.application(application.id) is None
        assert application.app_name in ground.services()

    def test_one_job_at_a_time_and_only_those_that_wait_are_taken_out(self, ground: Ground) -> None:
        platform = ground.platform
        _, slow = made(ground, "slow")
        _, other = made(ground, "one")
        platform.deploy(slow.id, "slow")
        awaited(ground, lambda: jobs(platform, slow, active=True))
        platform.deploy(other.id, "other")
        assert awaited(ground, lambda: jobs(platform, other, active=False)) == ["other"]
        assert platform.deployments(other.id) == []
        platform.clean_queue(other.id)
        platform.clean_queue(slow.id)
        assert jobs(platform, other, active=False) == []
        assert jobs(platform, slow, active=True) == ["slow"]
        # It goes on, and makes a service that nobody can remove by id.
        assert platform.delete_application(slow.id)
        awaited(ground, lambda: slow.app_name in ground.services())

    def test_a_restart_cancels_what_runs_and_empties_the_queue(self, ground: Ground) -> None:
        platform = ground.platform
        _, slow = made(ground, "slow")
        platform.deploy(slow.id, "first")
        awaited(ground, lambda: platform.deployments(slow.id))
        ground.restart()
        assert platform.queue() == []
        (deployment,) = platform.deployments(slow.id)
        assert deployment.status is DeploymentStatus.CANCELLED
        assert slow.app_name not in ground.services()


def found(platform: Dokploy, name: str) -> list[Project]:
    return [each for each in platform.projects() if each.name == name]


def made(
    ground: Ground,
    version: str,
    *,
    environment: dict[str, str] | None = None,
    run: str = "",
    volume: bool = False,
    routed: bool = False,
) -> tuple[Project, Application]:
    """A project with an application that is ready to be deployed."""
    platform, name = ground.platform, ground.name()
    platform.create_project(name, MARK.format(name=name))
    (project,) = found(platform, name)
    assert project.description == MARK.format(name=name)
    platform.create_application(project, name, "mark")
    (project,) = found(platform, name)
    (id_,) = project.application_ids
    platform.save_image(id_, ground.image(version))
    if environment is not None or run:
        text = encoded(environment or {})
        platform.save_environment(id_, marked(text, run) if run else text)
    if volume:
        platform.create_mount(id_, f"v-{name}", "/workspace")
    if routed:
        domain(platform, id_, f"{name}.stacks.example")
    application = platform.application(id_)
    assert application is not None
    return project, application


def domain(platform: Dokploy, application_id: str, host: str) -> None:
    platform.create_domain(application_id, host, port=8080, https=False, certificate="none")


def deploy(
    ground: Ground, application: Application, key: str, status: DeploymentStatus
) -> Deployment:
    """Deploy, and wait for the end."""
    platform = ground.platform
    platform.deploy(application.id, key)

    def ended() -> Deployment | None:
        mine = [d for d in platform.deployments(application.id) if d.description == key]
        return mine[0] if mine and mine[0].status is not DeploymentStatus.RUNNING else None

    deployment = awaited(ground, ended)
    assert deployment.status is status, platform.log_tail(deployment.id)
    return deployment


def running(ground: Ground, application: Application) -> Task:
    def one() -> Task | None:
        tasks = ground.platform.tasks(application.app_name) or []
        return next((task for task in tasks if task.wanted and task.running), None)

    return awaited(ground, one)


def failed(ground: Ground, application: Application) -> list[Task]:
    """Its tasks, as soon as one of them has ended with an error."""
    tasks = ground.platform.tasks(application.app_name) or []
    return tasks if any(task.error for task in tasks) else []


def other_than(before: Task, task: Task) -> Task | None:
    return None if task.id == before.id else task


def jobs(platform: Dokploy, application: Application, *, active: bool) -> list[str]:
    queue = platform.queue()
    assert queue is not None
    mine = [job for job in queue if job.application_id == application.id]
    return [job.description for job in mine if job.active == active]


def awaited(ground: Ground, look: Callable[[], _T | None]) -> _T:
    """What a look finds, within two minutes."""
    for _ in range(120):
        value = look()
        if value:
            return value
        ground.pause(1.0)
    raise AssertionError("it did not come about within two minutes")
