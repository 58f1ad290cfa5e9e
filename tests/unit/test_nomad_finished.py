"""Finished jobs stay in Nomad for their time, and no longer; over the real adapter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from dispatcher.engines.nomad import finished as finished_jobs
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.scheduler import NomadScheduler
from dispatcher.model.run import Claim, Phase, RunKey
from dispatcher.settings import settings_model

BLOB = "b" * 40
KEEP_S = 600.0


@dataclass
class Nomad:
    """Jobs, and the end of each, in seconds."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def add(
        self,
        action_id: str,
        *,
        ended: float = 0.0,
        status: str = "dead",
        parent: str = "disinto-runner",
    ) -> str:
        child = f"{parent}/dispatch-{action_id}-1-aaaaaaaa"
        self.jobs[child] = {
            "ID": child,
            "ParentID": parent,
            "Status": status,
            "Meta": {"action_id": action_id, "blob": BLOB},
        }
        self.ended_at[child] = ended
        return child

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        self.asked.append(f"{request.method} {path}")
        if path == "jobs":
            return httpx.Response(200, json=list(self.jobs.values()))
        child = path.removeprefix("job/").removesuffix("/allocations")
        if request.method == "DELETE":
            if request.url.params.get("purge"):
                self.jobs.pop(child, None)
            else:
                self.stopped.append(child)
            return httpx.Response(200, json={})
        if path.endswith("/allocations"):
            at = self.ended_at[child]
            return httpx.Response(
                200, json=[{"ID": "a", "ModifyTime": int(at * 1e9)}] if at else []
            )
        job = self.jobs.get(child)
        return httpx.Response(200, json=job) if job else httpx.Response(404, text="job not found")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nomad() -> Nomad:
    return Nomad()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def scheduler(nomad: Nomad, clock: Clock, *, keep_s: float = KEEP_S) -> NomadScheduler:
    settings = settings_model().model_validate({"nomad": {"keep_finished_s": keep_s}})
    api = NomadApi(settings.nomad, {}, transport=httpx.MockTransport(nomad))
    return NomadScheduler(api, settings, wall_clock=clock)


def claim(action_id: str, child: str = "") -> Claim:
    key = RunKey(action_id=action_id, blob=BLOB)
    return Claim(key=key, phase=Phase.ENDED, commit="", engine_id=child)


def tidy(of: NomadScheduler) -> list[str]:
    """As the loop does when every run has its result and no claim."""
    keys = sorted(of.kept(), key=lambda key: key.action_id)
    for key in keys:
        of.forget(Claim(key=key, phase=Phase.ENDED, commit=""))
    return [key.action_id for key in keys]


def test_a_finished_job_stays_for_its_time(nomad: Nomad, clock: Clock) -> None:
    child = nomad.add("x", ended=clock.now)
    engine = scheduler(nomad, clock)
    engine.forget(claim("x", child))
    assert child in nomad.jobs
    assert tidy(engine) == []
    clock.now += KEEP_S - 1
    assert tidy(engine) == []
    clock.now += 2
    assert tidy(engine) == ["x"]
    assert nomad.jobs == {}


def test_a_restarted_dispatcher_purges_what_another_kept(nomad: Nomad, clock: Clock) -> None:
    old = nomad.add("old", ended=clock.now - KEEP_S - 1)
    young = nomad.add("young", ended=clock.now - 1)
    engine = scheduler(nomad, clock)
    assert tidy(engine) == ["old"]
    assert set(nomad.jobs) == {young}
    assert old not in nomad.jobs


def test_the_end_of_a_kept_job_is_asked_for_once(nomad: Nomad, clock: Clock) -> None:
    child = nomad.add("x", ended=clock.now)
    engine = scheduler(nomad, clock)
    for _ in range(3):
        engine.kept()
    assert nomad.asked.count(f"GET job/{child}/allocations") == 1


def test_what_runs_is_never_due(nomad: Nomad, clock: Clock) -> None:
    nomad.add("x", status="running", ended=1.0)
    nomad.add("y", status="pending")
    nomad.jobs["disinto-runner"] = {"ID": "disinto-runner", "Status": "dead", "Meta": None}
    assert tidy(scheduler(nomad, clock)) == []


def test_another_installations_jobs_are_left_alone(nomad: Nomad, clock: Clock) -> None:
    nomad.add("x", ended=1.0, parent="disinto-runner-of-another")
    nomad.add("y", ended=1.0, parent="disinto-runner-ssh-gpg")
    assert tidy(scheduler(nomad, clock)) == ["y"]


def test_nothing_is_kept_with_0(nomad: Nomad, clock: Clock) -> None:
    child = nomad.add("x", ended=clock.now)
    scheduler(nomad, clock, keep_s=0).forget(claim("x", child))
    assert nomad.jobs == {}


def test_one_that_goes_on_is_stopped_and_kept(nomad: Nomad, clock: Clock) -> None:
    child = nomad.add("x", status="running")
    scheduler(nomad, clock).forget(claim("x", child))
    assert nomad.stopped == [child]
    assert child in nomad.jobs


def test_so_many_are_kept(nomad: Nomad, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatch looks at every child of its parent."""
    monkeypatch.setattr(finished_jobs, "MAX_KEPT", 3)
    engine = scheduler(nomad, clock)
    children = []
    for number in range(5):
        clock.now += 1
        children.append(nomad.add(f"x{number}", ended=clock.now))
        engine.forget(claim(f"x{number}", children[-1]))
        assert len(nomad.jobs) <= 3
    assert set(nomad.jobs) == set(children[2:])


def test_after_a_restart_too(nomad: Nomad, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_jobs, "MAX_KEPT", 3)
    for number in range(5):
        nomad.add(f"x{number}", ended=clock.now - 10 + number)
    assert tidy(scheduler(nomad, clock)) == ["x0", "x1"]
