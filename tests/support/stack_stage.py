"""A dispatcher that deploys stacks, and the server that it deploys them to: the fake, or a real Dokploy."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dispatcher.devservers.scene import Scene
from dispatcher.stack.lifecycle import TOTAL_S
from dispatcher.stack.params import SETTINGS_FILE
from tests.servers import dokploy_live
from tests.servers.bao import Bao
from tests.servers.dokploy import KEY, FakeDokploy
from tests.servers.dokploy_http import Silent, on_a_port
from tests.servers.dokploy_http import serving as fake_server
from tests.servers.dokploy_rules import Image
from tests.servers.git_https import certificate_in
from tests.support.cli_process import Said, disinto
from tests.support.serving import ROOT

FORMULAS = ROOT / "actions" / "stack" / "formulas"
NAMES = ("stack", "stack-update", "stack-destroy", "stack-reap")
SUFFIX = "stacks.example"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A server of stacks.

    Attributes:
        port: where the pages of stacks are, on the loopback.
        one, two: images that answer; both end at once if their environment has a ``B``.
        gone: an image that no registry has.
        project: in the marks of this dispatcher's stacks.
    """

    url: str
    key: str
    port: int
    one: str
    two: str
    gone: str
    fake: FakeDokploy | None
    project: str

    def services(self, name: str) -> list[str]:
        every = dokploy_live.services() if self.fake is None else self.fake.services
        return [each for each in every if each.startswith(f"{name}-")]

    def page(self, name: str, path: str = "/") -> str:
        """What the stack answers; "" for nothing."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}", headers={"Host": f"{name}.{SUFFIX}"}
        )
        # As the prober's: what is received is believed no further than that it answers.
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def networks(self) -> set[str]:
        return dokploy_live.networks() if self.fake is None else set(self.fake.networks)


@contextmanager
def ground_of(server: str, root: Path) -> Iterator[tuple[Ground, str]]:
    """A server by its word, ``fake`` or ``live``, and a name for a stack there, of which nothing remains."""
    if server == "fake":
        with fake_ground(root) as ground:
            yield ground, "alice"
            assert ground.fake is not None
            assert (ground.fake.projects, ground.fake.services) == ({}, {})
        return
    name = f"s{secrets.token_hex(4)}"
    with live_ground(root) as ground:
        try:
            yield ground, name
            assert dokploy_live.remains(name) == set()
        finally:
            dokploy_live.remove_stacks(name)


def _project() -> str:
    return f"story-{secrets.token_hex(3)}"


@contextmanager
def fake_ground(root: Path) -> Iterator[Ground]:
    class Registry(Silent):
        """Has every image."""

        def do_HEAD(self) -> None:  # noqa: N802 - the library's name
            self.reply(200, b"")

    with on_a_port(Registry) as registry:
        one, two, gone = (f"127.0.0.1:{registry}/{name}:1" for name in ("one", "two", "gone"))
        images = {one: Image.CRASHES_WITH_B, two: Image.CRASHES_WITH_B}
        fake = FakeDokploy(now=time.time, queue_s=0, pull_s=0, start_s=0, images=images)
        with fake_server(fake, certificate=certificate_in(root)) as (url, port):
            yield Ground(
                url=url, key=KEY, port=port, one=one, two=two, gone=gone, fake=fake,
                project=_project(),
            )  # fmt: skip


@contextmanager
def live_ground(root: Path) -> Iterator[Ground]:
    with dokploy_live.pages(certificate_in(root)) as port:
        yield Ground(
            url=os.environ["DOKPLOY_URL"],
            key=os.environ["DOKPLOY_API_TOKEN"],
            port=port,
            one=dokploy_live.image("one"),
            two=dokploy_live.image("two"),
            gone=dokploy_live.image("gone"),
            fake=None,
            project=_project(),
        )


def scene_with(
    stack: ExitStack, root: Path, bao: Bao, ground: Ground, values: Mapping[str, str]
) -> Scene:
    """Args:
    values: secrets of stacks.
    """
    settings = {
        "DOKPLOY_URL": ground.url,
        "STACK_DOMAIN_SUFFIX": SUFFIX,
        "project": ground.project,
        "probe_address": "127.0.0.1",
        "https_port": ground.port,
        "limit_s": dokploy_live.LIMIT_S if ground.fake is None else TOTAL_S,
    }
    texts = {file.name: file.read_text() for file in FORMULAS.iterdir()}
    server = bao.with_own_mount()
    transit = f"transit-{secrets.token_hex(4)}"
    scene = Scene.set(
        root,
        server,
        values={"DOKPLOY_API_TOKEN": ground.key, **values},
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
    """Requests a page again and again; use as a context manager.

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


def commands(scene: Scene) -> Callable[..., Said]:
    """``disinto`` at the desk of a scene."""

    def call(*words: str) -> Said:
        return disinto(
            "--config", str(scene.config), *words, env=scene.environ, cwd=scene.desk, timeout_s=900
        )

    return call


def no_secret_is_left(scene: Scene, *values: str) -> None:
    """None of these is in a file: results, logs, ledger, clone."""
    history = scene.git("log", "--all", "--patch", cwd=scene.remote).encode()
    for secret in values:
        assert secret.encode() not in history
        for file in scene.root.rglob("*"):
            if file.is_file():
                assert secret.encode() not in file.read_bytes(), file
