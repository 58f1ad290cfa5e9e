"""Locks, superseding, times and ``after`` in the service: on a real git remote, with real signatures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.assembly import build_view
from dispatcher.model.health import WaitingFor
from dispatcher.model.times import rfc3339
from dispatcher.operate.forecast import forecast
from dispatcher.ops_repo import reader
from tests.servers.bao import Bao
from tests.servers.git_remote import GitRemote
from tests.support.stage import Stage, action, eventually, path, set_stage

LOCK = 'lock = "prod-web"'
NEWER = f"{LOCK}\nsupersedes = true"


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})
    yield stage
    stage.stop()


def merge(stage: Stage, action_id: str, *, sign: bool = False, **facts: str) -> None:
    stage.scene.merge({path(action_id): action(action_id, **facts)}, f"Add {action_id}", sign=sign)


def end(stage: Stage, action_id: str) -> None:
    (key,) = (k for k in stage.scheduler.running() if k.action_id == action_id)
    stage.scheduler.end(key)


def order(stage: Stage) -> list[str]:
    return [spec.key.action_id for spec in stage.scheduler.submitted]


@eventually
def waits(stage: Stage, action_id: str, waiting_for: WaitingFor, words: str) -> None:
    assert stage.watch.last is not None
    (wait,) = (w for w in stage.watch.last.plan.waits if w.action_id == action_id)
    assert wait.waiting_for is waiting_for
    assert words in wait.reason


@eventually
def started(stage: Stage, *action_ids: str) -> None:
    assert order(stage) == list(action_ids)


def test_a_lock_lets_one_run_at_a_time_in_commit_order_also_after_a_restart(stage: Stage) -> None:
    for name in ("z", "m", "a"):
        merge(stage, name, more=LOCK)
    stage.start()
    started(stage, "z")
    waits(stage, "m", WaitingFor.LOCK, "lock prod-web is held by z; this action is next")
    waits(stage, "a", WaitingFor.LOCK, "lock prod-web is held by z; m is before this action")
    stage.stop()
    stage.start()
    waits(stage, "a", WaitingFor.LOCK, "lock prod-web is held by z; m is before this action")
    end(stage, "z")
    started(stage, "z", "m")
    end(stage, "m")
    started(stage, "z", "m", "a")
    end(stage, "a")
    assert {stage.result(i)["verdict"] for i in ("z", "m", "a")} == {"succeeded"}
    stage.at_rest()


def test_a_late_approval_cannot_roll_back_what_a_newer_one_brought(stage: Stage) -> None:
    """Older by its place in history, after a restart too; its name sorts the other way."""
    merge(stage, "z-old", formula="danger", more=LOCK)
    merge(stage, "a-new", formula="danger", more=NEWER, sign=True)
    stage.start()
    assert stage.result("z-old")["verdict"] == "superseded"
    assert "a-new" in str(stage.result("z-old")["error"])
    started(stage, "a-new")
    end(stage, "a-new")
    assert stage.result("a-new")["verdict"] == "succeeded"
    merge(stage, "later", more=LOCK)
    started(stage, "a-new", "later")


def test_where_the_order_is_not_known_any_more_none_of_a_lock_takes_anothers_place(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ARRIVALS", (1, 2))
    for name in ("z", "a"):
        merge(stage, name, formula="danger", more=NEWER, sign=True)
    for n in range(3):
        merge(stage, f"other-{n}", formula="danger")
    stage.start()
    waits(stage, "z", WaitingFor.LOCK, "nobody can tell whether this action or a is the newer")
    waits(stage, "a", WaitingFor.LOCK, "nobody can tell whether this action or z is the newer")
    merge(stage, "new", formula="danger", more=NEWER, sign=True)
    started(stage, "new")
    assert {stage.result(i)["verdict"] for i in ("a", "z")} == {"superseded"}


def test_one_without_an_approval_drops_nothing(stage: Stage) -> None:
    merge(stage, "old", formula="danger", more=LOCK, sign=True)
    merge(stage, "new", formula="danger", more=NEWER)
    merge(stage, "cheap", more=NEWER)
    stage.start()
    started(stage, "old")
    waits(stage, "new", WaitingFor.APPROVAL, "")
    end(stage, "old")
    assert stage.result("old")["verdict"] == "succeeded"
    waits(stage, "cheap", WaitingFor.LOCK, "new is older and of tier high")


def test_one_starts_at_its_time_and_one_expires_without_a_commit_or_a_poll(stage: Stage) -> None:
    soon = time.time() + 4
    merge(stage, "later", more=f'not_before = "{rfc3339(soon)}"')
    merge(stage, "over", formula="danger", more=f'expires = "{rfc3339(soon)}"')
    stage.start()
    waits(stage, "later", WaitingFor.TIME, "not_before")
    assert stage.result("over")["verdict"] == "expired"
    assert time.time() >= soon
    started(stage, "later")


def test_it_runs_after_what_it_names_and_is_refused_if_that_fails(stage: Stage) -> None:
    merge(stage, "first")
    merge(stage, "second", more='after = ["first"]')
    merge(stage, "third", more='after = ["second", "first"]')
    stage.start()
    started(stage, "first")
    waits(stage, "second", WaitingFor.AFTER, "runs after first")
    end(stage, "first")
    started(stage, "first", "second")
    stage.scene.merge({f"{path('second')[:-5]}.cancel.toml": _cancel(stage, "second")}, "Cancel")
    assert stage.result("second")["verdict"] == "cancelled"
    result = stage.result("third")
    assert result["verdict"] == "refused"
    assert result["error"] == "it runs after second, which ended as cancelled"


def _cancel(stage: Stage, action_id: str) -> str:
    blob = stage.scene.git("hash-object", path(action_id))
    return f'id = "{action_id}"\nblob = "{blob}"\n'


@pytest.mark.parametrize("verdict", ["succeeded", "failed"])
def test_a_forged_result_neither_releases_nor_refuses(stage: Stage, verdict: str) -> None:
    merge(stage, "first", formula="danger")
    merge(stage, "second", more='after = ["first"]')
    facts = {"id": "first", "exit_code": int(verdict != "succeeded"), "verdict": verdict}
    text = json.dumps({**facts, "timestamp": rfc3339(time.time())})
    GitRemote(stage.scene.remote).commit({f"{path('first')[:-5]}.result.json": text.encode()})
    stage.start()
    waits(stage, "second", WaitingFor.AFTER, "not one that this dispatcher signed")
    plan = forecast(stage.components, build_view(stage.components)).plan
    assert any("not one that this" in w.reason for w in plan.waits if w.action_id == "second")
    assert order(stage) == []
    assert "second" not in stage.scene.results()


def test_what_runs_after_nothing_or_itself_is_invalid(stage: Stage) -> None:
    merge(stage, "lost", more='after = ["nobody"]')
    files = {path(i): action(i, more=f'after = ["{o}"]') for i, o in (("x", "y"), ("y", "x"))}
    stage.scene.merge(files, "Add two")
    stage.once()
    assert "nobody" in str(stage.result("lost")["error"])
    assert "x → y → x" in str(stage.result("x")["error"])
    assert {stage.result(i)["verdict"] for i in ("lost", "x", "y")} == {"invalid"}


def test_the_policy_gives_a_formula_its_lock_and_an_action_cannot_leave_it(stage: Stage) -> None:
    policy = stage.scene.open_settings().policy.file
    assert policy is not None
    text = policy.read_text()
    policy.write_text(f'{text}\n[formulas.hello]\nlock = "deploy-{{host}}"\n')
    stage.components = stage._components()
    merge(stage, "one", more='params = {host = "web1"}')
    merge(stage, "two", more='params = {host = "web1"}')
    merge(stage, "other", more='params = {host = "web2"}')
    merge(stage, "none")
    merge(stage, "away", more='lock = "mine"\nparams = {host = "web1"}')
    stage.start()
    waits(stage, "two", WaitingFor.LOCK, "lock deploy-web1 is held by one")
    stage.runs(2)
    assert "needs the parameter host" in str(stage.result("none")["error"])
    assert "cannot take another" in str(stage.result("away")["error"])


def test_an_approval_that_is_too_old_is_to_be_given_again(stage: Stage) -> None:
    policy = stage.scene.open_settings().policy.file
    assert policy is not None
    policy.write_text(f'{policy.read_text()}\n[max_age]\nlow = "1s"\nhigh = "1s"\n')
    merge(stage, "old", formula="danger", sign=True)
    time_of_commit = int(stage.scene.git("log", "-1", "--format=%ct"))

    @eventually
    def older() -> None:
        assert time.time() > time_of_commit + 2

    older()
    stage.start()
    waits(stage, "old", WaitingFor.APPROVAL, "([max_age] high)")
    assert order(stage) == []
