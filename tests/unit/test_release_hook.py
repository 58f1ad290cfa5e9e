"""The webhook of releases: what counts as a request of a deploy, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from dispatcher.listener.exchange import BODY_LIMIT
from dispatcher.listener.hooks import PushHook
from dispatcher.listener.release_hook import PATHS, ReleaseHook, Throttle
from dispatcher.listener.serving import Listener

SECRET = b"a secret of more than sixteen bytes"
PUSH = json.dumps({"ref": "refs/heads/main", "after": "0" * 40}).encode()
OTHER = json.dumps({"ref": "refs/heads/topic"}).encode()
GITHUB, FORGEJO = "X-Hub-Signature-256", "X-Forgejo-Signature"


def sign(body: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


@dataclass
class Hook:
    """A listener on a free port that counts what is requested."""

    url: str = ""
    requested: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    reports: list[str] = field(default_factory=list)
    broken: bool = False

    def request(self) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        self.requested.release()

    def post(self, body: bytes, path: str = PATHS[0], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}{path}", content=body, headers=named, timeout=10)

    def requests(self) -> int:
        count = 0
        while self.requested.acquire(blocking=False):
            count += 1
        return count


def serve(hook: Hook, *, spacing_s: float) -> Listener:
    judge = PushHook(secret=SECRET, repository="", branch="main", accepted="requested a deploy")
    app = ReleaseHook(judge, hook.request, report=hook.reports.append, spacing_s=spacing_s)
    listener = Listener(app, listen="127.0.0.1:0")
    hook.url = f"http://127.0.0.1:{listener.port}"
    return listener


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Puts off every request but the first until after the test."""
    made = Hook()
    with serve(made, spacing_s=3600):
        yield made


@pytest.mark.parametrize("path", ["/webhook/github", "/webhook/forgejo"])
@pytest.mark.parametrize(
    ("header", "prefix"),
    [(GITHUB, "sha256="), (FORGEJO, ""), ("X-Gitea-Signature", "")],
)
def test_a_signed_push_to_the_branch_requests_a_deploy(
    hook: Hook, path: str, header: str, prefix: str
) -> None:
    answer = hook.post(PUSH, path, **{header: prefix + sign(PUSH)})
    assert (answer.status_code, answer.text) == (202, "requested a deploy\n")
    assert hook.requests() == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (PUSH, {}, 403),
        (PUSH, {FORGEJO: ""}, 403),
        (PUSH, {FORGEJO: sign(PUSH, b"another secret of sixteen bytes")}, 403),
        (PUSH + b" ", {FORGEJO: sign(PUSH)}, 403),
        (PUSH, {FORGEJO: sign(PUSH), GITHUB: "sha256=" + "0" * 64}, 403),
        (OTHER, {FORGEJO: sign(OTHER)}, 202),
        (b"payload=%7B%7D", {FORGEJO: sign(b"payload=%7B%7D")}, 400),
        (b" " * (BODY_LIMIT + 1), {}, 413),
    ],
)
def test_nothing_else_requests_one(
    hook: Hook, body: bytes, headers: dict[str, str], status: int
) -> None:
    try:
        assert hook.post(body, **headers).status_code == status
    except httpx.TransportError:  # closed on us while we were still sending
        assert status == 413
    assert hook.requests() == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/webhook/github", 405), ("POST", "/", 404), ("POST", "/hooks/push", 404)],
)
def test_there_are_no_other_pages(hook: Hook, method: str, path: str, status: int) -> None:
    assert httpx.request(method, hook.url + path, timeout=10).status_code == status


def test_replays_are_combined(hook: Hook) -> None:
    for _ in range(5):
        assert hook.post(PUSH, **{FORGEJO: sign(PUSH)}).status_code == 202
    assert hook.requests() == 1


class Loop(asyncio.SelectorEventLoop):
    """Its time passes when the test says so."""

    now = 100.0

    def time(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.call_soon(self.stop)
        self.run_forever()


def test_calls_within_the_spacing_are_put_off_and_not_lost() -> None:
    requested: list[float] = []
    with contextlib.closing(Loop()) as loop:
        throttle = Throttle(lambda: requested.append(loop.now), report=print, spacing_s=5)
        for _ in range(3):
            throttle.request(loop)
        loop.pass_(4)
        throttle.request(loop)
        assert requested == [100]
        loop.pass_(1)
        assert requested == [100, 105]
        loop.pass_(1)
        throttle.request(loop)
        assert requested == [100, 105]
        loop.pass_(4)
        assert requested == [100, 105, 110]
        loop.pass_(60)
        throttle.request(loop)
        assert requested == [100, 105, 110, 170]


def test_a_request_that_was_put_off_and_fails_is_reported() -> None:
    reports: list[str] = []
    broken = False

    def request() -> None:
        if broken:
            raise OSError(28, "No space left on device")

    with contextlib.closing(Loop()) as loop:
        throttle = Throttle(request, report=reports.append, spacing_s=5)
        throttle.request(loop)
        throttle.request(loop)
        broken = True
        loop.pass_(5)
    assert reports == ["cannot request a deploy: [Errno 28] No space left on device"]


def test_a_request_that_cannot_be_made_is_reported_to_both_sides(hook: Hook) -> None:
    hook.broken = True
    answer = hook.post(PUSH, **{FORGEJO: sign(PUSH)})
    assert (answer.status_code, answer.text) == (503, "cannot request a deploy\n")
    assert hook.reports == ["cannot request a deploy: [Errno 28] No space left on device"]
    hook.broken = False
    assert hook.post(PUSH, **{FORGEJO: sign(PUSH)}).status_code == 202
    assert hook.requests() == 1
