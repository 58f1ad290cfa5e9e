"""Two people approve an action, and its cancellation, on both engines: one approval starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tenacity

from dispatcher.devservers.scene import PERSON, Scene
from dispatcher.gate.trailer import Place
from dispatcher.model.cancel_request import CancelRequest
from tests.servers.bao import Bao
from tests.support.cli_process import disinto
from tests.support.second_approver import CAROL, Carol
from tests.support.serving import all_results, serving

pytestmark = [pytest.mark.needs("bao", "bwrap", "ssh-keygen", "git"), pytest.mark.slow]

X, Z, CANCEL = (f"vault/actions/{name}" for name in ("x.toml", "z.toml", "z.cancel.toml"))

soon = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)


@dataclass(kw_only=True)
class Two:
    """A scene in which Ada and Carol have to approve."""

    scene: Scene
    carol: Carol

    def status(self, action_id: str) -> dict[str, Any]:
        shown = self.cli("status", "--json").json
        return next(row for row in shown["open"] if row["id"] == action_id)

    def cli(self, *words: str) -> Any:
        config = ("--config", str(self.scene.config))
        return disinto(*words, *config, env=self.scene.environ)

    @soon
    def waits(self, action_id: str, words: str) -> str:
        row = self.status(action_id)
        assert words in row["reason"], row
        return str(row["reason"])


@pytest.fixture(params=["local", pytest.param("nomad", marks=pytest.mark.needs("nomad"))])
def two(request: pytest.FixtureRequest, bao_server: Bao, tmp_path: Path) -> Iterator[Two]:
    nomad = request.getfixturevalue("nomad") if request.param == "nomad" else None
    server = bao_server.with_own_mount()
    scene = Scene.set(
        tmp_path,
        server,
        nomad=nomad,
        values={},
        settings={
            "vault": {"kv_mount": server.kv_mount},
            "ops_repo": {"poll_interval_s": 0.2},
            "limits": {"max_run_s": 60},
        },
        tiers={"say": "high"},
        policy={"approval": {"high": {"approvals": 2}}},
        formulas={"say.sh": "#!/bin/bash\necho approved by $DISINTO_APPROVED_BY\n"},
    )
    try:
        yield Two(scene=scene, carol=Carol.trusted(scene))
    finally:
        scene.clear()


def test_two_approve_an_action_and_its_cancellation(two: Two) -> None:
    scene = two.scene
    for name in ("x", "z"):
        text = f'id = "{name}"\nformula = "say"\ncontext = ""\nsecrets = []\n'
        scene.merge({f"vault/actions/{name}.toml": text}, f"Add {name}", sign=True)
    missing = f"1 of 2 approvals ([approval.high]), by {PERSON}; needs 1 more, from {CAROL}"
    with serving(scene):
        reason = two.waits("x", missing)
        assert (
            missing in two.cli("plan").out.replace("\n", " ") or missing[:20] in two.cli("plan").out
        )
        blob = scene.git("rev-parse", f"HEAD:{Z}")
        request = CancelRequest(action_id="z", blob=blob).to_toml()
        scene.merge({CANCEL: request}, "Cancel z", sign=True)
        two.waits("z", missing)
        assert scene.results() == {}
        two.carol.pastes(reason)
        result = all_results(scene, ["x"])["x"]
        assert result["verdict"] == "succeeded"
        assert result["approved_by"] == [PERSON, CAROL]
        assert result["logs"] == f"approved by {PERSON},{CAROL}\n"
        two.waits("z", missing)
        assert list(scene.results()) == ["x"]
        place = Place.of(scene.open_settings())
        content = scene.git("rev-parse", f"HEAD:{CANCEL}")
        two.carol.pastes(f"to approve it: {place.further_command(CANCEL, blob=content)}")
        assert all_results(scene, ["z"])["z"]["verdict"] == "cancelled"
        scene.git("fetch", "--quiet", "origin")
    verified = two.cli("verify", "x")
    assert verified.code == 0, verified.err
    audit = (scene.config.parent / "state" / "audit.jsonl").read_text()
    assert f'"approved_by":["{PERSON}","{CAROL}"]' in audit.replace(" ", "")
