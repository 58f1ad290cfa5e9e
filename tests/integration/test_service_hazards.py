"""What could break the promise: each action runs once at most and gets one result, nothing hangs.

Each test stages one hazard on a real remote, a real OpenBao and SQLite; only the engine is a fake.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.errors import Dependency, TemporaryError
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.loop import answers
from dispatcher.loop.components import Components
from dispatcher.model.run import Phase
from dispatcher.operate.cancel import Cancellation
from dispatcher.ops_repo import Tree
from tests.support.faulty_adapters import Failing, Laid, end_all, gone, run_one
from tests.support.stage import Stage, action, eventually, path


def test_a_claim_whose_answer_was_lost_is_found_though_its_action_is_gone(stage: Stage) -> None:
    def change(components: Components) -> Components:
        lost = Failing(components.ledger.claim, gone(Dependency.LEDGER), after=True)
        return replace(components, ledger=Laid(components.ledger, claim=lost))

    stage.change = change
    stage.scheduler.fails_with = gone(Dependency.SCHEDULER)
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    claimed(stage)
    stage.scene.remove(path("one"))
    stage.scheduler.fails_with = None

    @eventually
    def ended() -> None:
        end_all(stage)
        assert "one" in stage.scene.results()
        assert not stage.components.ledger.open_runs()

    ended()
    assert len(stage.scheduler.submitted) <= 1


@eventually
def claimed(stage: Stage) -> None:
    assert len(stage.components.ledger.open_runs()) == 1


def test_an_old_look_at_the_ledger_does_not_undo_what_came_after(stage: Stage) -> None:
    hold, looked = threading.Event(), threading.Event()

    def change(components: Components) -> Components:
        calls = 0

        def open_runs() -> Any:
            nonlocal calls
            calls += 1
            claims = components.ledger.open_runs()
            if calls == 2:  # the first is made when the lead is taken
                looked.set()
                hold.wait(30)
            return claims

        return replace(components, ledger=Laid(components.ledger, open_runs=open_runs))

    stage.change = change
    stage.scene.merge({path("one"): action("one")}, "Add one")
    service = stage.start()
    stage.runs(1)
    service.look_now()
    assert looked.wait(20)
    end_all(stage)
    stage.result("one")
    stage.at_rest()
    known = len([w for w, _ in stage.watch.events if w == "claim"])
    hold.set()
    run_one(stage, "two")
    learned = [f for w, f in stage.watch.events[known:] if w == "claim" and f["action"] == "one"]
    assert not [f for f in learned if f["phase"] is Phase.SUBMITTED][1:]
    assert not [w for w, _ in stage.watch.events if w == "step_failed"]


def test_a_change_of_the_operators_formula_counts_for_what_still_waits(stage: Stage) -> None:
    stage.scene.merge({path(f"a{n}"): action(f"a{n}") for n in range(4)}, "Add four")
    stage.start()
    stage.runs(3)
    (stage.scene.formulas / "hello.sh").write_text("#!/bin/bash\necho mended\n")
    end_all(stage)

    @eventually
    def last_one() -> None:
        assert len(stage.scheduler.submitted) == 4

    last_one()
    texts = [s.formula_text for s in stage.scheduler.submitted]
    assert [b"mended" in (t or b"") for t in texts] == [False, False, False, True]
    end_all(stage)
    for n in range(4):
        stage.result(f"a{n}")


def test_a_folder_of_formulas_that_is_away_makes_no_action_invalid(stage: Stage) -> None:
    away = stage.scene.formulas.with_name("away")
    stage.scene.formulas.rename(away)
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()

    @eventually
    def told() -> None:
        assert any(w == "trouble" for w, _ in stage.watch.events)

    told()
    assert stage.scene.results() == {}
    away.rename(stage.scene.formulas)
    stage.runs(1)
    end_all(stage)
    assert stage.result("one")["verdict"] == "succeeded"


def test_an_approval_taken_back_counts_for_what_still_waits_for_a_place(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "ASK_AGAIN_S", (0.1, 0.2))
    taken_back = threading.Event()

    def change(components: Components) -> Components:
        def check(question: Question) -> Decision:
            if question.action_id == "risky" and taken_back.is_set():
                return Decision(answer=Answer.WAITING, reason="it was dismissed", gate="forgejo")
            return Decision(answer=Answer.APPROVED, reason="", gate="forgejo")

        return replace(components, gate=Laid(components.gate, check=check))

    stage.change = change
    first = {path(f"a{n}"): action(f"a{n}", more="priority = 9") for n in range(3)}
    stage.scene.merge({**first, path("risky"): action("risky", formula="danger")}, "Add four")
    stage.start()
    stage.runs(3)

    @eventually
    def waits(reason: str) -> None:
        assert stage.watch.last is not None
        told = {w.action_id: w.reason for w in stage.watch.last.plan.waits}
        assert reason in told.get("risky", ""), told

    waits("in flight")
    taken_back.set()
    waits("dismissed")
    end_all(stage)
    for n in range(3):
        stage.result(f"a{n}")
    assert "risky" not in {s.key.action_id for s in stage.scheduler.submitted}


def test_a_cancel_that_cannot_reach_the_run_says_so(stage: Stage) -> None:
    stage.scheduler.fails_with = gone(Dependency.SCHEDULER)
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    claimed(stage)
    stage.stop()
    stage.scheduler.fails_with = None
    tree = Tree()
    stage.components.repo.advance(tree, stage.components.repo.fetch().commit)
    cancellation = Cancellation(
        ledger=stage.components.ledger,
        scheduler=stage.scheduler,
        audit=stage.components.audit,
        tree=tree,
        who="ada",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dispatcher.operate.cancel.STARTING_S", 0.0)
        with pytest.raises(TemporaryError, match="not yet known to its engine"):
            cancellation.cancel("one")
    assert stage.scheduler.cancelled == []
