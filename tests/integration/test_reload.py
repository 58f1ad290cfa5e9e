"""Rules that change while ``serve`` runs: what is not claimed yet is judged by the new ones."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dispatcher.ledger.base import Ledger
from dispatcher.loop.components import Components
from dispatcher.loop.rule_files import superseded, watched
from dispatcher.model.run import Claim, Grant, WrappedGrant
from dispatcher.model.verdicts import Verdict
from dispatcher.status.overview import of_status
from dispatcher.vault import Grants
from tests.fakes.scheduler import SUCCEEDED
from tests.servers.bao import Bao
from tests.support.serving import Served
from tests.support.stage import Stage, action, eventually, path, set_stage

pytestmark = pytest.mark.needs("bao")

LOW = '[tiers]\nhello = "low"\n'
HIGH = '[tiers]\nhello = "high"\n'


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    """One place, so that the second approved action waits for it."""
    stage = set_stage(tmp_path, bao_server, limits={"max_in_flight": 1})
    policy_file(stage).write_text(LOW)
    yield stage
    stage.stop()


def policy_file(stage: Stage) -> Path:
    return stage.scene.config.with_name("policy.toml")


def put(file: Path, text: str) -> None:
    """Replace a file as an editor does, by a rename."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


@eventually
def waits(stage: Stage, action_id: str, reason: str) -> None:
    assert stage.watch.last is not None
    found = {w.action_id: w.reason for w in stage.watch.last.plan.waits}
    assert reason in found.get(action_id, ""), found


@eventually
def warned(stage: Stage, text: str) -> None:
    assert any(text in warning for warning in in_use(stage).warnings())


@eventually
def not_warned(stage: Stage) -> None:
    assert not in_use(stage).rules.warnings()


def in_use(stage: Stage) -> Components:
    assert stage.served is not None
    return stage.served


def audited(stage: Stage, event: str) -> list[dict[str, Any]]:
    log = stage.components.settings.state_dir / "audit.jsonl"
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["event"] == event]


@eventually
def reloaded(stage: Stage, count: int) -> list[dict[str, Any]]:
    found = audited(stage, "policy_reloaded")
    assert len(found) == count
    return found


def one_runs_and_one_waits(stage: Stage) -> None:
    stage.scene.merge({path("first"): action("first")}, "Add first")
    stage.start()
    stage.runs(1)
    stage.scene.merge({path("second"): action("second")}, "Add second")
    waits(stage, "second", "1 runs in flight")


def test_a_raised_tier_holds_what_is_not_claimed_yet(stage: Stage) -> None:
    one_runs_and_one_waits(stage)
    put(policy_file(stage), HIGH)
    waits(stage, "second", "is not signed")
    (record,) = reloaded(stage, 1)
    assert record["setting"] == "[policy] file"
    assert record["before"] == sha256(LOW.encode()).hexdigest()
    assert record["now"] == sha256(HIGH.encode()).hexdigest()
    (first,) = stage.scheduler.running()
    stage.scheduler.end(first, SUCCEEDED)  # what runs is not touched
    assert stage.result("first")["verdict"] == Verdict.SUCCEEDED
    stage.at_rest()
    waits(stage, "second", "is not signed")
    assert [spec.key.action_id for spec in stage.scheduler.submitted] == ["first"]
    put(policy_file(stage), LOW)
    stage.runs(1)
    assert stage.scheduler.running()[0].action_id == "second"


def test_a_policy_that_is_wrong_replaces_nothing(stage: Stage) -> None:
    stage.scene.merge({path("first"): action("first")}, "Add first")
    stage.start()
    stage.runs(1)
    put(policy_file(stage), '[tiers]\nhello = "hihg"\n')
    warned(stage, "previous content stays in force")
    assert any(name == "reload_failed" for name, _ in stage.watch.events)
    assert stage.watch.last is not None
    overview = of_status(stage.watch.last, ())
    settings = stage.scene.open_settings()
    assert (
        "still applies an older version of [policy] file"
        in superseded(overview.rules, watched(settings))[0]
    )
    # 'status' says it once, and the path once.
    refused = in_use(stage).warnings()
    assert superseded(overview.rules, watched(settings), refused=refused) == []
    assert [warning.count(str(policy_file(stage))) for warning in refused] == [1]
    (first,) = stage.scheduler.running()
    stage.scheduler.end(first)
    stage.result("first")
    stage.scene.merge({path("second"): action("second")}, "Add second")
    stage.runs(1)  # by the old one
    policy_file(stage).unlink()
    warned(stage, "cannot be read: No such file or directory")
    put(policy_file(stage), HIGH)
    not_warned(stage)
    assert len(reloaded(stage, 1)) == 1
    assert not superseded(in_use(stage).rules.digests(), watched(settings))


def test_an_approver_who_is_taken_off_the_list_approves_nothing_more(stage: Stage) -> None:
    stage.scene.merge({path("first"): action("first")}, "Add first")
    stage.start()
    stage.runs(1)
    signed = {path("signed"): action("signed", formula="danger")}
    stage.scene.merge(signed, "Sign", sign=True)
    waits(stage, "signed", "1 runs in flight")
    signers = stage.scene.config.with_name("allowed_signers")
    text = signers.read_text()
    put(signers, "not a key at all\n")
    warned(stage, "allowed_signers:1: this line contains no key")
    waits(stage, "signed", "1 runs in flight")  # the old list stays in force
    put(signers, "# nobody\n")
    waits(stage, "signed", "by a key that is not allowed")
    put(signers, text)
    waits(stage, "signed", "1 runs in flight")


def test_a_link_that_is_switched_counts_as_a_change(stage: Stage) -> None:
    """As Kubernetes mounts files: a link to a directory behind a link that is replaced."""
    file = policy_file(stage)
    for name, text in (("one", LOW), ("two", HIGH)):
        (file.parent / name).mkdir()
        (file.parent / name / "policy.toml").write_text(text)
    file.unlink()
    data = file.parent / "data"
    data.symlink_to("one")
    file.symlink_to("data/policy.toml")
    one_runs_and_one_waits(stage)
    (file.parent / "data.new").symlink_to("two")
    (file.parent / "data.new").replace(data)
    waits(stage, "second", "is not signed")


def test_reload_reads_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from dispatcher.loop import rules

    monkeypatch.setattr(rules, "QUIET_S", 3600.0)  # nothing is noticed by itself
    stage.scene.merge({path("first"): action("first")}, "Add first")
    service = stage.start()
    stage.runs(1)
    put(policy_file(stage), HIGH)
    service.reload()
    reloaded(stage, 1)


def test_no_claim_by_the_old_policy_follows_the_report_of_the_new(stage: Stage) -> None:
    """The launch is held inside the ledger, before the claim stands: the report waits for it."""
    inside, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    class Held:
        def __init__(self, ledger: Ledger) -> None:
            self._ledger = ledger

        def __getattr__(self, name: str) -> Any:
            return getattr(self._ledger, name)

        def claim(self, claim: Claim) -> Claim:
            inside.set()
            assert go_on.wait(20)
            made = self._ledger.claim(claim)
            order.append("claimed")
            return made

    def with_held_ledger(components: Components) -> Components:
        audit, append = components.audit, components.audit.append

        def record(event: str, **facts: object) -> None:
            if event == "policy_reloaded":
                order.append("reported")
            append(event, **facts)

        monkey = replace(components, ledger=Held(components.ledger))  # type: ignore[arg-type]
        audit.append = record  # type: ignore[method-assign]
        return monkey

    stage.change = with_held_ledger
    stage.scene.merge({path("first"): action("first")}, "Add first")
    service = stage.start()
    assert inside.wait(20)
    put(policy_file(stage), HIGH)
    fence = in_use(stage).rules.fence
    before = fence.revision
    service.reload()

    @eventually
    def advanced() -> None:
        assert fence.revision == before + 1

    advanced()
    assert order == []
    go_on.set()
    reloaded(stage, 1)
    assert order == ["claimed", "reported"]


def test_a_launch_that_meets_new_rules_is_judged_again_and_leaves_no_grant(stage: Stage) -> None:
    """It is held while its grant is minted, when the policy changes."""
    inside, go_on = threading.Event(), threading.Event()
    revoked: list[Grant] = []
    minted: list[WrappedGrant] = []

    class Held:
        def __init__(self, grants: Grants) -> None:
            self._grants = grants

        def __getattr__(self, name: str) -> Any:
            return getattr(self._grants, name)

        def mint(self, *words: Any, **more: Any) -> WrappedGrant:
            inside.set()
            assert go_on.wait(20)
            minted.append(self._grants.mint(*words, **more))
            return minted[-1]

        def revoke(self, grant: Grant) -> None:
            revoked.append(grant)
            self._grants.revoke(grant)

    stage.change = lambda components: replace(components, grants=Held(components.grants))  # type: ignore[arg-type]
    stage.scene.merge({path("first"): action("first")}, "Add first")
    service = stage.start()
    assert inside.wait(20)
    put(policy_file(stage), HIGH)
    service.reload()
    reloaded(stage, 1)
    go_on.set()
    waits(stage, "first", "is not signed")
    assert [wrapped.grant for wrapped in minted] == revoked
    assert len(revoked) == 1
    assert not audited(stage, "claimed")
    assert stage.scheduler.submitted == []


def test_sighup_reloads_and_ends_nothing(stage: Stage) -> None:
    served = Served(stage.scene)
    try:
        served.until("leading")

        served.process.send_signal(signal.SIGHUP)
        put(policy_file(stage), HIGH)
        served.process.send_signal(signal.SIGHUP)
        served.until("policy_reloaded")
        put(policy_file(stage), "tiers = 3\n")
        served.until("reload_failed")
        assert served.process.poll() is None
    finally:
        served.end()
