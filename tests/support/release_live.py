"""A stage of releases with two real services, as processes."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from pathlib import Path
from typing import Any

from dispatcher.devservers.ports import free_port
from dispatcher.release.health import get
from tests.support.release_services import (
    BACKEND,
    FILES,
    WORKER,
    ProcessUnits,
    build_wheels,
    env_files,
    release_toml,
)
from tests.support.release_stage import ReleaseStage


class Services(ReleaseStage):
    """The stage with real services."""

    def __init__(self, tmp: Path) -> None:
        self.port = free_port()
        wheels = build_wheels(tmp / "wheels", (1, 2))
        root = tmp / "shop"
        root.mkdir()
        self.processes = ProcessUnits(root, {BACKEND: "app.py", WORKER: "jobs.py"})
        super().__init__(
            tmp,
            release=release_toml(tmp / "remote.git", wheels, self.port),
            units=self.processes,
            get=get,
            files=FILES,
        )
        for service, text in env_files(root, self.port).items():
            (root / "env" / f"{service}.env").write_text(text)

    def answer(self) -> dict[str, Any]:
        """What the API says about itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as reply:
            return dict(json.load(reply))

    def written(self) -> set[str]:
        """Versions of the library by which the worker has written."""
        with sqlite3.connect(self.root / "run" / "shop.sqlite3") as db:
            return {name for (name,) in db.execute("SELECT DISTINCT name FROM items")}

    def runs(self) -> tuple[str, str]:
        """The present run of each service; both are active."""
        states = [self.units.state(unit) for unit in (BACKEND, WORKER)]
        assert all(state.active for state in states)
        return states[0].invocation, states[1].invocation

    def assert_healthy(self, commit: str, *, lib: str) -> None:
        """Both services run wholly on a commit."""
        answer = self.answer()
        assert answer["lib"] == lib
        assert answer["version"].endswith(f"+{commit[:7]}")
        assert (self.safe, self.head(), self.clean()) == (commit, commit, "")
        assert lib in self.written()
        self.runs()
