"""The web page of the demo, with permissions of its own: it may look, and derive credentials of desktops."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from subprocess import DEVNULL, PIPE

from rich.console import Console

from dispatcher.devservers.scene import Scene
from dispatcher.devservers.set_up import page_tokens
from dispatcher.errors import Misconfigured

END_S = 20


class DemoPage:
    """The page as it runs.

    Args:
        link: the first one; each works once, and the next one is printed.
    """

    def __init__(self, process: subprocess.Popen[str], link: str) -> None:
        self._process, self.link = process, link

    def stay(self, console: Console) -> None:
        """Print the next link whenever one was used, until Ctrl-C."""
        reader = threading.Thread(target=self._print_links, args=(console,), daemon=True)
        reader.start()
        try:
            self._process.wait()
        except KeyboardInterrupt:
            console.print()

    def _print_links(self, console: Console) -> None:
        for line in self._process.stdout or ():
            console.print(f"For the next browser: {line.strip()}", soft_wrap=True)


@contextmanager
def demo_page(scene: Scene) -> Iterator[DemoPage]:
    """Serve the page of a scene until the block ends.

    Raises:
        Misconfigured: it does not start.
    """
    tokens = page_tokens(scene.open_settings(), operator=scene.operator, nomad=scene.nomad)
    with _started(scene, ("web", "--port", "0", "--print"), tokens, stdout=PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe
        link = process.stdout.readline().strip()
        if not link.startswith("http://"):
            raise Misconfigured("the web page of the demo does not start")
        yield DemoPage(process, link)


@contextmanager
def serving(scene: Scene, environ: Mapping[str, str]) -> Iterator[None]:
    """Have a dispatcher of a scene run until the block ends."""
    with _started(scene, ("serve",), environ):
        yield


@contextmanager
def _started(
    scene: Scene, words: tuple[str, ...], more: Mapping[str, str], *, stdout: int = DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    command = (sys.executable, "-m", "dispatcher", "--config", str(scene.config), *words)
    # Ctrl-C reaches only us: what runs here is ended in its order.
    process = subprocess.Popen(
        command,
        env={**scene.environ, **more},
        stdout=stdout,
        stderr=DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
