"""A page on a socket whose every page shows something, most of it written by somebody hostile."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from dispatcher.assembly import open_client
from dispatcher.audit import AuditLog
from dispatcher.errors import Dependency
from dispatcher.host import resources
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.model.checks import Check
from dispatcher.model.health import DependencyHealth, WaitingFor
from dispatcher.model.result import Result, ResultFormula
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.sidecars import Planned, Row
from dispatcher.ops_repo import OpsRepo
from dispatcher.page.app import build_app
from dispatcher.page.background import Background
from dispatcher.page.index import Index
from dispatcher.page.inventory_list import open_view
from dispatcher.page.live import Live
from dispatcher.page.operator_link import OperatorLink
from dispatcher.page.pages.doctor import diagnosing
from dispatcher.page.pages.sidecars import reading
from dispatcher.page.serving import listening, server
from dispatcher.page.site import Site
from dispatcher.settings import OpsRepoSettings, settings_model
from dispatcher.status.overview import OpenAction, State
from tests.servers.git_remote import GitRemote
from tests.unit.test_page_overview import _overview, _write

PAYLOAD = (
    '<script>window.planted=1</script><img src=x onerror="window.planted=2" class="planted">'
    "\"'><b class=planted onmouseover=window.planted=3>bold</b></textarea></pre></script>"
    "<svg class=planted onload=window.planted=4></svg>{{7*7}}{% raw %}&lt;i&gt;\u202e"
)
"""Markup that shows whether it is alive: by elements of a class, and by a variable."""

PLANTED = "<b class=planted"
"""A part of it, as it must stand in the text of a page."""

SCHEMA = {
    "title": PAYLOAD,
    "type": "object",
    "properties": {
        "note": {"type": "string", "title": PAYLOAD, "description": PAYLOAD, "default": PAYLOAD},
        "size": {"enum": ["small", PAYLOAD], "description": PAYLOAD},
        "lines": {"type": "array", "items": {"type": "string"}},
        "really": {"type": "boolean"},
    },
    "required": ["note"],
}

SIDECARS = """
[projects.app]
repository = "acme/app"
bot = "reader"
[rules.triage]
formula = "triage"
labels = ["<b class=planted>"]
"""


class Inventory:
    """What ``InventoryView`` reads."""

    def read(self) -> tuple[str, list[InventoryEntry]]:
        common: dict[str, Any] = {"kind": "volume", "blob": "b" * 40, "at": "2026-11-20T08:00:00Z"}
        good = InventoryEntry(
            **common, id="vol-1", result="run-1", tier="low", entry={PAYLOAD: PAYLOAD},
            expires_at="2099-01-01T00:00:00Z", forged=PAYLOAD, approved_by=(PAYLOAD,),
        )  # fmt: skip
        odd = InventoryEntry(**common, id="x" * 100, problem=PAYLOAD, result=PAYLOAD)
        return "c" * 40, [good, odd]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The page as it is served.

    Attributes:
        link: lets a browser in once; ``renew`` makes the next.
    """

    origin: str
    site: Site

    def link(self) -> str:
        assert self.site.link is not None
        return self.site.link.renew()


@contextmanager
def gallery(root: Path) -> Iterator[Gallery]:
    """Serve it until the block ends."""
    remote = GitRemote(root / "remote.git")
    _commit(remote)
    (root / "formulas").mkdir()
    (root / "policy.toml").write_text('[tiers]\ntrap = "low"\n')
    (root / "sidecars.toml").write_text(SIDECARS)
    (root / "formulas" / "trap.sh").write_text("#!/bin/bash\necho\n")
    (root / "formulas" / "trap.schema.json").write_text(json.dumps(SCHEMA))
    for file in resources.path("actions/stack/formulas").iterdir():
        (root / "formulas" / file.name).write_bytes(file.read_bytes())
    state = root / "state"
    settings = settings_model().model_validate(
        {
            "state_dir": state,
            "ops_repo": {"remote": str(remote.path)},
            "formulas": {"path": root / "formulas"},
            "policy": {"file": root / "policy.toml"},
            "sidecars": {"file": root / "sidecars.toml"},
            "forge": {"url": "https://forge.example"},
            "vault": {"addr": "http://127.0.0.1:1"},
        }
    )
    state.mkdir(mode=0o700)
    log = AuditLog(state / "audit.jsonl")
    for number in range(3):
        log.append("claimed", action=f"run-{number}", reason=PAYLOAD, more=[PAYLOAD, "x" * 900])
    _status(state)
    opened = listening(0)
    origin = f"http://127.0.0.1:{opened.getsockname()[1]}"
    repo = OpsRepo(git_dir=root / "page.git", settings=OpsRepoSettings(remote=str(remote.path)))
    live = Live(state, repo, Index(root / "web", now=time.time), poll_s=60)
    while live.follow():
        pass
    live.index.searched({"run-1": PAYLOAD, "run-2": PAYLOAD, "run-3": PAYLOAD}, None)
    live.look()
    site = Site(
        origin=origin,
        settings=settings,
        link=OperatorLink(origin, lambda _url: None),
        submissions=lambda _person: open_client(
            settings, os.environ, author=("Ada", "a@b.example")
        ),
        live=live,
    )
    _fill(site)
    running = server(build_app(site))
    thread = threading.Thread(target=running.run, args=([opened],))
    thread.start()
    try:
        yield Gallery(origin=origin, site=site)
    finally:
        running.should_exit = True
        thread.join(20)
        opened.close()
        repo.close()


def _commit(remote: GitRemote) -> None:
    text = 'id = "run-1"\nformula = "trap"\nsecrets = []\ncontext = {}\n'
    action = text.format(json.dumps(PAYLOAD))
    remote.commit({"vault/actions/run-1.toml": action.encode()})
    waiting = action.replace('"run-1"', '"run-2"')
    remote.commit({"vault/actions/run-2.toml": waiting.encode()})
    result = Result(
        id="run-1",
        exit_code=1,
        timestamp="2026-03-01T12:00:00Z",
        verdict=Verdict.FAILED,
        error=PAYLOAD,
        logs=PAYLOAD,
        outputs={PAYLOAD: PAYLOAD},
        approved_by=(PAYLOAD,),
    )
    remote.commit({"vault/actions/run-1.result.json": result.to_json().encode()})
    _commit_stacks(remote, result)


def _commit_stacks(remote: GitRemote, result: Result) -> None:
    """One that is asked for, one that was not deployed, and one that only an unsigned file names."""
    params = tomli_w.dumps({"params": {"name": PAYLOAD, "image": PAYLOAD}})
    text = f'formula = "stack"\nsecrets = []\ncontext = "x"\n{params}'
    failed = result.model_copy(
        update={
            "id": "stack-2",
            "timestamp": rfc3339(time.time()),
            "formula": ResultFormula(name="stack"),
        }
    )
    entry = {"name": PAYLOAD, "state": "RUNNING", "url": "javascript:window.planted=5",
             "image": PAYLOAD, "volume": PAYLOAD, "certificate": PAYLOAD, "answered": PAYLOAD}  # fmt: skip
    record = {"kind": "stack", "id": "stack-3", "entry": entry}
    remote.commit(
        {
            "vault/actions/stack-1.toml": f'id = "stack-1"\n{text}'.encode(),
            "vault/actions/stack-2.toml": f'id = "stack-2"\n{text}'.encode(),
            "vault/actions/stack-2.result.json": failed.to_json().encode(),
            "vault/inventory/stack/stack-3.json": json.dumps(record).encode(),
        }
    )


def _status(state: Path) -> None:
    running = OpenAction(
        id="run-3",
        state=State.RUNNING,
        formula=PAYLOAD,
        node=PAYLOAD,
        reason=PAYLOAD,
        progress={"stage": PAYLOAD, "percent": 40, "detail": PAYLOAD, "at": None},
    )
    waiting = OpenAction(
        id="run-2",
        state=State.WAITING,
        waiting_for=WaitingFor.APPROVAL,
        reason=PAYLOAD,
        formula="trap",
    )
    vault = DependencyHealth(dependency=Dependency.VAULT, up=False, since=1.0, error=PAYLOAD)
    overview = _overview(open=(running, waiting), dependencies=(vault,), warnings=(PAYLOAD,))
    _write(state, overview)


def _fill(site: Site) -> None:
    """What would need servers: the inventory, the checks, and the issues of projects."""

    def checks() -> Generator[Check, None, None]:
        yield Check(name="git", ok=True, detail="git version 2.99")
        yield Check(name=PAYLOAD, ok=False, detail=PAYLOAD, remedy=PAYLOAD)

    def issues() -> Generator[Planned, None, None]:
        why: dict[str, Any] = {"project": "app", "rule": "triage", "again_at": None, "action": ""}
        rows = (Row(**why, issue=7, why="cool_down", reason=PAYLOAD),)
        yield Planned(rows=rows, problems={PAYLOAD: PAYLOAD})

    site.opened[open_view] = Inventory()
    for opener, steps in ((diagnosing, checks), (reading, issues)):
        background: Background[object] = Background(steps, fresh_s=3600)
        background.begin()
        site.opened[opener] = background
