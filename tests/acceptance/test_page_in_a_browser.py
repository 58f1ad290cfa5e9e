"""The page beside a dispatcher, in a real browser and in each language: a run appears, is followed while the
connection is cut, and is cancelled; ``serve`` is killed and started again, and Vault is down for a while.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from dispatcher.devservers.ports import free_port
from dispatcher.devservers.scene import Scene
from dispatcher.page.language import NAMES
from dispatcher.page.words import DEPENDENCIES
from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.servers.cut import Way, way_to
from tests.support.page_visitor import Visitor, patiently
from tests.support.serving import ROOT, Served, all_results

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [
    pytest.mark.needs("bao", "bwrap", "chromium"),
    pytest.mark.thorough,  # a minute for each language; in part: test_page_story.py
    pytest.mark.timeout(900),
]

SLOW = """#!/bin/bash
echo 'this goes to the other stream' >&2
echo '{"stage": "counting", "percent": 40}' >> "$DISINTO_PROGRESS"
for ((n = 1; ; n++)); do echo "line $n"; sleep 0.1; done
"""
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""What a proxy answers while the page starts again: to a browser, the end of a stream of events."""

LOST = "No dispatcher runs here, so nothing starts. What is open is shown as it was last known:"


@dataclass(kw_only=True)
class Stage:
    """What all languages share.

    Attributes:
        to_page: the browser's way to the page.
        to_vault: the dispatcher's way to OpenBao.
    """

    scene: Scene
    chrome: Chrome
    served: Served
    to_page: Way
    to_vault: Way

    def merge(self, action_id: str, formula: str, *, secrets: str = "") -> None:
        text = f'id = "{action_id}"\nformula = "{formula}"\ncontext = "c"\nsecrets = [{secrets}]\n'
        self.scene.merge({f"vault/actions/{action_id}.toml": text}, f"Add {action_id}")


@pytest.fixture(scope="module")
def stage(bao_server: Bao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("page")
    server = bao_server.with_own_mount()
    with ExitStack() as stack:
        to_vault = stack.enter_context(way_to(server.addr, needle="/v1/"))
        scene = Scene.set(
            root,
            server,
            values={"TOKEN_A": "value-a"},
            settings={
                "vault": {"kv_mount": server.kv_mount, "timeout_s": 2.0},
                "ops_repo": {"poll_interval_s": 0.3},
                "limits": {"max_run_s": 300},
            },
            tiers={"slow": "low", "quick": "low"},
            formulas={"slow.sh": SLOW, "quick.sh": "#!/bin/bash\necho done\n"},
        )
        scene.environ["VAULT_ADDR"] = to_vault.addr
        scene.environ["DISINTO_VAULT__ADDR"] = to_vault.addr
        port = free_port()
        to_page = stack.enter_context(way_to(f"http://127.0.0.1:{port}", needle=" HTTP/1.1"))
        chrome = stack.enter_context(browser(root / "profile"))
        chrome.get(stack.enter_context(page(scene, port, to_page.addr)))
        made = Stage(
            scene=scene, chrome=chrome, served=Served(scene), to_page=to_page, to_vault=to_vault
        )
        try:
            yield made
        finally:
            to_vault.mend()
            made.served.end()


@contextmanager
def page(scene: Scene, port: int, origin: str) -> Iterator[str]:
    """The link of a ``disinto web`` that browsers reach at this address."""
    words = ("--config", str(scene.config), "web", "--port", str(port), "--print")
    with (scene.root / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *words],
            env={**scene.environ, "PYTHONPATH": str(ROOT), "DISINTO_WEB__ORIGIN": origin},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.fixture(params=list(NAMES))
def reader(stage: Stage, request: pytest.FixtureRequest) -> Visitor:
    return Visitor(stage.chrome, stage.to_page.addr, request.param)


def test_a_run_is_followed_through_a_lost_connection_and_cancelled(
    stage: Stage, reader: Visitor
) -> None:
    name = f"slow-{reader.language.code}"
    reader.opens("/")
    reader.reads("Nothing runs.", "Nothing waits.")
    stage.merge(name, "slow")
    reader.reads_row(name, "running", exactly=("counting",))  # by itself
    reader.press_on(f"a[href='/actions/{name}']")
    reader.reads("Follows the run.", "Standard output", exactly=("to the other stream",))
    for answer in (b"", BAD_GATEWAY):
        reached = more_than(reader, newest(reader) + 5)
        stage.to_page.cut(answer)
        reader.reads("Connection lost; it resumes where it was.")
        says(reader, "#connection", "The connection was lost. What you see may be old.")
        came_back(stage, f"/actions/{name}/log")
        stage.to_page.mend()
        reader.reads("Follows the run.")
        says(reader, "#connection", "Connected again.")
        more_than(reader, reached + 20)
        lines = counted(reader)
        assert lines == list(range(1, len(lines) + 1)), "nothing twice, nothing left out"

    reader.fill("#reason", "enough of it")
    reader.press("Ask to cancel")
    reader.reads(exactly=("enough of it", f"{name}.cancel.toml is pushed as"))
    reader.reads("cancelled", "All output is here.", "verified")
    assert all_results(stage.scene, {name})[name]["verdict"] == "cancelled"
    assert reader.complaints() == []


def test_the_page_says_when_no_dispatcher_runs(stage: Stage, reader: Visitor) -> None:
    reader.opens("/")
    reader.reads("Dispatcher")
    reader.reads_no_more(LOST)
    stage.served.kill()
    reader.reads(LOST)  # by itself
    name = f"later-{reader.language.code}"
    stage.merge(name, "quick")
    stage.served = Served(stage.scene)
    reader.reads_no_more(LOST)
    reader.reads_row(name, "succeeded")


def test_the_page_says_when_vault_is_down(stage: Stage, reader: Visitor) -> None:
    name = f"secret-{reader.language.code}"
    down = reader.word("%(name)s is down", name=reader.word(DEPENDENCIES["vault"]))
    reader.opens("/")
    stage.to_vault.cut()
    stage.merge(name, "quick", secrets='"TOKEN_A"')
    reader.reads("Waiting", exactly=(down,))
    reader.reads_row(name, "a dependency")
    stage.to_vault.mend()
    reader.reads_no_more(down)
    reader.reads_row(name, "succeeded")


@patiently
def came_back(stage: Stage, path: str) -> None:
    """Wait until the browser has asked for this in vain."""
    assert [line for line in stage.to_page.refused if path in line]


def counted(reader: Visitor) -> list[int]:
    """The numbers of the lines of output, in their order; the last may be on its way."""
    whole = reader.text("#stdout").rpartition("\n")[0]
    return [int(number) for number in re.findall(r"^line (\d+)$", whole, re.MULTILINE)]


def newest(reader: Visitor) -> int:
    return max(counted(reader), default=0)


@patiently
def more_than(reader: Visitor, number: int) -> int:
    """Wait until the output is past this line."""
    assert newest(reader) > number
    return newest(reader)


@patiently
def says(reader: Visitor, selector: str, message: str) -> None:
    """Wait until an element that only screen readers read says this."""
    assert reader.text(selector) == reader.word(message)
