"""Stacks without a network and without waiting: a fake server, a clock, probes of what the fake serves.

The programs under test are the real ones, with the adapter, but without its HTTP client. A run can be
cancelled or killed at each of its steps: before and after each request, output and pause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dispatcher.provision.http import Raw
from dispatcher.stack.converge import Tools
from dispatcher.stack.deploy import Creation, destroy
from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.environment import encoded, marked
from dispatcher.stack.lifecycle import TOTAL_S, Wanted
from dispatcher.stack.marks import Mark
from dispatcher.stack.probes import Probed, Prober
from dispatcher.stack.reap import Known, reap
from dispatcher.stack.update import Change, Update
from tests.servers.dokploy import KEY, FakeDokploy
from tests.servers.dokploy_rules import Image
from tests.support.desktops import FakeClock, Killed, Recorder, Steps

BLOB = "0" * 40
ONE, TWO = "registry.example/one:1", "registry.example/one:2"
SLOW = "registry.example/slow:1"
BROKEN_BY_B = "registry.example/two-minds:1"
UNCHECKED = "registry.example/unchecked:1"
CHECKED = "registry.example/checked:1"
BAD, SILENT, GONE = "registry.example/bad:1", "registry.example/silent:1", "registry.example/gone:1"
IMAGES = {
    BROKEN_BY_B: Image.CRASHES_WITH_B,
    ONE: Image.GOOD,
    TWO: Image.GOOD,
    BAD: Image.CRASHES,
    UNCHECKED: Image.CRASHES_UNCHECKED,
    CHECKED: Image.CHECKED,
    SILENT: Image.SILENT,
    SLOW: Image.GOOD,
}
SECRET = "canary-9c1f5e"


class Direct(Connection):
    """A connection to the server within this process.

    Args:
        step: called before each request, and before its answer.
    """

    def __init__(self, server: FakeDokploy, key: str, *, step: Callable[[], None]) -> None:
        self._server, self._key, self._step = server, key, step

    def request(
        self, method: str, path: str, *, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Raw:
        self._step()
        answer = self._server.answer(path.removeprefix("/"), query, body, self._key)
        self._step()
        return answer


@dataclass(kw_only=True)
class FakeProber:
    """Probes what the fake serves."""

    server: FakeDokploy
    expected: str = ""
    looks: list[bool] = field(default_factory=list)

    def look(self, host: str, *, https: bool) -> Probed:
        page = self.server.page(host)
        self.looks.append(bool(page))
        version = (self.expected in page) if self.expected else None
        if not page:
            return Probed(
                certificate="self-signed certificate", trouble="GET /: 502", version=version
            )
        return Probed(healthy="GET /: 200", certificate="self-signed certificate", version=version)


class Stacks:
    """One server and its inventory.

    Attributes:
        inventory: entries by id, as the dispatcher has them from the outputs of runs.
        ending: ids whose destruction began and did not succeed.
        prober: in place of the one that looks at what the fake serves.
        limit_s: seconds until a stack has to run.
    """

    def __init__(self, **server: Any) -> None:
        self.clock = FakeClock()
        self.server = FakeDokploy(now=self.clock.now, images=dict(IMAGES), **server)
        self.inventory: dict[str, dict[str, Any]] = {}
        self.ending: set[str] = set()
        self.texts: list[str] = []
        self.prober: Prober = FakeProber(server=self.server)
        self.limit_s = TOTAL_S

    def create(
        self,
        stack_id: str,
        *,
        name: str = "",
        image: str = ONE,
        steps: Steps | None = None,
        outputs_lost: bool = False,
        key: str = KEY,
        environment: dict[str, str] | None = None,
        host: str = "",
        **more: Any,
    ) -> Recorder:
        """One run of ``stack``; what it raises is raised, after its outputs were read."""
        name = name or stack_id
        run_key = f"{stack_id}.{BLOB}"
        given: dict[str, Any] = {
            "volume": f"workspace-{name}", "path": "/workspace", "port": 8080, "https": True,
            "certificate": "letsencrypt", **more,
        }  # fmt: skip
        wanted = Wanted(
            mark=Mark.of_run("disinto", run_key),
            key=run_key,
            name=name,
            image=image,
            environment=marked(
                encoded({"A": "1", "KEY": SECRET} if environment is None else environment), run_key
            ),
            host=host or f"{name}.stacks.example",
            **given,
        )
        return self._run(
            stack_id, steps, lambda tools: Creation(wanted, tools).run(),
            outputs_lost=outputs_lost, key=key,
        )  # fmt: skip

    def update(
        self,
        stack_id: str,
        *,
        image: str = "",
        environment: dict[str, str] | None = None,
        steps: Steps | None = None,
        expected: str = "",
        without_return: bool = False,
        pullable: Callable[[str], str] = lambda _: "",
    ) -> Recorder:
        """One run of ``stack-update``."""
        change = Change(
            stack_id=stack_id,
            project="disinto",
            key=f"update-{stack_id}.{self.clock.now():.0f}",
            image=image,
            environment=None if environment is None else encoded(environment),
            without_return=without_return,
        )

        def run(tools: Tools) -> None:
            seeing = FakeProber(server=self.server, expected=expected)
            forward = replace(tools, prober=seeing)
            Update(change, forward, available=pullable, back=tools).run()

        return self._run(stack_id, steps, run, keeps=True)

    def destroy(self, stack_id: str, *, steps: Steps | None = None) -> Recorder:
        """One run of ``stack-destroy``."""
        self.ending.add(stack_id)
        recorder = self._run(
            stack_id, steps, lambda tools: destroy(stack_id, "disinto", tools), keeps=True
        )
        self.ending.remove(stack_id)
        self.inventory.pop(stack_id, None)
        return recorder

    def listed(self, *, ahead_s: float = 0.0) -> Known:
        """The inventory as it is now.

        Args:
            ahead_s: seconds by which the clock of whoever reads it is ahead.
        """
        return Known(
            run_keys=frozenset(entry["run_key"] for entry in self.inventory.values()),
            listed_at=self.clock.now() + ahead_s,
        )

    def reap(self, known: Known | None = None, *, remove: bool = True) -> Recorder:
        """One run of ``stack-reap``.

        Args:
            known: left out: by the inventory as it is now.
        """
        named = known or self.listed()
        return self._run(
            "", None, lambda tools: reap(named, "disinto", tools, remove=remove), keeps=True
        )

    def _run(
        self,
        stack_id: str,
        steps: Steps | None,
        run: Callable[[Tools], None],
        *,
        outputs_lost: bool = False,
        keeps: bool = False,
        key: str = KEY,
    ) -> Recorder:
        steps = steps or Steps()
        recorder, self.clock.steps = Recorder(steps=steps), steps
        tools = Tools(
            platform=Dokploy(Direct(self.server, key, step=steps.step)),
            clock=self.clock,
            reporter=recorder,
            prober=self.prober,
            limit_s=self.limit_s,
        )
        try:
            run(tools)
        except Killed:
            recorder.left = None if outputs_lost else recorder.left
            raise
        except Exception as error:
            self.texts.append(str(error))
            raise
        finally:
            self.clock.steps = Steps()
            self.texts += [*recorder.said, repr(recorder.left)]
            entry = (recorder.left or {}).get("inventory")
            if entry and not (keeps and "name" not in entry):
                self.inventory[stack_id] = entry
        return recorder

    def wait(self, seconds: float) -> None:
        self.clock.at += seconds
        self.server.tick()

    @property
    def projects(self) -> list[str]:
        """Names of the projects that the server has."""
        return sorted(each["name"] for each in self.server.projects.values())

    @property
    def entered(self) -> list[str]:
        """Names of the stacks that the inventory has."""
        return sorted(entry["name"] for entry in self.inventory.values())

    @property
    def is_empty(self) -> bool:
        server = self.server
        return not (server.projects or server.applications or server.services or server.queue)
