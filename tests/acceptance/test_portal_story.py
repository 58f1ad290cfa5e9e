"""The web page deploys itself as a stack, by the example actions, on a real Dokploy; a broken version is taken back."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import tomli
import tomli_w

from dispatcher.devservers.scene import Scene
from dispatcher.host import resources
from tests.servers import dokploy_live, image
from tests.servers.bao import Bao
from tests.support.cli_process import Said
from tests.support.serving import all_results, serving
from tests.support.stack_stage import (
    SUFFIX,
    Ground,
    Watcher,
    commands,
    live_ground,
    no_secret_is_left,
    scene_with,
)

CLIENT_SECRET, OPS_TOKEN = "canary-3be1", "canary-90aa"
LOGIN = "/login/forge"
BROKEN = {
    "ends at once": "ENV DISINTO_WEB__LISTEN=nowhere",
    "serves nothing": 'ENTRYPOINT ["sleep", "1000"]\nCMD []',
}


def portal(base: str, version: str, more: str = "") -> str:
    """An image of the page: the one that is shipped, or one with further instructions."""
    dockerfile = resources.text("actions/stack/portal/Dockerfile")
    return dokploy_live.built(f"portal:{version}", f"{dockerfile}\n{more}\n", IMAGE=base)


def example(name: str, /, **changes: Any) -> dict[str, Any]:
    """An action that is shipped, with other params."""
    action = tomli.loads(resources.text(f"actions/stack/portal/{name}.toml"))
    action["params"] |= changes
    return action


@pytest.mark.needs("bao", "bwrap", "dokploy")
@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_the_page_deploys_itself_and_a_broken_version_is_taken_back(
    bao_server: Bao, tmp_path: Path
) -> None:
    root = tmp_path / "scene"
    root.mkdir()
    name = f"w{secrets.token_hex(4)}"
    values = {"PAGE_CLIENT_SECRET": CLIENT_SECRET, "OPS_READ_TOKEN": OPS_TOKEN}
    with ExitStack() as stack:
        ground = stack.enter_context(live_ground(tmp_path))
        scene = scene_with(stack, root, bao_server, ground, values)
        with serving(scene):
            play(scene, ground, name)
        no_secret_is_left(scene, ground.key, *values.values())
    assert dokploy_live.remains(name) == set()


def play(scene: Scene, ground: Ground, name: str) -> None:
    call = commands(scene)

    def dispatched(action: Mapping[str, Any]) -> Said:
        file = scene.desk / f"{action['id']}.toml"
        file.write_text(tomli_w.dumps(action))
        return call("dispatch", str(file))

    def page() -> str:
        return ground.page(name)

    base = image.build()
    first = example("stack-runs", name=name, image=portal(base, "1"))
    stack_id = first["id"] = f"stack-{name}"
    first["params"]["environment"]["DISINTO_WEB__ORIGIN"] = f"https://{name}.{SUFFIX}"
    said = dispatched(first)
    assert said.code == 0, said
    assert LOGIN in page()

    for number, (kind, more) in enumerate(BROKEN.items()):
        wrong = example(
            "update-stack-runs", id=stack_id, image=portal(base, f"broken-{number}", more)
        )
        wrong["id"] = f"update-{number}-{stack_id}"
        with Watcher(ground, name) as watcher:
            said = dispatched(wrong)
        assert said.code != 0, kind
        assert f"returned to {first['params']['image']}" in said.out + said.err, said
        assert LOGIN in page()
        (measured_s,) = re.findall(r"measured downtime: ([0-9]+) seconds", said.out + said.err)
        told(kind, watcher, measured_s)

    right = example("update-stack-runs", id=stack_id, image=portal(base, "2", "LABEL version=2"))
    right["id"] = f"update-right-{stack_id}"
    with Watcher(ground, name) as watcher:
        said = dispatched(right)
    assert said.code == 0, said
    assert LOGIN in page()
    outputs = all_results(scene, [right["id"]])[right["id"]]["outputs"]
    # The image has a health check, so the old page answers until the new one does.
    assert outputs["downtime_expected"] is False
    told("an update", watcher, outputs["downtime_s"])
    said = call("stack", "destroy", stack_id, "--yes")
    assert said.code == 0, said


def told(what: str, watcher: Watcher, measured_s: object) -> None:
    """What was measured; it is not asserted, because a machine that is overloaded keeps a page waiting, too."""
    print(
        f"{what}: none expected; the run measured {measured_s} s; "
        f"longest gap in the answers: {watcher.longest_s:.2f} s"
    )
