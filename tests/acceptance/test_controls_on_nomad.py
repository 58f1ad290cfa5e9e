"""Every control on a real Nomad, in one story: a dispatcher is killed while a lock is held, and the
next one goes on with all that waits.

Runs are raw_exec: what is tested is the dispatcher, and any machine with ``nomad`` can do it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dispatcher.devservers.nomad_forget import free_lead
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.model.times import rfc3339
from tests.servers.bao import Bao
from tests.servers.nomad import Nomad
from tests.support.controls_stage import WITHIN_S, Controls, eventually
from tests.support.evidence import RESTING_VARIABLES, children, live_grants, variables
from tests.support.serving import Served, all_results, serving

pytestmark = [
    pytest.mark.needs("nomad", "bao", "git", "ssh-keygen"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

SOON_S = 20
MARKS = ("begin", "end")
FROZEN = "freeze stop, with no end within a year"
HELD = {
    "a": "lock web is held by c; this action is next",
    "b": "lock web is held by c; a is before this action",
    "next": "runs after c",
    "patient": FROZEN,
}
VERDICTS = {
    **dict.fromkeys(("a", "b", "c"), "succeeded"),
    "next": "succeeded",
    "bad": "failed",
    "never": "refused",
    "older": "superseded",
    "newer": "succeeded",
    "timely": "succeeded",
    "late": "expired",
    "urgent": "succeeded",
    "patient": "succeeded",
}


@pytest.fixture
def controls(bao_server: Bao, nomad: Nomad, tmp_path: Path) -> Iterator[Controls]:
    if not nomad.runs_here:
        pytest.skip("raw_exec wants a Nomad on this machine, and this one is in a container")
    controls = Controls(tmp_path, bao_server, nomad=nomad, dates="2020-01-01/..")
    yield controls
    for action_id in "abc":
        controls.let_go(action_id)
    controls.scene.clear()


def test_all_controls_when_the_dispatcher_dies_with_a_lock_held(
    controls: Controls, bao_server: Bao, nomad: Nomad, tmp_path: Path
) -> None:
    scene = controls.scene
    not_before = _merge_all(controls)
    first = Served(scene, name="first")
    try:
        controls.until_marked("begin c")
        controls.until_waiting(first, HELD)
    finally:
        first.kill()
    free_lead(nomad, scene.open_settings().section(NomadSettings))  # else its time has to run out
    with serving(scene, name="second") as second:
        waiting = controls.until_waiting(second, HELD)
        assert waiting["rash"].waiting_for == "approval", "an emergency needs it too"
        assert controls.marks("a", "b", "c") == ["begin c"], "the lock is held by the run"
        thaws = _thaw_at_the_next_minute(controls)
        for action_id in "cab":
            controls.until_marked(f"begin {action_id}")
            controls.let_go(action_id)
        results = all_results(scene, VERDICTS, within_s=WITHIN_S)
        verdicts = {name: result["verdict"] for name, result in results.items()}
        controls.mend()
        results |= controls.again("bad", tmp_path / "author")
        _until_at_rest(controls)
    assert verdicts == VERDICTS, results
    assert controls.each_began_once()
    ran = [i for i, verdict in VERDICTS.items() if verdict in ("succeeded", "failed")]
    assert {mark.split()[1] for mark in controls.marks()} == {*ran, "bad-2"}
    assert controls.marks("a", "b", "c") == [f"{what} {i}" for i in "cab" for what in MARKS]
    assert controls.marks("c", "next").index("begin next") > 1
    assert controls.began_at("timely") >= not_before
    assert controls.began_at("patient") >= thaws
    assert results["urgent"]["emergency"] == f"shop is down (overrides {FROZEN})"
    assert (results["bad-2"]["verdict"], results["bad-2"]["again_of"]) == ("succeeded", "bad")
    assert not live_grants(bao_server, results, blobs={r["blob"] for r in results.values()})


def _merge_all(controls: Controls) -> int:
    """Merge all of them; answers when ``timely`` may begin."""
    soon = int(time.time()) + SOON_S
    for action_id in "cab":
        controls.merge(action_id, "held", 'lock = "web"')
    controls.merge("next", "quick", 'after = ["c"]')
    controls.merge("bad", "flaky")
    controls.merge("never", "quick", 'after = ["bad"]')
    controls.merge("older", "guarded", 'lock = "db"')  # nobody approves it in time
    controls.merge("newer", "guarded", 'lock = "db"\nsupersedes = true', sign=True)
    controls.merge("timely", "quick", f"not_before = {rfc3339(soon)}")
    controls.merge("late", "guarded", f"expires = {rfc3339(soon)}")
    controls.merge("patient", "frozen")
    controls.merge("rash", "frozen", 'emergency = "I am in a hurry"')
    controls.merge("urgent", "frozen", 'emergency = "shop is down"', sign=True)
    return soon


def _thaw_at_the_next_minute(controls: Controls) -> float:
    """Have the freeze end while the dispatcher serves, which wakes by itself; answers when."""
    end = (time.time() // 60 + 1) * 60
    controls.freeze(f"2020-01-01T00:00/{datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M}")
    return end


@eventually
def _until_at_rest(controls: Controls) -> None:
    assert variables(controls.scene) == RESTING_VARIABLES
    assert children(controls.scene) == []
