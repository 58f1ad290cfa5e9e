"""What could break the promise: each action runs once at most and gets one result, nothing hangs.

Each test stages one hazard on a real remote, a real OpenBao and SQLite; only the engine is a fake.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.errors import Conflict, Dependency, DisintoError, TemporaryError, Unavailable
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.report import Ended
from dispatcher.ledger.base import ClaimTooLarge
from dispatcher.loop import answers
from dispatcher.loop import control as control_loop
from dispatcher.loop.components import Components
from dispatcher.loop.result_writer import Entry
from dispatcher.model.run import Outcome, Phase, Verdict
from dispatcher.operate.cancel import Cancellation
from dispatcher.ops_repo import Tree
from dispatcher.vault.names import dispatcher_policy, token_role
from tests.acceptance.evidence import live_grants
from tests.servers import bao
from tests.servers.bao import Bao
from tests.servers.freeze import freeze
from tests.support.stage import Stage, action, eventually, path, set_stage


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server)
    yield stage
    stage.stop()


class Laid:
    """An adapter with some of its methods replaced."""

    def __init__(self, inner: Any, **methods: Callable[..., Any]) -> None:
        self._inner, self._methods = inner, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


class Failing:
    """A call that fails so many times, before or after it was carried out."""

    def __init__(self, call: Callable[..., Any], *errors: Exception, after: bool = False) -> None:
        self._call, self._errors, self._after = call, list(errors), after
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self._errors and not self._after:
            raise self._errors.pop(0)
        answer = self._call(*args, **kwargs)
        if self._errors:
            raise self._errors.pop(0)
        return answer


def gone(dependency: Dependency) -> Unavailable:
    return Unavailable(dependency, f"the {dependency} is away")


@eventually
def all_up(stage: Stage) -> None:
    assert stage.watch.last is not None
    assert not stage.watch.last.outages


def end_all(stage: Stage) -> None:
    for key in stage.scheduler.running():
        stage.scheduler.end(key)


def run_one(stage: Stage, action_id: str) -> None:
    """Merge, let it run, end it, and see its result."""
    stage.scene.merge({path(action_id): action(action_id)}, f"Add {action_id}")
    stage.runs(1)
    end_all(stage)
    assert stage.result(action_id)["verdict"] == "succeeded"


# -- an outage that nobody asks about any more must end all the same ----------------------------


@pytest.mark.parametrize(
    ("part", "method", "dependency"),
    [
        ("ledger", "update", Dependency.LEDGER),
        ("ledger", "release", Dependency.LEDGER),
        ("scheduler", "forget", Dependency.SCHEDULER),
        ("grants", "revoke", Dependency.VAULT),
    ],
)
def test_an_outage_ends_when_the_dependency_is_back(
    stage: Stage, part: str, method: str, dependency: Dependency
) -> None:
    def change(components: Components) -> Components:
        inner = getattr(components, part)
        broken = Failing(getattr(inner, method), gone(dependency))
        return replace(components, **{part: Laid(inner, **{method: broken})})

    stage.change = change
    stage.start()
    run_one(stage, "one")
    stage.at_rest()
    all_up(stage)
    assert [f["dependency"] for what, f in stage.watch.events if what == "back"] == [dependency]


def test_a_forge_that_is_away_is_asked_no_more_often_than_its_pauses_allow(stage: Stage) -> None:
    calls = 0

    def check(question: Question) -> Decision:
        nonlocal calls
        calls += 1
        raise gone(Dependency.FORGE)

    stage.change = lambda components: replace(components, gate=Laid(components.gate, check=check))
    stage.scene.merge({path("risky"): action("risky", formula="danger")}, "Add risky")
    stage.start()

    @eventually
    def asked_again() -> None:
        assert stage.watch.last is not None
        assert stage.watch.last.outages[Dependency.FORGE].tries >= 3

    asked_again()
    assert calls <= 5


def test_a_report_that_hangs_holds_up_nothing(stage: Stage) -> None:
    hold = threading.Event()

    class Hanging:
        def report(self, question: Question, decision: Decision) -> None:
            hold.wait(30)

        def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
            hold.wait(30)
            return {}

        def forget(self) -> None:
            pass

    stage.change = lambda components: replace(components, reporter=Hanging())
    names = [f"r{n}" for n in range(3)]
    stage.scheduler.ends_at_once = True
    stage.scene.merge(
        {path(f"risky{n}"): action(f"risky{n}", formula="danger") for n in range(5)}, "Add five"
    )
    stage.start()
    try:
        stage.scene.merge({path(n): action(n) for n in names}, "Add three")
        for name in names:
            assert stage.result(name)["verdict"] == "succeeded"
    finally:
        hold.set()


# -- answers that were lost ---------------------------------------------------------------------


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
def claimed(stage: Stage, phase: Phase | None = None) -> None:
    claims = stage.components.ledger.open_runs()
    assert len(claims) == 1
    assert phase is None or claims[0].phase is phase


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
    claimed(stage, Phase.SUBMITTED)
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


# -- results ------------------------------------------------------------------------------------


def test_a_result_that_cannot_be_sealed_holds_up_no_other(stage: Stage) -> None:
    def seal(entry: Entry) -> str:
        if entry.action_id == "odd":
            raise ValueError("no JSON")
        return entry.text

    stage.change = lambda components: replace(components, seal=seal)
    stage.scheduler.ends_at_once = True
    stage.scene.merge({path(n): action(n) for n in ("even", "odd")}, "Add two")
    stage.start()
    assert stage.result("even")["verdict"] == "succeeded"
    stage.scene.merge({path("later"): action("later")}, "Add another")
    assert stage.result("later")["verdict"] == "succeeded"
    waits = stage.watch.last.plan.waits if stage.watch.last else ()
    assert [w.action_id for w in waits if "no JSON" in w.reason] in (["odd"], [])
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


# -- people who write where the dispatcher does --------------------------------------------------


@pytest.mark.parametrize("signs", [True, False])
def test_a_result_by_hand_does_not_stop_a_run(
    bao_server: Bao, tmp_path: Path, *, signs: bool
) -> None:
    """The genuine outcome takes its place; a person who means to stop it cancels it."""
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
        assert live_grants(bao_server, {"one"}) == []
    finally:
        stage.stop()


def test_a_result_of_ours_stops_the_run_and_nothing_is_forgotten_while_it_lives(
    stage: Stage, bao_server: Bao
) -> None:
    """As after a restore of the ledger from a backup: the run ended, and git says so."""
    stage.scheduler.cancels_slowly = True
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
    assert live_grants(bao_server, {"one"}) == []
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


# -- what fails for good, and what must not wait for ever -----------------------------------------


def test_launches_that_fail_take_no_place_from_others(stage: Stage) -> None:
    """Their secret exists, and has no policy: only an operator can mend that."""
    server = stage.scene.server
    mount = stage.scene.open_settings().vault.kv_mount
    Bao(addr=server.addr, root_token=server.root_token, process=server.process, kv_mount=mount).put(
        "UNKNOWN_TO_APPLY", "v"
    )
    stuck = [f"stuck{n}" for n in range(3)]
    stage.scene.merge(
        {path(n): action(n, secrets='"UNKNOWN_TO_APPLY"') for n in stuck}, "Add three"
    )
    stage.start()

    @eventually
    def told() -> None:
        assert stage.watch.last is not None
        waits = {w.action_id: w.reason for w in stage.watch.last.plan.waits}
        assert all("policy" in waits.get(n, "") for n in stuck), waits

    told()
    run_one(stage, "fine")


def test_an_error_in_a_dispatcher_at_work_does_not_end_it(stage: Stage) -> None:
    def change(components: Components) -> Components:
        real, calls = components.repo.difference, 0

        def difference(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Conflict("the clone does not have this commit any more")
            return real(*args)

        return replace(components, repo=Laid(components.repo, difference=difference))

    stage.change = change
    stage.start()
    all_up(stage)
    run_one(stage, "one")
    assert any(w == "trouble" for w, _ in stage.watch.events)


def test_once_gives_up_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_loop, "ONCE_TRIES", 2)
    with bao.serve() as server:
        stage = set_stage(tmp_path, server, vault={"timeout_s": 0.5})
        stage.scene.merge({path("one"): action("one", secrets='"TOKEN_A"')}, "Add one")
        freeze(server.process.pid)
        try:
            with pytest.raises(Unavailable, match=r"did not answer.*gave up") as given_up:
                stage.once()
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert given_up.value.dependency is Dependency.VAULT
        stage.once()
        assert stage.result("one")["verdict"] == "succeeded"


def test_once_gives_up_a_step_that_always_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_loop, "ONCE_TRIES", 2)

    def change(components: Components) -> Components:
        always = Failing(components.grants.mint, *[Conflict("no, and no again")] * 9)
        return replace(components, grants=Laid(components.grants, mint=always))

    stage.change = change
    stage.scene.merge({path("one"): action("one")}, "Add one")
    with pytest.raises(Conflict, match="no again"):
        stage.once()


def test_a_run_that_no_grant_can_be_extended_for_ends_with_the_reason(stage: Stage) -> None:
    """Else it would hold a place for as long as nobody mends the settings."""
    long = action("long", more="timeout_minutes = 10080")
    client = Bao(
        addr=stage.scene.server.addr,
        root_token=stage.scene.server.root_token,
        process=stage.scene.server.process,
    ).client()
    role = f"auth/token/roles/{token_role(stage.components.settings.vault)}"
    before = client.read(role)["data"]
    client.write_data(role, data={**before, "token_explicit_max_ttl": 600})
    try:
        stage.scene.merge({path("long"): long}, "Add long")
        stage.once()
    finally:
        client.write_data(role, data=before)
    result = stage.result("long")
    assert result["verdict"] == "error"
    assert "token_explicit_max_ttl" in str(result["error"])
    assert stage.scheduler.submitted == []


def test_a_revoked_log_in_shows_and_is_recovered_from_without_a_restart(
    tmp_path: Path, bao_server: Bao
) -> None:
    file = tmp_path / "token"
    stage = set_stage(tmp_path / "scene", bao_server, vault={"token_file": str(file)})
    first = stage.scene.environ.pop("VAULT_TOKEN")
    file.write_text(first)
    client = bao_server.client()
    stage.start()
    try:
        run_one(stage, "before")
        stage.at_rest()
        client.auth.token.revoke(first)
        stage.scene.merge({path("one"): action("one", secrets='"TOKEN_A"')}, "Add one")

        @eventually
        def shown() -> None:
            assert stage.watch.last is not None
            assert "token" in stage.watch.last.outages[Dependency.VAULT].error

        shown()
        made = client.auth.token.create_orphan(
            policies=[dispatcher_policy(stage.components.settings.vault)],
            no_default_policy=True,
            period="1h",
        )
        file.write_text(made["auth"]["client_token"])
        stage.runs(1)
        end_all(stage)
        assert stage.result("one")["verdict"] == "succeeded"
        all_up(stage)
    finally:
        stage.stop()


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
    claimed(stage, Phase.CLAIMED)
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
        with pytest.raises(TemporaryError, match="does not know it yet"):
            cancellation.cancel("one")
    assert stage.scheduler.cancelled == []
