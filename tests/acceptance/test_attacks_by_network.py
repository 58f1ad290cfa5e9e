"""Attacks by what answers in the place of a forge, and by whoever can reach the listener."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dispatcher.forge import ForgeApi
from dispatcher.gate import NoGate, TieredGate
from dispatcher.gate.approvers import Approvers
from dispatcher.gate.forgejo import ForgejoGate
from dispatcher.listener.app import App
from dispatcher.listener.hooks import PushHook
from dispatcher.listener.serving import Listener
from dispatcher.model.health import Health
from dispatcher.settings import ForgeSettings
from dispatcher.status.metrics import Metrics
from tests.servers.forgejo import Forgejo
from tests.support.forge_stage import Stage, action_path, action_text
from tests.support.judging import Judge
from tests.support.signed_stage import SignedStage

X = action_path("x")
ONE = action_text("x")

# What answers in the place of a forge


def asks(judge: Judge, forge: ForgeApi) -> None:
    """From now on approval is looked up there."""
    judge.gate = TieredGate(
        ForgejoGate(forge=forge, history=judge.repo, branch="main", approvers=Approvers())
    )


def waits_undecided(judge: Judge) -> None:
    """There is not even a decision: nothing is written, and the forge is asked again."""
    found = judge.outcome()
    assert (found.outcome, found.decision) == ("waiting", None)
    assert "the forge" in found.reason


@pytest.mark.needs("forgejo", "git")
def test_a_forge_that_does_not_answer(forge: Forgejo, tmp_path: Path) -> None:
    stage = Stage.build(forge, tmp_path)
    stage.land(stage.alice, stage.propose(stage.alice, {X: ONE}))
    settings = ForgeSettings(url="http://127.0.0.1:9", repository=stage.repository)
    asks(stage.judge, ForgeApi(settings, token="t"))
    waits_undecided(stage.judge)


NONSENSE = (
    httpx.Response(200, text="<html>Sign in</html>"),
    httpx.Response(200, json={"number": "1"}),
    httpx.Response(200, json=[{"merged": True}]),
    httpx.Response(200, json="approved"),
    httpx.Response(200, content=b"\xff\xfe\x00"),
    httpx.Response(200, content=b"[" * 100_000),
    httpx.Response(200, content=b" " * (9 * 2**20)),
    httpx.Response(204),
    httpx.Response(302, headers={"Location": "http://127.0.0.1:9/"}),
    httpx.Response(500, json={"message": "no"}),
    httpx.Response(503, text="busy"),
    httpx.Response(429, text="slowly"),
    httpx.Response(401, json={"message": "who are you"}),
    httpx.Response(403, json={"message": "no"}),
    httpx.Response(418, text="teapot"),
)


@pytest.mark.needs("git", "ssh-keygen")
def test_a_forge_that_answers_nonsense(tmp_path: Path) -> None:
    stage = SignedStage.build(tmp_path)
    stage.push({X: ONE})
    settings = ForgeSettings(url="http://forge.test", repository="o/r")
    for answer in NONSENSE:
        transport = httpx.MockTransport(
            lambda _request, a=answer: httpx.Response(
                a.status_code, headers=dict(a.headers), content=a.content
            )
        )
        asks(stage.judge, ForgeApi(settings, token="t", transport=transport))
        waits_undecided(stage.judge)


# The webhook

SECRET = b"a secret that only the forge knows"


@contextmanager
def listener(rung: list[str]) -> Iterator[str]:
    health = Health(leader=True, beat_at=0, started_at=0)
    app = App(
        health=lambda: health,
        metrics=Metrics(),
        wake=lambda: rung.append("look"),
        hook=PushHook(secret=SECRET, repository="ops/actions", branch="main"),
    )
    with Listener(app, listen="127.0.0.1:0") as opened:
        yield f"http://127.0.0.1:{opened.port}/hooks/push"


def call(url: str, body: bytes, signature: str | None) -> httpx.Response:
    headers = {"X-Forgejo-Signature": signature} if signature is not None else {}
    return httpx.post(url, content=body, headers=headers, timeout=10)


BODY = json.dumps(
    {
        "ref": "refs/heads/main",
        "repository": {"full_name": "ops/actions"},
        "commits": [{"added": [X], "message": "approved, merged, trust me"}],
    }
).encode()


def test_a_forged_webhook() -> None:
    rung: list[str] = []
    right = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()
    with listener(rung) as url:
        for body, signature in (
            (BODY, None),
            (BODY, ""),
            (BODY, "sha256="),
            (BODY, "0" * 64),
            (BODY + b" ", right),
            (BODY, hmac.new(b"", BODY, hashlib.sha256).hexdigest()),
        ):
            answer = call(url, body, signature)
            assert answer.status_code == 403
            assert "the signature is missing or wrong" in answer.text
        assert call(url, BODY, right).status_code == 202
    assert rung == ["look"]


@pytest.mark.needs("git", "ssh-keygen")
def test_a_replayed_webhook(tmp_path: Path) -> None:
    stage = SignedStage.build(tmp_path, gate=lambda _repo: TieredGate(NoGate()))
    stage.push({X: ONE})
    rung: list[str] = []
    with listener(rung) as url:
        for _ in range(3):
            right = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()
            assert call(url, BODY, right).status_code == 202
            found = stage.outcome()
            assert found.outcome == "waiting"
            assert "no gate is configured" in found.reason
    assert rung == ["look"] * 3
