"""A ledger from a backup knows runs whose results are in git since; nothing untrue is said of them."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import pytest

from dispatcher.cli.journal import Journal
from dispatcher.status.metrics import Metrics
from dispatcher.status.snapshot import Counted, Trackers
from dispatcher.status.tracker import Status
from tests.support.stage import Follower, Stage, action, path


def test_a_run_with_its_result_in_git_is_not_called_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.scene.merge({path("one"): action("one", secrets='"TOKEN_A"')}, "Add one")
    stage.start()
    stage.runs(1)
    (backup,) = stage.components.ledger.open_runs()
    stage.scheduler.end(stage.scheduler.running()[0])
    assert stage.result("one")["verdict"] == "succeeded"
    stage.at_rest()
    stage.stop()
    before = stage.scene.results()

    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    metrics = Metrics()
    stage.watch = Joined(Trackers(Journal(level="info"), Counted(metrics)))
    stage.components.ledger.claim(replace(backup, version=0))
    stage.start()
    stage.at_rest()
    stage.stop()

    assert stage.scene.results() == before
    logged = [json.loads(line) for line in err.getvalue().splitlines()]
    assert not [line for line in logged if "lost" in (line.get("verdict"), line.get("error"))]
    assert [line["event"] for line in logged if line.get("action") == "one"].count("closed") <= 1
    audited = (stage.scene.open_settings().state_dir / "audit.jsonl").read_text()
    assert audited.count('"event":"ended"') == 1, "that of the run itself"
    assert audited.count('"event":"closed"') == 1
    assert "lost" not in audited
    assert b'disinto_runs_ended_total{verdict="lost"} 0.0' in metrics.text()


class Joined(Follower):
    """A follower that others listen with."""

    def __init__(self, others: Trackers) -> None:
        super().__init__()
        self._others = others

    def status(self, status: Status) -> None:
        self._others.status(status)
        super().status(status)

    def event(self, what: str, /, **facts: object) -> None:
        self._others.event(what, **facts)
        super().event(what, **facts)
