"""Every decision goes on record with its reason, once."""

from __future__ import annotations

import json

from dispatcher.vault.names import lookup_self_policy
from tests.support.stage import Stage, action, path


def records(stage: Stage, action_id: str) -> list[dict[str, object]]:
    log = stage.components.settings.state_dir / "audit.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line.get("action") == action_id]


def test_a_run_is_on_record_from_its_approval_to_its_end(stage: Stage) -> None:
    stage.scene.merge({path("signed"): action("signed", formula="danger")}, "Sign", sign=True)
    stage.once()
    judged, claimed, ended = records(stage, "signed")
    assert (judged["event"], claimed["event"], ended["event"]) == ("judged", "claimed", "ended")
    assert (judged["answer"], judged["gate"], judged["tier"]) == ("approved", "signed", "high")
    assert judged["approved_by"] == claimed["approved_by"] == ["ada@example.org"]
    assert "is signed by ada@example.org" in str(judged["reason"])
    assert claimed["grants"] == [lookup_self_policy(stage.components.settings.vault)]
    assert ended["verdict"] == "succeeded"


def test_what_waits_is_on_record_with_what_is_missing(stage: Stage) -> None:
    stage.scene.merge({path("risky"): action("risky", formula="danger")}, "Add risky")
    stage.once()
    (judged,) = records(stage, "risky")
    assert judged["answer"] == "waiting"
    assert "is not signed" in str(judged["reason"])


def test_what_never_runs_is_on_record_once_though_its_push_failed(stage: Stage) -> None:
    stage.scene.merge({path("typo"): action("typo", more="timeout = 3")}, "Add typo")
    hook = stage.scene.remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    tried = stage.scene.root / "tried"
    hook.write_text(f"#!/bin/sh\ntest -e {tried} && exit 0\ntouch {tried}; exit 1\n")
    hook.chmod(0o755)
    stage.once()
    assert tried.exists()
    assert stage.result("typo")["verdict"] == "invalid"
    (rejected,) = records(stage, "typo")
    assert (rejected["event"], rejected["verdict"]) == ("rejected", "invalid")
    assert "timeout_minutes" in str(rejected["reason"])
