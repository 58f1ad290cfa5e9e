"""``disinto desktop open``: log a person in at a desktop, and lead their browser there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.desktop_reading import ID, KEYS, read_desktops
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session

if TYPE_CHECKING:
    from dispatcher.operate.desktop_access import Session as DesktopSession


@click.command("open")
@ID
@click.option(
    "--target",
    type=click.Choice(("gateway", "ip")),
    help="Where to reach it; default: the gateway, if it is behind one.",
)
@click.option("--print", "print_only", is_flag=True, help="Print the link, and start no browser.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the link on the loopback; default: any.",
)
@KEYS
@json_option
@config_option
@click.pass_obj
def command(
    session: Session,
    desktop_id: str,
    *,
    target: str | None,
    print_only: bool,
    port: int,
    keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Open a desktop in the browser.

    Derives the desktop's key in Vault with your own token (VAULT_TOKEN; its policy is
    disinto.<installation>.derive.desktop_hmac), logs you in at the desktop's Guacamole, and serves a link
    on 127.0.0.1 that works once, within five minutes, and leads there. Waits until it was used.

    The inventory entry must be as a signed result wrote it, or nothing is sent to its address. Without
    the dispatcher's signing key here, pass its public half with --key.

    On a machine without a browser, use --print and --port, and reach the port by ssh -L.

    Exits with 75 if the desktop is not active, or if nobody used the link.
    """
    from dispatcher.cli.browser import browse
    from dispatcher.operate.desktop_link import VALID_S, LinkUnused, serve_link

    opened = _begin(session, desktop_id, target=target, keys=keys)
    session.on_interrupt = f"the session at {desktop_id} was ended"
    used = False
    try:
        with serve_link(opened.url, port=port) as link:
            if as_json:
                console.emit(_opened(desktop_id, opened, link.url, time.time() + VALID_S))
                sys.stdout.flush()
            else:
                click.echo(link.url)
                console.note(f"works once, for {VALID_S / 60:.0f} minutes; waiting for the browser")
            if not print_only and not as_json:
                browse(link.url)
            used = link.wait()
        if not used:
            raise LinkUnused(
                "the link was not used within five minutes, and the session was ended",
                remedy=f"Run it again: disinto desktop open {desktop_id}",
            )
    finally:
        if not used:
            _end(opened)
    if not as_json:
        console.note(f"opened {desktop_id} at {opened.place.base}")


def _begin(
    session: Session, desktop_id: str, *, target: str | None, keys: tuple[Path, ...]
) -> DesktopSession:
    """Log in at a desktop."""
    from dispatcher.operate.desktop_access import Target, place_of
    from dispatcher.operate.desktop_opening import open_desktop
    from dispatcher.vault import Vault

    entry = read_desktops(session, keys, strict=True).resources.standing(desktop_id)
    settings = session.settings
    return open_desktop(
        entry,
        place=place_of(entry, Target(target) if target else None),
        vault=Vault.of_operator(settings.vault, environ=os.environ),
        settings=settings,
        username=console.person(),
        now=time.time(),
    )


def _end(opened: DesktopSession) -> None:
    """End a session that nobody will use; it ends by itself after a while."""
    from dispatcher.operate.desktop_access import DesktopUnreachable, end_session

    try:
        end_session(opened)
    except DesktopUnreachable as error:
        console.note(f"the session could not be ended: {error.what}")


def _opened(desktop_id: str, opened: DesktopSession, link: str, until_s: float) -> dict[str, Any]:
    from dispatcher.model.times import rfc3339

    return {
        "id": desktop_id,
        "link": link,
        "link_until": rfc3339(until_s),
        "at": opened.place.base,
        "session_until": rfc3339(opened.until_s),
    }
