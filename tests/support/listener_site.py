"""A listener on a free port of the loopback, and webhooks that are signed for it."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from dispatcher.errors import Dependency
from dispatcher.listener.app import App
from dispatcher.listener.hooks import PushHook
from dispatcher.listener.serving import Listener
from dispatcher.model.health import DependencyHealth, Health, WaitingFor
from dispatcher.status.metrics import Metrics

SECRET = b"a secret of more than sixteen bytes"
NOW = 1_900_000_000.0
PUSH = {"ref": "refs/heads/main", "repository": {"full_name": "Ops/Actions"}, "commits": []}

WELL = Health(
    leader=True,
    beat_at=NOW - 1,
    started_at=NOW - 100,
    dependencies=(DependencyHealth(dependency=Dependency.REMOTE, up=True, since=NOW - 90),),
    in_flight=2,
    waiting={WaitingFor.APPROVAL: 3},
)


def sign(body: bytes, secret: bytes = SECRET) -> str:
    """A webhook's signature (hex)."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


@dataclass
class Site:
    """A listener on a free port, with a doorbell that counts."""

    health: Health = WELL
    metrics: Metrics = field(default_factory=Metrics)
    rung: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    pushed: int = 0
    heads: list[str] = field(default_factory=list)
    merged: list[tuple[int, str]] = field(default_factory=list)
    url: str = ""

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}/hooks/push", content=body, headers=named, timeout=10)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=10)

    def ring_for_push(self, head: str) -> None:
        self.pushed += 1
        self.heads.append(head)
        self.rung.release()

    def rings(self) -> int:
        count = 0
        while self.rung.acquire(blocking=False):
            count += 1
        return count


def serve(site: Site, hook: PushHook | None) -> Listener:
    """The listener of a site, which is entered to serve.

    Args:
        hook: judges webhooks; None if none are taken.
    """
    site.metrics.watch(lambda: site.health, forge_calls=lambda: 7)
    app = App(
        health=lambda: site.health,
        metrics=site.metrics,
        wake=site.rung.release,
        moved=site.ring_for_push,
        merged=lambda number, commit: site.merged.append((number, commit)),
        hook=hook,
        ended=b"genuine".__eq__,
        clock=lambda: NOW,
    )
    listener = Listener(app, listen="127.0.0.1:0")
    site.url = f"http://127.0.0.1:{listener.port}"
    return listener


@contextmanager
def listening() -> Iterator[Site]:
    """A site whose webhooks are those of ``ops/actions``, branch ``main``, signed with ``SECRET``."""
    site = Site()
    with serve(site, PushHook(secret=SECRET, repository="ops/actions", branch="main")):
        yield site
