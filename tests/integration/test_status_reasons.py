"""Why an action does not go on is told in its own row, also while its step is being tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.assembly import build_components, build_view
from dispatcher.errors import Dependency, Misconfigured
from dispatcher.model.health import WaitingFor
from dispatcher.model.job_class import JobVariant
from dispatcher.operate.forecast import forecast
from dispatcher.status.overview import OpenAction, State, of_status
from dispatcher.status.tracker import Status
from tests.support.stage import Follower, Stage, action, eventually, path

MISSING = "the job X is not registered with Nomad. Run `disinto apply`."


class Rows(Follower):
    """Keeps what each round says of one action, and what it said after the first failure."""

    def __init__(self, action_id: str) -> None:
        super().__init__()
        self._id = action_id
        self.rows: list[OpenAction | None] = []

    def status(self, status: Status) -> None:
        super().status(status)
        if status.failures:
            self.rows.append(of_status(status, ()).find(self._id))

    @property
    def failed(self) -> int:
        return sum(name == "step_failed" for name, _ in self.events)


def test_a_step_that_is_tried_again_says_in_every_round_why_it_failed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the step is under way, and while the engine has yet to be asked."""
    watch = stage.watch = Rows("one")

    def refuse(*_args: object, **_more: object) -> str:
        raise Misconfigured("the job X is not registered with Nomad", remedy="Run `disinto apply`.")

    monkeypatch.setattr(stage.scheduler, "submit", refuse)
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    tried_three_times(watch)
    monkeypatch.undo()
    stage.scheduler.wake()
    stage.runs(1)
    assert watch.rows
    for row in watch.rows:
        assert row is not None
        assert row.reason == f"a step failed and will be retried: {MISSING}"
    nothing_is_said(stage)


@eventually
def tried_three_times(watch: Rows) -> None:
    assert watch.failed >= 3


@eventually
def nothing_is_said(stage: Stage) -> None:
    assert stage.watch.last is not None
    assert not stage.watch.last.failures
    row = of_status(stage.watch.last, ()).find("one")
    assert row is not None
    assert (row.state, row.reason) == (State.RUNNING, "")


def test_a_push_that_is_refused_is_told_as_a_refusal(stage: Stage) -> None:
    """The remote can be reached: it says no. Row and ``down`` line say so alike, in every round."""
    watch = stage.watch = Rows("one")
    hook = stage.scene.remote / "hooks" / "pre-receive"
    stage.scene.merge({path("one"): action("one")}, "Add one")
    hook.write_text("#!/bin/sh\necho 'closed for maintenance' >&2\nexit 1\n")
    hook.chmod(0o755)
    stage.start()
    stage.runs(1)
    stage.scheduler.end(stage.scheduler.running()[0])
    refused_again(watch)
    hook.unlink()
    assert stage.result("one")["verdict"] == "succeeded"
    reasons = {row.reason for row in watch.rows if row is not None and row.state is State.ENDED}
    assert reasons
    for reason in reasons:
        assert "refused the push to main" in reason
        assert "closed for maintenance" in reason
        assert "cannot be reached" not in reason


@eventually
def refused_again(watch: Rows) -> None:
    downs = [facts for name, facts in watch.events if name == "down"]
    assert len(downs) >= 2, "a fetch succeeded in between"
    assert downs[0]["dependency"] is Dependency.REMOTE
    assert "refused the push" in str(downs[0]["error"])


def test_a_forecast_asks_what_is_in_the_way_of_a_run(stage: Stage) -> None:
    """For ``plan``, and for ``status`` where no dispatcher runs."""
    asked: list[JobVariant] = []

    def obstacle(variant: JobVariant) -> str:
        asked.append(variant)
        return MISSING

    settings, environ = stage.scene.open_settings(), stage.scene.environ
    parts = build_components(settings, environ=environ, scheduler=stage.scheduler)
    assert parts.obstacle(JobVariant()) == "", "the local scheduler has nothing to register"
    parts = replace(parts, obstacle=obstacle)
    stage.scene.merge({path(n): action(n) for n in ("one", "two")}, "Add two")
    stage.scene.merge({path("waits"): action("waits", formula="danger")}, "Add another")
    found = forecast(parts, build_view(parts))
    assert found.obstacles == {"one": MISSING, "two": MISSING}
    assert asked == [JobVariant()], "once for each class and set of mounts"
    rows = {row.id: row for row in found.overview(settings).open}
    assert (rows["one"].reason, rows["one"].waiting_for) == (MISSING, WaitingFor.DEPENDENCY)
    assert MISSING not in rows["waits"].reason
