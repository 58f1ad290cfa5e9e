"""A stack from its deployment to its destruction by the commands, on a dispatcher at work.

The formulas are those in ``actions/stack``; the server is the fake, or a real Dokploy if there is one.
"""

from __future__ import annotations

import secrets
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import dokploy_live
from tests.servers.bao import Bao
from tests.servers.dokploy import KEY
from tests.support.cli_process import Said
from tests.support.serving import all_results, serving
from tests.support.stack_stage import (
    SUFFIX,
    Ground,
    Watcher,
    commands,
    fake_ground,
    live_ground,
    no_secret_is_left,
    scene_with,
)

SECRET = "canary-7d20c4"
LOST = "0" * 40


@pytest.mark.needs("bao", "bwrap")
@pytest.mark.skipif(
    Path(sys.prefix).is_relative_to("/tmp"),
    reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
)
def test_with_the_fake(bao_server: Bao, tmp_path: Path) -> None:
    with fake_ground(tmp_path) as ground:
        play(tmp_path / "scene", bao_server, ground)
        assert ground.fake is not None
        assert (ground.fake.projects, ground.fake.services) == ({}, {})


@pytest.mark.needs("bao", "bwrap", "dokploy")
@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_with_a_real_server(bao_server: Bao, tmp_path: Path) -> None:
    with live_ground(tmp_path) as ground:
        for name in play(tmp_path / "scene", bao_server, ground):
            assert dokploy_live.remains(name) == set()


def lose_a_stack(ground: Ground, name: str) -> None:
    """A project at the server that no inventory names, made an hour ago."""
    body = {"name": name, "description": f"disinto:{ground.project}:stack-{name}:{LOST}"}
    if ground.fake is None:
        dokploy_live.create_old_project(**body)
        return
    fake, now = ground.fake, ground.fake.now
    fake.now = lambda: time.time() - 3600
    fake.answer("project.create", {}, body, KEY)
    fake.now = now


def play(root: Path, bao: Bao, ground: Ground) -> tuple[str, str]:
    """From deployment to destruction; returns the names that stacks had."""
    name = f"s{secrets.token_hex(4)}"
    stack_id = f"stack-{name}"
    root.mkdir()
    with ExitStack() as stack:
        scene = scene_with(stack, root, bao, ground, {"MODEL_KEY": SECRET})
        call = commands(scene)

        def stacks(*words: str) -> Said:
            said = call("stack", *words)
            assert said.code == 0, said
            return said

        def shown() -> dict[str, object]:
            entry = dict(stacks("show", stack_id, "--json").json)
            (listed,) = stacks("list", "--json").json["stacks"]
            assert listed == entry
            return entry

        def reap(*words: str) -> dict[str, list[dict[str, str]]]:
            sent = stacks("reap", *words, "--no-follow", "--json").json["id"]
            return dict(all_results(scene, [sent])[sent]["outputs"])

        with serving(scene):
            assert stacks("check", name).out == f"{name} is free: {name}.{SUFFIX}\n"
            before = ground.networks()
            stacks("deploy", name, "--image", ground.one, "--env", "A=1", "--env-from", "MODEL_KEY")
            assert shown()["image"] == ground.one
            assert shown()["certificate"] == "self-signed certificate"
            assert ground.page(name)
            assert "taken, by" in call("stack", "check", name).err

            with Watcher(ground, name) as watcher:
                stacks("update", stack_id, "--image", ground.two)
            assert shown()["image"] == ground.two
            updated = all_results(scene, [f"update-{stack_id}"])[f"update-{stack_id}"]
            outputs = updated["outputs"]
            assert outputs["image_seen"] == ground.two
            print(
                f"longest gap in the answers: {watcher.longest_s:.2f} s; the run measured {outputs['downtime_s']} s"
            )

            # The container ends at once with a B: the swarm returns by itself, and the run does not believe it.
            said = call("stack", "update", stack_id, "--env", "B=1")
            assert said.code != 0
            assert f"returned to {ground.two}" in said.out + said.err, said
            assert shown()["image"] == ground.two
            assert ground.page(name)

            # Reaping leaves what the inventory names, and removes what nothing names.
            lost = f"l{secrets.token_hex(4)}"
            lose_a_stack(ground, lost)
            outputs = reap()
            assert ([each["name"] for each in outputs["leftovers"]], outputs["removed"]) == (
                [lost],
                [],
            )
            assert len(reap("--remove", "--yes")["removed"]) == 1
            assert reap()["leftovers"] == []
            assert ground.page(name)

            stacks("destroy", stack_id, "--yes")
            assert stacks("list", "--json").json == {"stacks": []}
            assert "was destroyed by" in call("stack", "destroy", stack_id, "--yes").err
        assert (ground.services(name), ground.page(name)) == ([], "")
        assert ground.networks() == before
        no_secret_is_left(scene, ground.key, SECRET)
    if ground.fake is None:
        dokploy_live.remove_volume(f"workspace-{name}")
    return name, lost
