"""``disinto web``: the page, for people who do not want to read JSON."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session
from dispatcher.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dispatcher.page.live import Live
    from dispatcher.page.site import Site
    from dispatcher.settings import Settings

DIRECTORY = "web"
"""Of the page, below the state directory: its clone and its index."""


@click.command("web")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 for a free one.  [default: that of [web] listen]",
)
@click.option("--print", "print_only", is_flag=True, help="Print the link, and start no browser.")
@config_option
@click.pass_obj
def command(session: Session, *, port: int | None, print_only: bool) -> None:
    """Serve the web page: what runs, what waits and why, and how it ended.

    By default it listens on 127.0.0.1 and prints a link. Whoever opens the link acts as the operator,
    with the identity of your git. The link works once; then the next one is printed, for the next
    browser. On a machine without a browser, use --print, and reach the port by ssh -L with the same
    number.

    With [web] client_id in the settings it prints its address, and people log in with their accounts on
    the forge. Whoever may read the ops repo there may look; what they send is sent with their own
    rights.

    Ctrl-C ends the page; nothing else depends on it.
    """
    from dispatcher.operate.web_checks import missing_packages

    missing = missing_packages()
    if missing:
        raise Misconfigured(
            f"the web page needs packages that are not installed: {', '.join(missing)}",
            remedy="Install them: pip install 'disinto-dispatcher[web]'",
        )
    from dispatcher.cli.journal import Journal
    from dispatcher.page.app import build_app
    from dispatcher.page.serving import listening, server

    settings = session.settings
    host, configured = settings.web.host_and_port
    opened = listening(configured if port is None else port, host)
    event = Journal(level=settings.log_level).event
    with closing(opened):
        origin = settings.web.origin_at(opened.getsockname()[1])
        with open_live(settings, event) as live:
            site = open_site(settings, origin, live=live, event=event)
            running = server(build_app(site))
            if site.link is not None:
                url = site.link.renew()
                console.note("works once, for you alone; Ctrl-C ends the page")
            else:
                click.echo(url := f"{origin}/")
                console.note("people log in there with their accounts on the forge")
            if not print_only:
                from dispatcher.cli.browser import browse

                browse(url)
            running.run([opened])


def open_site(settings: Settings, origin: str, *, live: Live, event: Callable[..., None]) -> Site:
    """The page, for people of the forge if it is an application there, else for the operator.

    Raises:
        Misconfigured: the client secret is missing.
        Unavailable, Denied: Vault, if the client secret is there.
    """
    from dispatcher.assembly import open_client
    from dispatcher.page.operator_link import OperatorLink
    from dispatcher.page.site import Site

    site = Site(origin=origin, settings=settings, event=event, live=live)
    if settings.web.client_id:
        _for_people(site, own_directory(settings))
        return site
    site.link = OperatorLink(origin, click.echo)
    site.submissions = lambda person: open_client(settings, os.environ, author=person.author)
    return site


def _for_people(site: Site, own: Path) -> None:
    from dispatcher.assembly import open_personal_client, web_client_secret
    from dispatcher.forge.accounts import Accounts
    from dispatcher.forge.oauth import OAuth
    from dispatcher.page.pages.forge_login import ENTRANCE
    from dispatcher.page.people import People
    from dispatcher.settings.web import LOGIN_BACK

    settings = site.settings
    oauth = OAuth(
        settings.forge,
        client_id=settings.web.client_id,
        client_secret=web_client_secret(settings, os.environ),
        redirect_uri=f"{site.origin}{LOGIN_BACK}",
    )
    accounts = Accounts(settings.forge)
    site.people = People(oauth, accounts.of, site.sessions, event=site.event)
    site.bearer = site.people.of_token
    site.entrances = (ENTRANCE,)
    site.submissions = lambda person: open_personal_client(
        settings,
        token=person.token,
        author=(person.name, person.email),
        git_dir=own / "ops.git",
    )


def own_directory(settings: Settings) -> Path:
    """The page's own directory; created, and private."""
    from dispatcher.host.private import make_private

    make_private(settings.state_dir)
    own = settings.state_dir / DIRECTORY
    make_private(own)
    return own


def open_live(settings: Settings, event: Callable[..., None]) -> Live:
    """What the page follows: the status file of ``serve``, and git in a clone of its own.

    Raises:
        Misconfigured: no ops repo is configured.
    """
    import time

    from dispatcher.assembly import open_repo, open_vault
    from dispatcher.page.index import Index
    from dispatcher.page.live import Live

    if not settings.ops_repo.remote:
        remedy = "Set [ops_repo] remote in disinto.toml."
        raise Misconfigured("no ops repo is configured", remedy=remedy)
    own = own_directory(settings)
    vault = open_vault(settings, os.environ)
    return Live(
        settings.state_dir,
        open_repo(settings, os.environ, vault, git_dir=own / "ops.git"),
        Index(own, now=time.time),
        poll_s=max(1.0, settings.ops_repo.poll_interval_s),
        event=event,
    )
