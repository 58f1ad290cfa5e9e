"""``disinto desktop``: create, list, open and destroy remote desktops. Thin: all but opening is an action."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console, desktop_gateway, desktop_open
from dispatcher.cli.desktop_reading import ID, KEYS, read_desktops
from dispatcher.cli.options import Sending, config_option, json_option, sending_options
from dispatcher.cli.provisioning import send_action, send_destruction, send_reaping
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.operate.desktops import Desktop


@click.group("desktop")
def command() -> None:
    """Remote desktops in the browser: machines that actions create and destroy."""


command.add_command(desktop_gateway.command)
command.add_command(desktop_open.command)


@command.command("create")
@click.argument("name")
@click.option(
    "--id", "action_id", default="", metavar="ID", help="Id of the desktop; default: desktop-NAME."
)
@click.option("--region", help="Where the machine is; default: as the formula has it.")
@click.option("--size", help="Size of the machine; default: as the formula has it.")
@click.option("--image", help="Image or snapshot; default: as the settings of desktops have it.")
@click.option(
    "--app", "apps", multiple=True, metavar="APP", help="Application of the catalogue; repeatable."
)
@click.option(
    "--ssh-key",
    "ssh_keys",
    multiple=True,
    metavar="KEY|FILE",
    help="Public key that may log in, or its file; repeatable.",
)
@click.option("--lifetime", help="Destroy it after that, such as 8h or 5d; default: never.")
@click.option(
    "--keep-on-error", is_flag=True, help="Keep a machine whose setup fails. Needs --lifetime."
)
@click.option("--vigilance", is_flag=True, help="Prepare the machine for the Vigilance agent.")
@sending_options()
@config_option
@click.pass_obj
def create(
    session: Session,
    /,
    name: str,
    *,
    action_id: str,
    apps: tuple[str, ...],
    ssh_keys: tuple[str, ...],
    sending: Sending,
    **given: Any,
) -> int:
    """Create a desktop: write the action, send it, and follow it.

    The action is sent like any other and needs the approval that the policy demands: see 'disinto
    dispatch', whose exit codes these are. NAME is shown to people and is the machine's host name.
    """
    from dispatcher.operate.desktops import creating, creation

    params: dict[str, Any] = {"name": name}
    params |= {key: value for key, value in given.items() if value}
    params |= {"apps": list(apps)} if apps else {}
    params |= {"ssh_keys": [_public_key(key) for key in ssh_keys]} if ssh_keys else {}
    catalogue = session.settings.formulas.path
    creating("check", params, catalogue=catalogue)  # before anything is read or fetched
    reading = read_desktops(session)
    action = creation(reading.resources, params, action_id=action_id, catalogue=catalogue)
    code = send_action(session, reading, action.id, action.data, sending)
    if code == Exit.OK and sending.follow:
        console.note(f"'disinto desktop open {action.id}' opens it")
    return code


@command.command("list")
@click.option("--all", "destroyed", is_flag=True, help="Those that were destroyed, too.")
@KEYS
@json_option
@config_option
@click.pass_obj
def list_(session: Session, *, destroyed: bool, keys: tuple[Path, ...], as_json: bool) -> None:
    """List the desktops, and those that are being created, from the ops repo."""
    reading = read_desktops(session, keys)
    desktops = reading.resources.all(destroyed=destroyed)
    reading.note_edited()
    if as_json:
        console.emit({"desktops": [each.as_json() for each in desktops]})
        return
    table(
        ("ID", "NAME", "STATE", "REGION", "SIZE", "ADDRESS", "EXPIRES"),
        [
            (
                each.id,
                each.text("name"),
                each.shown_state,
                each.text("region"),
                each.text("size"),
                each.text("address"),
                _expiry(each),
            )
            for each in desktops
        ],
    )
    for each in desktops:
        if each.problem:
            console.say(f"{console.styled('not believed', 'yellow')}  {each.id}: {each.problem}")
        if each.unfinished:
            console.say(
                f"{console.styled('abandoned', 'yellow')}  {each.id}: its run ended before it could clean "
                f"up, and a machine may be billed: 'disinto desktop destroy {each.id}'"
            )
        if each.apps_failed:
            failed = ", ".join(each.apps_failed)
            console.say(f"{console.styled('apps failed', 'yellow')}  {each.id}: {failed}")
    if not desktops:
        console.note("no desktops")


@command.command("show")
@ID
@KEYS
@json_option
@config_option
@click.pass_obj
def show(session: Session, desktop_id: str, *, keys: tuple[Path, ...], as_json: bool) -> None:
    """Show one desktop, also one that was destroyed."""
    reading = read_desktops(session, keys)
    desktop = reading.resources.get(desktop_id)
    reading.note_edited()
    if as_json:
        console.emit(desktop.as_json())
        return
    lines = [("id", desktop.id), ("state", desktop.shown_state)]
    if desktop.problem:
        lines.append(("not believed", desktop.problem))
    lines += [(key, desktop.text(key)) for key in ("name", "region", "size", "image", "address")]
    if host := desktop.text("gateway_host"):
        lines.append(("gateway", host))
    lines.append(("certificate", desktop.text("fingerprint")))
    if desktop.entry is not None and not desktop.problem:
        apps = desktop.entry.entry.get("apps")
        lines.append(("apps", ", ".join(map(str, apps)) if isinstance(apps, list) else ""))
        lines.append(("apps failed", ", ".join(desktop.apps_failed)))
        lines.append(("since", desktop.entry.at))
    lines += [("expires", _expiry(desktop)), ("destroyed by", desktop.ended_by)]
    for label, value in lines:
        if value:
            console.say(f"{label:<14}{value}")


@command.command("destroy")
@ID
@click.option("--yes", is_flag=True, help="Do not ask.")
@KEYS
@sending_options()
@config_option
@click.pass_obj
def destroy(
    session: Session, desktop_id: str, *, yes: bool, keys: tuple[Path, ...], sending: Sending
) -> int:
    """Destroy a desktop, with everything on it.

    The action is sent like any other, and needs the approval that the policy demands.
    """
    from dispatcher.operate.desktops import destroying

    reading = read_desktops(session, keys)
    what = f"desktop {desktop_id}, with everything on it"
    return send_destruction(session, reading, desktop_id, destroying, sending, what=what, yes=yes)


@command.command("reap")
@click.option("--remove", is_flag=True, help="Remove what is left over; else it is only listed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@KEYS
@sending_options()
@config_option
@click.pass_obj
def reap(
    session: Session, *, remove: bool, yes: bool, keys: tuple[Path, ...], sending: Sending
) -> int:
    """Find machines at the provider that belong to no desktop, and remove them.

    What counts as known is read here: the inventory, as far as it is believed, and the runs in progress.
    """
    from dispatcher.operate.desktops import reaping

    now = time.time()
    reading = read_desktops(session, keys, strict=True, claims=True)
    params = reading.resources.reap_params(now=now, run_keys=reading.claimed, remove=remove)
    known = len(params["known_droplets"])
    question = f"Delete all machines except the {known} known ones?"
    return send_reaping(session, reading, params, reaping, sending, question=question, yes=yes)


def _public_key(given: str) -> str:
    """A public key, as given or from its file.

    Raises:
        NotFound: it is neither.
    """
    from dispatcher.errors import NotFound

    if " " in given.strip() and not given.startswith(("/", ".", "~")):
        return given.strip()
    try:
        return Path(given).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise NotFound(
            f"there is no public key in {given}",
            remedy="Name a file such as ~/.ssh/id_ed25519.pub.",
        ) from None


def _expiry(desktop: Desktop) -> str:
    entry = desktop.entry
    if entry is None or desktop.problem:
        return ""
    return f"{entry.expires_at[:19].replace('T', ' ')}Z" if entry.expires_at else "never"
