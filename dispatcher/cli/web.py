"""``disinto web``: the page, for people who do not want to read JSON."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session
from dispatcher.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.page.live import Live
    from dispatcher.settings import Settings

PORT = 8490
DIRECTORY = "web"
"""Of the page, below the state directory: its clone and its index."""

NEEDED = ("babel", "starlette")
"""Packages of the extra ``web``."""


@click.command("web")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port on the loopback; 0 for a free one.",
)
@click.option("--print", "print_only", is_flag=True, help="Print the link, and start no browser.")
@config_option
@click.pass_obj
def command(session: Session, *, port: int, print_only: bool) -> None:
    """Serve the web page: what runs, what waits and why, and how it ended.

    It listens on 127.0.0.1 and prints a link. Who opens the link is the operator, and acts with the
    identity of your git. The link works once; then the next one is printed, for the next browser.
    Ctrl-C ends the page; nothing else depends on it.

    On a machine without a browser, use --print, and reach the port by ssh -L with the same number.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"the web page needs packages that are not installed: {', '.join(missing)}",
            remedy="Install them: pip install 'disinto-dispatcher[web]'",
        )
    from dispatcher.assembly import open_client
    from dispatcher.cli.journal import Journal
    from dispatcher.page.app import build_app
    from dispatcher.page.operator_link import OperatorLink
    from dispatcher.page.serving import LOOPBACK, listening, server
    from dispatcher.page.site import Site

    settings = session.settings
    opened = listening(port)
    origin = f"http://{LOOPBACK}:{opened.getsockname()[1]}"
    link = OperatorLink(origin, click.echo)
    event = Journal(level=settings.log_level).event
    with opened, open_live(settings, event) as live:
        site = Site(
            origin=origin,
            settings=settings,
            link=link,
            submissions=lambda person: open_client(settings, os.environ, author=person.author),
            event=event,
            live=live,
        )
        running = server(build_app(site))
        url = link.renew()
        console.note("works once, for you alone; Ctrl-C ends the page")
        if not print_only:
            from dispatcher.cli.browser import browse

            browse(url)
        running.run([opened])


def open_live(settings: Settings, event: Callable[..., None]) -> Live:
    """What the page follows: the status file of ``serve``, and git in a clone of its own.

    Raises:
        Misconfigured: no ops repo is configured.
    """
    import time

    from dispatcher.assembly import open_repo, open_vault
    from dispatcher.host.private import make_private
    from dispatcher.page.index import Index
    from dispatcher.page.live import Live

    if not settings.ops_repo.remote:
        remedy = "Set [ops_repo] remote in disinto.toml."
        raise Misconfigured("no ops repo is configured", remedy=remedy)
    make_private(settings.state_dir)
    own = settings.state_dir / DIRECTORY
    make_private(own)
    vault = open_vault(settings, os.environ)
    return Live(
        settings.state_dir,
        open_repo(settings, os.environ, vault, git_dir=own / "ops.git"),
        Index(own, now=time.time),
        poll_s=max(1.0, settings.ops_repo.poll_interval_s),
        event=event,
    )
