"""What stands in git as a result: it is the genuine one, whatever the run left and whoever wrote there.

On a real remote, a real OpenBao and SQLite; only the engine is a fake.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.ledger.base import ClaimTooLarge
from dispatcher.loop.components import Components
from dispatcher.loop.outgoing import Entry
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import NewFile, Published
from tests.servers.bao import Bao
from tests.support.evidence import live_grants
from tests.support.faulty_adapters import Laid, end_all
from tests.support.stage import Stage, action, eventually, path, set_stage


def test_a_result_is_pushed_once(stage: Stage) -> None:
    """Between a push and the view of its head nothing is handed in again. When a run ends, its push is
    announced.
    """
    publishing: list[str] = []
    announced: list[bool] = []

    def change(components: Components) -> Components:
        def publish(files: Sequence[NewFile], **more: Any) -> Published:
            publishing.extend(file.path for file in files)
            return components.repo.publish(files, **more)

        def expected() -> None:
            announced.append(True)
            components.repo.expect_publish()

        repo: Any = Laid(components.repo, publish=publish, expect_publish=expected)
        return replace(components, repo=repo)

    stage.change = change
    stage.scheduler.ends_at_once = True
    names = [f"n{number}" for number in range(5)]
    stage.scene.merge({path(name): action(name) for name in names}, "Add five")
    stage.start()
    stage.result("n4")
    stage.at_rest()
    assert announced
    assert sorted(publishing) == [f"vault/actions/{name}.result.json" for name in names]


def test_a_claim_waits_until_the_head_of_its_result_is_recorded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.loop.term.RECORD_EVERY_S", 3_600.0)
    stage.scheduler.ends_at_once = True
    stage.start()
    for name in ("first", "second"):
        stage.scene.merge({path(name): action(name)}, f"Add {name}")
        stage.service.look_now()
        stage.result(name)
    claims = {claim.key.action_id for claim in stage.components.ledger.open_runs()}
    assert "first" in claims, (
        "its result may still be removed, and nothing would be left of its run"
    )
    stage.stop()
    stage.start()
    stage.at_rest()


def test_a_result_that_cannot_be_sealed_holds_up_no_other(stage: Stage) -> None:
    def sign_result(entry: Entry) -> str:
        if entry.action_id == "odd":
            raise ValueError("no JSON")
        return entry.text

    stage.change = lambda components: replace(components, sign_result=sign_result)
    stage.scheduler.ends_at_once = True
    stage.scene.merge({path(n): action(n) for n in ("even", "odd")}, "Add two")
    stage.start()
    assert stage.result("even")["verdict"] == "succeeded"
    stage.scene.merge({path("later"): action("later")}, "Add another")
    assert stage.result("later")["verdict"] == "succeeded"

    @eventually
    def waits_with_the_reason() -> None:
        waits = stage.watch.last.plan.waits if stage.watch.last else ()
        assert [w.action_id for w in waits if "no JSON" in w.reason] == ["odd"]

    waits_with_the_reason()
    assert {c.key.action_id for c in stage.components.ledger.open_runs()} >= {"odd"}, "it is kept"


@pytest.mark.parametrize(
    "odd",
    [
        Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, logs="\ud800"),
        Outcome(verdict=Verdict.FAILED, exit_code=3, started_at=1e300, finished_at=1e300),
        Outcome(verdict=Verdict.FAILED, exit_code="x"),  # type: ignore[arg-type]
        Outcome(verdict=Verdict.FAILED, exit_code=3, outputs=[1]),  # type: ignore[arg-type]
    ],
)
def test_whatever_a_runner_leaves_there_is_a_result(stage: Stage, odd: Outcome) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    stage.scheduler.end(stage.scheduler.running()[0], odd)
    assert stage.result("one")["verdict"] in ("failed", "error")
    stage.at_rest()


def test_a_result_too_large_for_the_ledger_is_cut_down(stage: Stage) -> None:
    def change(components: Components) -> Components:
        def update(claim: Any) -> Any:
            if len(claim.result) > 6_000:
                raise ClaimTooLarge("the claim has 9,000 bytes")
            return components.ledger.update(claim)

        return replace(components, ledger=Laid(components.ledger, update=update))

    stage.change = change
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    large = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, outputs={"x": "y" * 9_000})
    stage.scheduler.end(stage.scheduler.running()[0], large)
    result = stage.result("one")
    assert (result["verdict"], result["exit_code"], result["outputs"]) == ("succeeded", 0, {})
    assert "9,000 bytes" in str(result["error"])


@pytest.mark.parametrize("signs", [True, False])
def test_a_result_by_hand_does_not_stop_a_run(
    bao_server: Bao, tmp_path: Path, *, signs: bool
) -> None:
    """The genuine outcome takes its place; a person who means to stop it cancels it."""
    of_others = set(live_grants(bao_server, {"one"}))  # other scenes have the same id
    stage = set_stage(tmp_path, bao_server, attestation={"enabled": signs})
    stage.scene.merge({path("one"): action("one", secrets='"TOKEN_A"')}, "Add one")
    stage.start()
    try:
        stage.runs(1)
        by_hand = '{"id": "one", "exit_code": 1, "timestamp": "2026", "verdict": "failed"}'
        head = stage.scene.merge({"vault/actions/one.result.json": by_hand}, "Write a result")

        @eventually
        def seen() -> None:
            assert stage.watch.last is not None
            assert stage.watch.last.head == head

        seen()
        stage.stop()
        stage.start()
        assert len(stage.scheduler.running()) == 1
        assert stage.scheduler.cancelled == []
        end_all(stage)
        stage.at_rest()
        assert stage.scene.results()["one"]["verdict"] == "succeeded"
        assert len(stage.scheduler.submitted) == 1
        assert set(live_grants(bao_server, {"one"})) <= of_others
    finally:
        stage.stop()


def test_a_result_of_ours_stops_the_run_and_nothing_is_forgotten_while_it_lives(
    stage: Stage, bao_server: Bao
) -> None:
    """As after a restore of the ledger from a backup: the run ended, and git says so."""
    stage.scheduler.cancels_slowly = True
    of_others = set(live_grants(bao_server, {"one"}))
    stage.scene.merge({path("one"): action("one", secrets='"TOKEN_A"')}, "Add one")
    stage.start()
    stage.runs(1)
    signed = stage.signed_result("one")
    stage.scene.merge({"vault/actions/one.result.json": signed}, "As it was")

    @eventually
    def stopped() -> None:
        assert stage.scheduler.cancelled
        (claim,) = stage.components.ledger.open_runs()
        assert claim.revoked

    stopped()
    assert set(live_grants(bao_server, {"one"})) <= of_others
    assert len(stage.scheduler.running()) == 1, "it is not forgotten while it lives"
    stage.stop()
    stage.start()
    end_all(stage)
    stage.at_rest()
    assert stage.scene.results()["one"]["exit_code"] == 3
    assert len(stage.scheduler.submitted) == 1


def test_an_action_moved_to_the_archive_while_it_runs_gets_its_result(stage: Stage) -> None:
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    (stage.scene.desk / "vault/done/2026-01").mkdir(parents=True)
    stage.scene.git("mv", path("one"), "vault/done/2026-01/one.toml")
    head = stage.scene.merge({}, "Tidy up")

    @eventually
    def seen() -> None:
        assert stage.watch.last is not None
        assert stage.watch.last.head == head

    seen()
    assert stage.scheduler.cancelled == []
    end_all(stage)
    assert stage.result("one")["verdict"] == "succeeded"
    stage.at_rest()


def test_a_result_that_vanishes_while_its_claim_is_let_go_is_put_back(stage: Stage) -> None:
    """The claim must not be released on the word of a tree that is no longer there."""
    hold, letting_go = threading.Event(), threading.Event()

    def change(components: Components) -> Components:
        def forget(claim: Any) -> None:
            letting_go.set()
            hold.wait(30)
            components.scheduler.forget(claim)

        return replace(components, scheduler=Laid(components.scheduler, forget=forget))

    stage.change = change
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.start()
    stage.runs(1)
    end_all(stage)
    before = stage.result("one")
    assert letting_go.wait(20)
    head = stage.scene.remove("vault/actions/one.result.json")

    @eventually
    def seen() -> None:
        assert stage.watch.last is not None
        assert stage.watch.last.head == head

    seen()
    hold.set()
    assert stage.result("one") == before
    stage.at_rest()
    assert len(stage.scheduler.submitted) == 1
