"""A creation that is cancelled after the provider accepted it, and before there is an address: no machine is
left, though the provider takes longer to forget it than a run usually has between TERM and KILL.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.test_desktop_story import CREATE, entries, scene_with
from tests.servers.bao import Bao
from tests.servers.cloud import FakeCloud
from tests.servers.cloud_objects import FakeDroplet
from tests.support.cli_process import disinto
from tests.support.serving import ROOT, all_results, serving


@pytest.mark.needs("bao", "bwrap")
@pytest.mark.thorough
def test_no_machine_and_no_entry_are_left(bao_server: Bao, tmp_path: Path) -> None:
    cloud = FakeCloud(ip_after_s=3600, gone_after_s=15)
    accepted = threading.Event()
    with ExitStack() as stack:
        scene, _ = scene_with(stack, tmp_path, bao_server, cloud, None)

        def made(_droplet: FakeDroplet) -> None:
            accepted.set()

        cloud.made = made
        scene.merge({"vault/actions/desk-1.toml": CREATE}, "A desktop for Alice")
        with serving(scene):
            assert accepted.wait(60)
            done = disinto(
                "--config", str(scene.config), "cancel", "desk-1", env=scene.operator, cwd=ROOT
            )
            assert done.code == 0, done
            result = all_results(scene, ["desk-1"])["desk-1"]
        assert result["verdict"] == "cancelled", result
        assert "cancelled: nothing is left" in result["logs"]
        assert cloud.created == 1
        assert cloud.running() == []
        assert entries(scene) == []
