"""Freezes, emergencies and repetitions on the local engine: one dispatcher, which sees its policy
change while it serves.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.bao import Bao
from tests.support.controls_stage import Controls
from tests.support.serving import all_results, serving

pytestmark = pytest.mark.needs("bao", "bwrap", "ssh-keygen")

ALWAYS, OVER = "2020-01-01/..", "2020-01-01"
FROZEN = "freeze stop, with no end within a year"


def test_a_freeze_an_emergency_and_a_repetition(bao_server: Bao, tmp_path: Path) -> None:
    controls = Controls(tmp_path, bao_server, dates=ALWAYS)
    controls.merge("bad", "flaky")
    controls.merge("patient", "frozen")
    controls.merge("rash", "frozen", 'emergency = "I am in a hurry"')
    controls.merge("urgent", "frozen", 'emergency = "shop is down"', sign=True)
    with serving(controls.scene) as dispatcher:
        results = all_results(controls.scene, ["bad", "urgent"])
        rash = controls.until_waiting(dispatcher, {"patient": FROZEN})["rash"]
        assert not controls.marks("patient", "rash")
        controls.mend()
        results |= controls.again("bad", tmp_path / "author")
        assert not controls.marks("patient")
        controls.freeze(OVER)
        results |= all_results(controls.scene, ["patient"])
        assert not controls.marks("rash"), "nobody approved it"
    verdicts = {name: result["verdict"] for name, result in results.items()}
    assert verdicts == {
        "bad": "failed",
        "bad-2": "succeeded",
        "patient": "succeeded",
        "urgent": "succeeded",
    }
    assert results["bad-2"]["again_of"] == "bad"
    assert (rash.waiting_for, rash.tier) == ("approval", "high")
    overridden = f"shop is down (overrides {FROZEN})"
    assert results["urgent"]["emergency"] == overridden
    assert [r["emergency"] for r in controls.audited("claimed", "urgent")] == [overridden]
    assert "emergency" not in results["patient"]
    assert controls.each_began_once()
