"""``disinto desktop gateway``: writes the files of an nginx that leads to desktops."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.desktop_reading import KEYS, read_desktops
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.operate.desktop_gateway import Gateway

_RELOAD_S = 60


@click.command("gateway")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--reload",
    "reload_command",
    metavar="COMMAND",
    help="Run this if a file changed, such as 'systemctl reload nginx'; without a shell.",
)
@KEYS
@json_option
@config_option
@click.pass_obj
def command(
    session: Session,
    directory: Path,
    *,
    reload_command: str | None,
    keys: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Write what an nginx needs to be the gateway of desktops.

    DIRECTORY gets two files: 'addresses', with the machine of each host name <id>.<gateway_host>, and
    'certificates.pem', with the machines' certificates, so that nginx accepts no other. Run it on the
    gateway's host, every minute; the rest of nginx's configuration is in docs/desktops.md.

    Only desktops whose inventory entry is as a signed result wrote it are named. Without the
    dispatcher's signing key here, pass its public half with --key.

    Exits with 69 if a machine did not answer; all others are written.
    """
    from dispatcher.operate.desktop_gateway import write_gateway
    from dispatcher.operate.desktops import KIND

    desktops = read_desktops(session, keys, strict=True).resources
    gateway = write_gateway(directory, desktops.reader.all(desktops.tree, kind=KIND))
    if gateway.changed and reload_command:
        _reload(reload_command)
    if as_json:
        console.emit(_plain(gateway))
    else:
        table(
            ("ID", "HOST", "MACHINE"),
            [(site.id, site.host, site.address) for site in gateway.sites],
        )
        for each in gateway.left_out:
            console.say(f"{console.styled('left out', 'yellow')}  {each.id}: {each.reason}")
        console.note("changed" if gateway.changed else "up to date")
    return Exit.UNAVAILABLE if any(each.retry for each in gateway.left_out) else Exit.OK


def _reload(given: str) -> None:
    """Run a command.

    Raises:
        Misconfigured: it failed.
    """
    from dispatcher.errors import Misconfigured

    try:
        done = subprocess.run(
            shlex.split(given),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RELOAD_S,
            check=False,
        )
        problem = (done.stderr or done.stdout).strip()[-300:] if done.returncode else ""
        failed = done.returncode != 0
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        failed, problem = True, str(error)
    if failed:
        raise Misconfigured(
            f"the files were written, but {given!r} failed: {problem or 'without a message'}",
            remedy="Run it yourself: nginx has not read the new files.",
        )


def _plain(gateway: Gateway) -> dict[str, Any]:
    return {
        "desktops": [
            {"id": site.id, "host": site.host, "address": site.address} for site in gateway.sites
        ],
        "left_out": [{"id": each.id, "reason": each.reason} for each in gateway.left_out],
        "changed": gateway.changed,
    }
