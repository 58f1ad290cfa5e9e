"""A service over a fake scheduler, on a real git remote and a real OpenBao."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tenacity

from dispatcher.assembly import build_components, build_service
from dispatcher.devservers.scene import Scene
from dispatcher.loop.components import Components
from dispatcher.loop.outgoing import Entry
from dispatcher.loop.results import of_run
from dispatcher.loop.serve import Service
from dispatcher.model.run import Outcome, Placement
from dispatcher.model.verdicts import Verdict
from dispatcher.status.tracker import Silent, Status
from tests.fakes.scheduler import FakeScheduler
from tests.servers.bao import Bao

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.02), reraise=True
)
HELLO = "#!/bin/bash\necho hello\n"


def action(action_id: str, *, formula: str = "hello", secrets: str = "", more: str = "") -> str:
    return (
        f'id = "{action_id}"\nformula = "{formula}"\ncontext = "c"\nsecrets = [{secrets}]\n{more}\n'
    )


def path(action_id: str) -> str:
    return f"vault/actions/{action_id}.toml"


class Follower(Silent):
    """Keeps the last status, and every event's name."""

    last: Status | None = None

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, object]]] = []

    def status(self, status: Status) -> None:
        self.last = status

    def event(self, what: str, /, **facts: object) -> None:
        self.events.append((what, facts))


class Stage:
    """A scene with a service over a fake scheduler.

    Attributes:
        change: laid over the parts of every service that is made from now on.
    """

    def __init__(self, scene: Scene, *, state_dir: Path | None = None) -> None:
        self._state_dir = state_dir
        self.change: Callable[[Components], Components] = lambda components: components
        self.scene = scene
        self.scheduler = FakeScheduler()
        self.watch = Follower()
        self.components = self._components()
        self._service: Service | None = None
        self._thread: threading.Thread | None = None
        self.served: Components | None = None

    def _components(self) -> Components:
        settings, environ = self.scene.open_settings(), self.scene.environ
        if self._state_dir is not None:
            settings = settings.model_copy(update={"state_dir": self._state_dir})
        components = build_components(settings, environ=environ, scheduler=self.scheduler)
        self.scheduler.wake = components.wake
        return self.change(components)

    def beside(self, state_dir: Path) -> Stage:
        """Another installation, with a state directory and an engine of its own, on the same ops
        repo.
        """
        return Stage(self.scene, state_dir=state_dir)

    def once(self) -> None:
        self.scheduler.ends_at_once = True
        build_service(self._components(), self.watch).run(once=True)

    def start(self) -> Service:
        self.watch.last = None
        self.served = self._components()
        service = self._service = build_service(self.served, self.watch)
        self._thread = threading.Thread(target=service.run, daemon=True)
        self._thread.start()
        return service

    @property
    def service(self) -> Service:
        """The one that ``start`` started."""
        assert self._service is not None
        return self._service

    def stop(self) -> None:
        if self._service and self._thread:
            self._service.stop()
            self._thread.join(20)
            assert not self._thread.is_alive()

    def signed_result(self, action_id: str) -> str:
        """A result of a run under way, failed with code 3, as this dispatcher signs it."""
        claim = next(c for c in self.components.ledger.open_runs() if c.key.action_id == action_id)
        outcome = Outcome(verdict=Verdict.FAILED, exit_code=3)
        text = of_run(claim, outcome, Placement(kind="local"), now=time.time()).to_json()
        return self.components.sign_result(Entry(action_id=action_id, text=text))

    @eventually
    def result(self, action_id: str) -> dict[str, object]:
        results = self.scene.results()
        assert action_id in results, sorted(results)
        return results[action_id]

    @eventually
    def runs(self, count: int) -> None:
        assert len(self.scheduler.running()) == count

    @eventually
    def at_rest(self) -> None:
        assert not self.components.ledger.open_runs()


def set_stage(root: Path, bao: Bao, **settings: Any) -> Stage:
    """A stage with a KV mount of its own, formulas ``hello`` (low) and ``danger`` (high), and the
    secret ``TOKEN_A``; ``settings`` are laid over.
    """
    server = bao.with_own_mount()
    base: dict[str, Any] = {
        "vault": {"kv_mount": server.kv_mount},
        "limits": {"max_in_flight": 3},
    }
    for section, keys in settings.items():
        base[section] = {**base.get(section, {}), **keys}
    return Stage(
        Scene.set(
            root,
            server,
            values={"TOKEN_A": "value-a"},
            settings=base,
            tiers={"hello": "low", "danger": "high"},
            formulas={"hello.sh": HELLO, "danger.sh": HELLO},
        )
    )
