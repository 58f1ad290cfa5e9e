"""The service on a real git remote, a real OpenBao and SQLite; the scheduler is a fake."""

from __future__ import annotations

import shutil

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop.formulas import FormulaStore
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from tests.support.stage import Stage, action, eventually, path


def test_an_action_becomes_one_run_and_one_result(stage: Stage) -> None:
    commit = stage.scene.merge({path("one"): action("one", secrets='"TOKEN_A"')}, "Add one")
    stage.once()
    result = stage.result("one")
    assert (result["verdict"], result["exit_code"], result["commit"]) == ("succeeded", 0, commit)
    assert [s.key.action_id for s in stage.scheduler.submitted] == ["one"]
    stage.once()
    assert len(stage.scheduler.submitted) == 1
    assert not stage.components.ledger.open_runs()


def test_a_formula_is_looked_up_once_for_all_files_of_a_push(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    find = FormulaStore.find

    def counted(store: FormulaStore, name: str, tree: object) -> object:
        names.append(name)
        return find(store, name, tree)  # type: ignore[arg-type]

    monkeypatch.setattr(FormulaStore, "find", counted)
    stage.scene.merge({path(i): action(i) for i in ("one", "two", "three")}, "Add three")
    stage.once()
    assert names == ["hello"]
    assert len(stage.scheduler.submitted) == 3


def test_what_is_wrong_gets_a_result_and_never_runs(stage: Stage) -> None:
    stage.scene.merge(
        {
            path("typo"): action("typo", more="timeout = 3"),
            path("nosecret"): action("nosecret", secrets='"TOKEN_B"'),
            path("noformula"): action("noformula", formula="helo"),
            path("other"): action("another"),
        },
        "Add four",
    )
    stage.once()
    errors = {i: str(r["error"]) for i, r in stage.scene.results().items()}
    assert stage.scheduler.submitted == []
    assert set(errors) == {"typo", "nosecret", "noformula", "other"}
    assert "vault/actions/typo.toml:5:1" in errors["typo"]
    assert "TOKEN_A" in errors["nosecret"], "the remedy names what is near"
    assert "hello" in errors["noformula"]


def test_two_waiting_actions_that_are_edited_in_one_push_go_on_waiting(stage: Stage) -> None:
    """A range of commits that changes actions and adds none."""
    names = ("first", "second")
    stage.scene.merge({path(i): action(i, formula="danger") for i in names}, "Add two")
    stage.once()
    stage.start()
    head = stage.scene.merge(
        {path(i): action(i, formula="danger", more="timeout_minutes = 5") for i in names},
        "Edit two",
    )

    @eventually
    def follows() -> None:
        last = stage.watch.last
        assert last is not None
        assert last.head == head
        assert {w.action_id for w in last.plan.waits} == set(names)

    follows()
    assert stage.scene.results() == {}


def test_a_high_tier_waits_until_its_commit_is_signed(stage: Stage) -> None:
    stage.scene.merge({path("risky"): action("risky", formula="danger")}, "Add risky")
    stage.once()
    assert stage.scene.results() == {}
    stage.scene.merge({path("signed"): action("signed", formula="danger")}, "Add signed", sign=True)
    stage.once()
    assert stage.result("signed")["approved_by"] == ["ada@example.org"]
    assert set(stage.scene.results()) == {"signed"}


def test_at_most_as_many_run_as_may(stage: Stage) -> None:
    names = [f"many{n}" for n in range(7)]
    stage.scene.merge({path(n): action(n) for n in names}, "Add seven")
    stage.start()
    for left in (7, 4, 1):
        stage.runs(min(3, left))
        for key in stage.scheduler.running():
            stage.scheduler.end(key)
    for name in names:
        assert stage.result(name)["verdict"] == "succeeded"
    stage.at_rest()


def test_a_failed_run_keeps_its_exit_code(stage: Stage) -> None:
    stage.scene.merge({path("bad"): action("bad")}, "Add bad")
    stage.start()
    stage.runs(1)
    outcome = Outcome(verdict=Verdict.FAILED, exit_code=3, formula_started=True, logs="no")
    stage.scheduler.end(stage.scheduler.running()[0], outcome)
    result = stage.result("bad")
    assert (result["verdict"], result["exit_code"], result["logs"]) == ("failed", 3, "no")


def test_a_run_survives_the_dispatcher(stage: Stage) -> None:
    stage.scene.merge({path("long"): action("long")}, "Add long")
    stage.start()
    stage.runs(1)
    stage.stop()
    stage.start()
    stage.scheduler.end(stage.scheduler.running()[0])
    assert stage.result("long")["verdict"] == "succeeded"
    assert len(stage.scheduler.submitted) == 1


def test_a_run_that_never_unwrapped_is_submitted_again(stage: Stage) -> None:
    """The engine lost it, and the vault knows that nothing started."""
    stage.scene.merge({path("gone"): action("gone")}, "Add gone")
    stage.start()
    stage.runs(1)
    stage.scheduler.lose(stage.scheduler.running()[0])
    stage.runs(1)
    assert len(stage.scheduler.submitted) == 2
    stage.scheduler.end(stage.scheduler.running()[0])
    assert stage.result("gone")["verdict"] == "succeeded"


def test_the_scheduler_may_be_down(stage: Stage) -> None:
    stage.scheduler.fails_with = Unavailable(Dependency.SCHEDULER, "the engine is away")
    stage.scene.merge({path("later"): action("later")}, "Add later")
    stage.start()
    _claimed(stage)
    stage.scheduler.fails_with = None
    stage.runs(1)
    stage.scheduler.end(stage.scheduler.running()[0])
    assert stage.result("later")["verdict"] == "succeeded"


@eventually
def _claimed(stage: Stage) -> None:
    assert len(stage.components.ledger.open_runs()) == 1


def test_a_result_that_was_deleted_is_put_back_and_nothing_runs_again(stage: Stage) -> None:
    stage.scene.merge({path("once"): action("once")}, "Add once")
    stage.once()
    before = stage.result("once")
    stage.scene.remove("vault/actions/once.result.json")
    stage.once()
    assert stage.result("once") == before
    assert len(stage.scheduler.submitted) == 1


@pytest.mark.parametrize("fresh_clone", [False, True])
def test_a_rewritten_history_never_causes_a_second_run(stage: Stage, *, fresh_clone: bool) -> None:
    stage.scene.merge({path("old"): action("old")}, "Add old")
    stage.once()
    before = stage.result("old")
    stage.scene.git("push", "--quiet", "--force", "origin", "HEAD:main")
    assert stage.scene.results() == {}
    if fresh_clone:
        shutil.rmtree(stage.scene.open_settings().state_dir / "ops.git")
    stage.once()
    assert stage.result("old") == before
    assert len(stage.scheduler.submitted) == 1


@pytest.mark.parametrize("same", [True, False])
def test_an_id_whose_files_are_gone_stays_used(stage: Stage, *, same: bool) -> None:
    """The same action gets its genuine result back; another content none that is not its own."""
    stage.scene.merge({path("gone"): action("gone")}, "Add gone")
    stage.once()
    stage.scene.remove("vault/actions")
    stage.once()
    again = action("gone") if same else action("gone", more="priority = 1")
    stage.scene.merge({path("gone"): again}, "Add it again")
    stage.once()
    result = stage.result("gone")
    assert result["verdict"] == ("succeeded" if same else "invalid")
    assert same or "an id runs once" in str(result["error"])
    assert len(stage.scheduler.submitted) == 1
