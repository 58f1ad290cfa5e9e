"""``disinto web``: the page, for people who do not want to read JSON."""

from __future__ import annotations

from importlib.util import find_spec

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session
from dispatcher.errors import Misconfigured

PORT = 8490
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
    from dispatcher.cli.journal import Journal
    from dispatcher.page.app import build_app
    from dispatcher.page.operator_link import OperatorLink
    from dispatcher.page.serving import LOOPBACK, listening, server
    from dispatcher.page.site import Site

    settings = session.settings
    opened = listening(port)
    origin = f"http://{LOOPBACK}:{opened.getsockname()[1]}"
    link = OperatorLink(origin, click.echo)
    site = Site(
        origin=origin,
        settings=settings,
        link=link,
        event=Journal(level=settings.log_level).event,
    )
    app = build_app(site)
    with opened:
        url = link.renew()
        console.note("works once, for you alone; Ctrl-C ends the page")
        if not print_only:
            from dispatcher.cli.browser import browse

            browse(url)
        server(app).run([opened])
