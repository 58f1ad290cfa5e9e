"""A real forge with its people, and a service that follows it: git over HTTP, webhook and all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.devservers.scene import Scene
from dispatcher.gate.request_comment import MARKER
from dispatcher.listener.app import App
from dispatcher.listener.hooks import PushHook
from dispatcher.listener.serving import Listener
from dispatcher.loop.serve import Service
from dispatcher.model.health import Health
from dispatcher.status.metrics import Metrics
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.forge_stage import Stage as ForgeStage
from tests.support.stage import HELLO, Stage, eventually

SECRET = "a secret of the webhook"
NEVER_S = 3600.0
"""Of the poll: so long that only the webhook can have been heard."""


@dataclass(kw_only=True)
class Story:
    """A forge with its people, and a service that follows it."""

    forge: ForgeStage
    stage: Stage

    @eventually
    def comment(self, number: int) -> str:
        comments = self.forge.repo(self.forge.owner, "GET", f"/issues/{number}/comments")
        assert len(comments) == 1
        body: str = comments[0]["body"]
        assert body.startswith(MARKER)
        return body

    def states(self, commit: str) -> dict[str, str]:
        """State of each commit status, by its context, as the forge shows it."""
        combined = self.forge.repo(self.forge.owner, "GET", f"/commits/{commit}/status")
        return {s["context"]: s["status"] for s in combined["statuses"] or ()}

    @eventually
    def result(self, action_id: str) -> Any:
        clone = self.forge.clone(self.forge.owner)
        return json.loads(clone.git("show", f"HEAD:vault/actions/{action_id}.result.json"))

    def submitted(self) -> list[str]:
        return [spec.key.action_id for spec in self.stage.scheduler.submitted]


def set_story(
    forge: Forgejo,
    bao_server: Bao,
    folder: Path,
    *,
    poll_s: float = NEVER_S,
    places: int = 16,
    attested: bool = False,
) -> Story:
    """People and a repository of their own, and a service that is not started.

    Args:
        places: how many runs there may be at a time.
        attested: whether the service signs what it writes.
    """
    (folder / "people").mkdir()
    (folder / "service").mkdir()
    people = ForgeStage.build(forge, folder / "people")
    settings = {
        "ops_repo": {
            "remote": f"{forge.url}/{people.repository}.git",
            "username": people.owner.login,
            "token_env": "OPS_TOKEN",
            "poll_interval_s": poll_s,
        },
        "policy": {"gate": "forgejo"},
        "forge": {"url": forge.url, "repository": people.repository},
        "attestation": {"enabled": attested},
        "limits": {"max_in_flight": places},
    }
    server = bao_server.with_own_mount()
    scene = Scene.set(
        folder / "service",
        server,
        values={"TOKEN_A": "value-a"},
        settings={**settings, "vault": {"kv_mount": server.kv_mount}},
        tiers={"hello": "low", "danger": "high"},
        formulas={"hello.sh": HELLO, "danger.sh": HELLO},
    )
    scene.environ |= {"OPS_TOKEN": people.owner.token, "DISINTO_FORGE_TOKEN": people.owner.token}
    stage = Stage(scene)
    stage.scheduler.ends_at_once = True
    return Story(forge=people, stage=stage)


@contextmanager
def told(
    forge: Forgejo,
    bao_server: Bao,
    folder: Path,
    *,
    poll_s: float = NEVER_S,
    hook: bool = True,
    places: int = 16,
) -> Iterator[Story]:
    """The same, started.

    Args:
        hook: whether the forge rings the service.
        places: how many runs there may be at a time.
    """
    story = set_story(forge, bao_server, folder, poll_s=poll_s, places=places)
    with ExitStack() as open_things:
        open_things.callback(story.stage.stop)
        service = story.stage.start()
        if hook:
            open_things.enter_context(hooked(story.forge, service))
        yield story


@contextmanager
def hooked(people: ForgeStage, service: Service) -> Iterator[None]:
    """The forge's webhook rings the service."""
    app = App(
        health=lambda: Health(leader=True, beat_at=0, started_at=0),
        metrics=Metrics(),
        wake=service.look_now,
        moved=service.branch_moved,
        merged=service.request_merged,
        hook=PushHook(secret=SECRET.encode(), repository=people.repository, branch="main"),
    )
    with Listener(app, listen="127.0.0.1:0") as listener:
        config = {
            "url": f"http://127.0.0.1:{listener.port}/hooks/push",
            "content_type": "json",
            "secret": SECRET,
        }
        events = ["push", "pull_request", "pull_request_review"]
        wanted = {"type": "forgejo", "active": True, "events": events, "config": config}
        people.repo(people.owner, "POST", "/hooks", wanted)
        yield
