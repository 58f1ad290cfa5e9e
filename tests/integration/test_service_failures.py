"""What fails for good, or hangs, ends with its reason and holds up nothing else.

On a real remote, a real OpenBao and SQLite; only the engine is a fake.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.errors import Conflict, Dependency, DisintoError, Unavailable
from dispatcher.gate.base import Decision, Question
from dispatcher.gate.ended import Ended
from dispatcher.gate.report import Queued
from dispatcher.loop import serve_once
from dispatcher.loop.components import Components
from dispatcher.vault.names import dispatcher_policy, token_role
from tests.servers import bao
from tests.servers.bao import Bao
from tests.servers.freeze import freeze
from tests.support.faulty_adapters import Failing, Laid, end_all, gone, run_one
from tests.support.stage import Stage, action, eventually, path, set_stage


@eventually
def all_up(stage: Stage) -> None:
    assert stage.watch.last is not None
    assert not stage.watch.last.outages


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

        def report_queued(self, queued: Sequence[Queued]) -> None:
            hold.wait(30)

        def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
            hold.wait(30)
            return {}

        def forget(self) -> None:
            pass

        def leads_from(self, commit: str) -> None:
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

    @eventually
    def noted() -> None:
        assert any(w == "trouble" for w, _ in stage.watch.events)

    noted()


def test_once_gives_up_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_once, "ONCE_TRIES", 2)
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
    monkeypatch.setattr(serve_once, "ONCE_TRIES", 2)

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
