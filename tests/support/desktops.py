"""Desktops without a network and without waiting: a fake account, a clock, machines that come up.

The programs under test are the real ones, with the adapter, but without its HTTP client. A run can be
cancelled or killed at each of its steps: before and after each request, output and pause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from dispatcher.desktop.cloud import Order
from dispatcher.desktop.create import Creation, Wanted
from dispatcher.desktop.destroy import destroy
from dispatcher.desktop.digitalocean import DigitalOcean
from dispatcher.desktop.probes import Probed
from dispatcher.desktop.reap import Known, reap
from dispatcher.desktop.report import Report
from dispatcher.desktop.tags import Tags
from dispatcher.provision.confidential import Confidential
from dispatcher.provision.reporting import Stage
from dispatcher.provision.waiting import Cancelled
from tests.servers.cloud import TOKEN, FakeCloud
from tests.servers.cloud_connection import Direct

START = 1_800_000_000.0
TAGS = Tags(project="disinto")
FINGERPRINT = "ab" * 32


class Killed(BaseException):
    """The process is dead: it does nothing from here on."""


@dataclass(kw_only=True)
class Steps:
    """Counts the steps of a run, and ends it at one of them.

    Attributes:
        kill_at, cancel_at: numbers of steps, from 1; None for never.
    """

    kill_at: int | None = None
    cancel_at: int | None = None
    count: int = 0
    cancelled: bool = False

    def step(self) -> None:
        self.count += 1
        if self.kill_at is not None and self.count >= self.kill_at:
            raise Killed


@dataclass(kw_only=True)
class FakeClock:
    """Time passes in pauses alone."""

    at: float = START
    steps: Steps = field(default_factory=Steps)
    random: Random = field(default_factory=lambda: Random(0))

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        steps = self.steps
        if not steps.cancelled and steps.cancel_at is not None and steps.count >= steps.cancel_at:
            steps.cancelled = True
            raise Cancelled
        steps.step()
        self.at += seconds

    def chance(self) -> float:
        return self.random.random()


@dataclass(kw_only=True)
class Recorder:
    """What a run reports.

    Attributes:
        left: the outputs, as they stay if the run is killed.
    """

    steps: Steps = field(default_factory=Steps)
    stages: list[Stage] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    left: dict[str, Any] | None = None

    def progress(self, stage: Stage, detail: str = "") -> None:
        self.stages.append(stage)

    def say(self, text: str) -> None:
        self.said.append(text)

    def outputs(self, value: Mapping[str, object] | None) -> None:
        self.steps.step()
        self.left = None if value is None else dict(value)
        self.steps.step()


@dataclass(kw_only=True)
class FakeMachine:
    """A machine that becomes a desktop so many seconds after it was first looked at.

    Attributes:
        ready_after_s: None for never.
        stage: that it reports until then.
        log_tail, apps_failed: that it reports.
    """

    clock: FakeClock
    ready_after_s: float | None = 25.0
    stage: str = "installing-packages"
    log_tail: tuple[str, ...] = ("E: broken",)
    apps_failed: tuple[str, ...] = ()
    since: float | None = None

    def look(self, ip: str, fingerprint: str) -> Probed:
        assert ip
        assert fingerprint == FINGERPRINT
        self.since = self.clock.now() if self.since is None else self.since
        ready = self.ready_after_s is not None and (
            self.clock.now() - self.since >= self.ready_after_s
        )
        report = Report(
            stage=self.stage, vnc=ready, guacamole=ready,
            log_tail=self.log_tail, apps_failed=self.apps_failed,
        )  # fmt: skip
        return Probed(report=report, http=ready, https=ready)


class Desktops:
    """One account and its inventory.

    Attributes:
        inventory: entries by id, as the dispatcher has them from the outputs of runs.
    """

    def __init__(self, cloud: FakeCloud | None = None) -> None:
        self.clock = FakeClock()
        self.cloud = cloud or FakeCloud(active_after_s=12.0, ip_after_s=20.0)
        self.cloud.now = self.clock.now
        self.inventory: dict[str, dict[str, Any]] = {}

    def create(
        self,
        desktop_id: str,
        *,
        steps: Steps | None = None,
        keep_on_error: bool = False,
        outputs_lost: bool = False,
        token: str = TOKEN,
        apps: tuple[str, ...] = (),
        confidential: Confidential | None = None,
        **machine: Any,
    ) -> Recorder:
        """One run of ``desktop``; what it raises is raised, after its outputs were read.

        Args:
            outputs_lost: if it is killed, so is its engine, and nobody reads its outputs.
        """
        steps = steps or Steps()
        recorder, self.clock.steps = Recorder(steps=steps), steps
        run_key = f"{desktop_id}.{'0' * 40}"
        order = Order(
            name=desktop_id, region="sfo3", size="s-2vcpu-4gb", image="ubuntu-24-04-x64",
            tags=TAGS.for_run(desktop_id, run_key), user_data="#cloud-config\n",
        )  # fmt: skip
        wanted = Wanted(
            order=order,
            run_tag=TAGS.run(run_key),
            fingerprint=FINGERPRINT,
            entry={
                "id": desktop_id,
                "run_key": run_key,
                "project": TAGS.project,
                "apps": list(apps),
            },
            keep_on_error=keep_on_error,
            confidential=confidential or Confidential(),
        )
        prober = FakeMachine(clock=self.clock, **machine)
        try:
            Creation(
                wanted, cloud=self.adapter(steps, token=token), clock=self.clock,
                prober=prober, reporter=recorder,
            ).run()  # fmt: skip
        except Killed:
            recorder.left = None if outputs_lost else recorder.left
            raise
        finally:
            self.clock.steps = Steps()
            if recorder.left is not None:
                self.inventory[desktop_id] = recorder.left["inventory"]
        return recorder

    def lose(self, desktop_id: str) -> None:
        """Forget an entry, as nothing but a defect or a lost node would."""
        del self.inventory[desktop_id]

    def destroy(
        self, desktop_id: str, *, steps: Steps | None = None, project: str = ""
    ) -> Recorder:
        """One run of ``desktop-destroy``, by what the inventory names.

        Args:
            project: in the settings as they are now; "" for the usual one.
        """
        steps = steps or Steps()
        entry = self.inventory.get(desktop_id, {})
        recorder, self.clock.steps = Recorder(steps=steps), steps
        try:
            destroy(
                desktop_id, cloud=self.adapter(steps), clock=self.clock, reporter=recorder,
                tags=Tags(project=project or TAGS.project), end_sessions=lambda _: None,
                project=entry.get("project", ""), droplet_id=entry.get("droplet_id"),
            )  # fmt: skip
        finally:
            self.clock.steps = Steps()
        self.inventory.pop(desktop_id, None)
        return recorder

    def listed(self, *, ahead_s: float = 0.0) -> Known:
        """The inventory as it is now.

        Args:
            ahead_s: seconds by which the clock of whoever reads it is ahead.
        """
        entries = self.inventory.values()
        return Known(
            droplets=frozenset(e["droplet_id"] for e in entries if "droplet_id" in e),
            run_keys=frozenset(e["run_key"] for e in entries if "droplet_id" not in e),
            listed_at=self.clock.now() + ahead_s,
        )

    def reap(self, known: Known | None = None, *, remove: bool = True) -> Recorder:
        """One run of ``desktop-reap``.

        Args:
            known: left out: by the inventory as it is now.
        """
        recorder = Recorder()
        known = known or self.listed()
        reap(
            known, remove=remove, cloud=self.adapter(Steps()), clock=self.clock,
            reporter=recorder, tags=TAGS,
        )  # fmt: skip
        return recorder

    def adapter(self, steps: Steps, *, token: str = TOKEN) -> DigitalOcean:
        """The real adapter. A kill may come before a request, or before its answer."""
        connection = Direct(self.cloud, token, step=steps.step)
        return DigitalOcean(connection, now=self.clock.now)

    def wait(self, seconds: float) -> None:
        self.clock.at += seconds

    @property
    def billed(self) -> set[int]:
        """Ids of the machines that the provider has."""
        return {each.id for each in self.cloud.running()}

    @property
    def entered(self) -> set[int]:
        """Ids of the machines that the inventory has."""
        return {e["droplet_id"] for e in self.inventory.values() if "droplet_id" in e}
