"""A stack from its deployment to its destruction by the commands, on a dispatcher at work.

The formulas are those in ``actions/stack``; the server is the fake, or a real Dokploy where there is one.
"""

from __future__ import annotations

import json
import os
import secrets
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatcher.devservers.scene import Scene
from dispatcher.stack.params import SETTINGS_FILE
from tests.servers import dokploy_live
from tests.servers.bao import Bao
from tests.servers.dokploy import KEY, FakeDokploy
from tests.servers.dokploy_http import Silent, on_a_port
from tests.servers.dokploy_http import serving as fake_server
from tests.servers.dokploy_rules import Image
from tests.servers.git_https import certificate_in
from tests.support.cli_process import Said, disinto
from tests.support.serving import ROOT, all_results, serving

FORMULAS = ROOT / "actions" / "stack" / "formulas"
NAMES = ("stack", "stack-update", "stack-destroy", "stack-reap")
SECRET = "canary-7d20c4"
SUFFIX = "stacks.example"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A server of stacks.

    Attributes:
        port: where the pages of stacks are, on the loopback.
    """

    url: str
    key: str
    port: int
    one: str
    two: str
    fake: FakeDokploy | None

    def services(self, name: str) -> list[str]:
        every = dokploy_live.services() if self.fake is None else self.fake.services
        return [each for each in every if each.startswith(f"{name}-")]

    def page(self, name: str) -> str:
        """What the stack answers; "" for nothing."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/", headers={"Host": f"{name}.{SUFFIX}"}
        )
        # As the prober's: what is received is believed no further than that it answers.
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""


@contextmanager
def fake_ground(root: Path) -> Iterator[Ground]:
    class Registry(Silent):
        """Has every image."""

        def do_HEAD(self) -> None:  # noqa: N802 - the library's name
            self.reply(200, b"")

    with on_a_port(Registry) as registry:
        one, two = (f"127.0.0.1:{registry}/{name}:1" for name in ("one", "two"))
        images = {one: Image.CRASHES_WITH_B, two: Image.CRASHES_WITH_B}
        fake = FakeDokploy(now=time.time, queue_s=0, pull_s=0, start_s=0, images=images)
        with fake_server(fake, certificate=certificate_in(root)) as (url, port):
            yield Ground(url=url, key=KEY, port=port, one=one, two=two, fake=fake)


@contextmanager
def live_ground(root: Path) -> Iterator[Ground]:
    with dokploy_live.pages(certificate_in(root)) as port:
        yield Ground(
            url=os.environ["DOKPLOY_URL"],
            key=os.environ["DOKPLOY_API_TOKEN"],
            port=port,
            one=dokploy_live.image("one"),
            two=dokploy_live.image("two"),
            fake=None,
        )


def scene_with(stack: ExitStack, root: Path, bao: Bao, ground: Ground) -> Scene:
    settings = {
        "DOKPLOY_URL": ground.url,
        "STACK_DOMAIN_SUFFIX": SUFFIX,
        "project": f"story-{secrets.token_hex(3)}",
        "probe_address": "127.0.0.1",
        "https_port": ground.port,
    }
    texts = {file.name: file.read_text() for file in FORMULAS.iterdir()}
    server = bao.with_own_mount()
    transit = f"transit-{secrets.token_hex(4)}"
    scene = Scene.set(
        root,
        server,
        values={"DOKPLOY_API_TOKEN": ground.key, "MODEL_KEY": SECRET},
        settings={
            "vault": {"kv_mount": server.kv_mount, "transit_mount": transit},
            "ops_repo": {"poll_interval_s": 0.2},
            "local": {"hide_home": False},  # this Python may be in there
            "formulas": {"classes": dict.fromkeys(NAMES, "provision")},
        },
        tiers=dict.fromkeys(NAMES, "low"),
        formulas={**texts, SETTINGS_FILE: json.dumps(settings)},
    )
    stack.callback(bao.client().sys.disable_secrets_engine, transit)
    stack.callback(scene.clear)
    return scene


class Watcher:
    """Asks the page again and again; use as a context manager.

    Attributes:
        longest_s: the longest time without an answer.
    """

    def __init__(self, ground: Ground, name: str) -> None:
        self._ground, self._name = ground, name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.longest_s = 0.0

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._ended.wait(0.05):
            if self._ground.page(self._name):
                answered = time.monotonic()
            else:
                self.longest_s = max(self.longest_s, time.monotonic() - answered)


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
def test_with_a_real_server(bao_server: Bao, tmp_path: Path) -> None:
    with live_ground(tmp_path) as ground:
        play(tmp_path / "scene", bao_server, ground)


def play(root: Path, bao: Bao, ground: Ground) -> None:
    name = f"s{secrets.token_hex(4)}"
    root.mkdir()
    with ExitStack() as stack:
        scene = scene_with(stack, root, bao, ground)

        def call(*words: str) -> Said:
            return disinto(
                "--config",
                str(scene.config),
                "stack",
                *words,
                env=scene.environ,
                cwd=scene.desk,
                timeout_s=900,
            )

        def shown() -> dict[str, object]:
            (entry,) = json.loads(call("list", "--json").out)["stacks"]
            return dict(entry)

        with serving(scene):
            said = call(
                "deploy", name, "--image", ground.one, "--env", "A=1", "--env-from", "MODEL_KEY"
            )
            assert said.code == 0, said
            assert shown()["image"] == ground.one
            assert shown()["certificate"] == "self-signed certificate"
            assert ground.page(name)
            before = networks(ground)

            with Watcher(ground, name) as watcher:
                said = call("update", f"stack-{name}", "--image", ground.two)
            assert said.code == 0, said
            assert shown()["image"] == ground.two
            outputs = all_results(scene, [f"update-stack-{name}"])[f"update-stack-{name}"][
                "outputs"
            ]
            assert outputs["image_seen"] == ground.two
            print(
                f"longest gap in the answers: {watcher.longest_s:.2f} s; the run measured {outputs['downtime_s']} s"
            )

            # The container ends at once with a B: the swarm returns by itself, and the run does not believe it.
            said = call("update", f"stack-{name}", "--env", "B=1")
            assert said.code != 0
            assert f"returned to {ground.two}" in said.out + said.err, said
            assert shown()["image"] == ground.two
            assert ground.page(name)

            said = call("destroy", f"stack-{name}", "--yes")
            assert said.code == 0, said
        assert (ground.services(name), ground.page(name)) == ([], "")
        assert networks(ground) == before
        no_secret_is_left(scene, ground)
    if ground.fake is None:
        dokploy_live.remove_volume(f"workspace-{name}")


def networks(ground: Ground) -> set[str]:
    return dokploy_live.networks() if ground.fake is None else set(ground.fake.networks)


def no_secret_is_left(scene: Scene, ground: Ground) -> None:
    """Neither the key nor what the stack got is in a file: results, logs, ledger, clone."""
    history = scene.git("log", "--all", "--patch", cwd=scene.remote).encode()
    for secret in (ground.key.encode(), SECRET.encode()):
        assert secret not in history
        for file in scene.root.rglob("*"):
            if file.is_file():
                assert secret not in file.read_bytes(), file
