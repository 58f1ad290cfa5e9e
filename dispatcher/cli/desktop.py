"""``disinto desktop``: create, list, open and destroy remote desktops. Thin: all but opening is an action."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.complete import desktop_ids
from dispatcher.cli.desktop_reading import Reading, key_option, read
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.operate.desktop_access import Session as DesktopSession
    from dispatcher.operate.desktops import Desktop

_FOLLOW = click.option(
    "--follow/--no-follow", default=True, help="Wait for the result, with live output."
)
_WAIT_MERGE = click.option(
    "--wait-merge", is_flag=True, help="Follow an action whose pull request is open."
)
_SIGN = click.option(
    "--sign", is_flag=True, help="Commit with your own git, signed as in the work tree you are in."
)
_ID = click.argument("desktop_id", metavar="ID", shell_complete=desktop_ids)


@click.group("desktop")
def command() -> None:
    """Remote desktops in the browser: machines that actions create and destroy."""


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
@_FOLLOW
@_WAIT_MERGE
@_SIGN
@json_option
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
    follow: bool,
    wait_merge: bool,
    sign: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Create a desktop: write the action, send it, and follow it.

    The action is sent like any other and needs the approval that the policy demands: see 'disinto
    dispatch', whose exit codes these are. NAME is shown to people and is the machine's host name.
    """
    from dispatcher.operate.desktops import creating

    params: dict[str, Any] = {"name": name}
    params |= {key: value for key, value in given.items() if value}
    params |= {"apps": list(apps)} if apps else {}
    params |= {"ssh_keys": [_public_key(key) for key in ssh_keys]} if ssh_keys else {}
    reading = read(session)
    new_id = action_id or reading.desktops.free_id(f"desktop-{name}")
    code = _send(
        session,
        reading,
        new_id,
        creating(new_id, params),
        follow=follow,
        wait_merge=wait_merge,
        sign=sign,
        as_json=as_json,
    )
    if code == Exit.OK and follow:
        console.note(f"'disinto desktop open {new_id}' opens it")
    return code


@command.command("list")
@click.option("--all", "destroyed", is_flag=True, help="Those that were destroyed, too.")
@key_option
@json_option
@config_option
@click.pass_obj
def list_(session: Session, *, destroyed: bool, keys: tuple[Path, ...], as_json: bool) -> None:
    """List the desktops, and those that are being created, from the ops repo."""
    reading = read(session, keys)
    desktops = reading.desktops.all(destroyed=destroyed)
    if as_json:
        console.emit({"desktops": [each.as_json() for each in desktops]})
        return
    table(
        ("ID", "NAME", "STATE", "REGION", "SIZE", "ADDRESS", "EXPIRES"),
        [
            (
                each.id,
                each.text("name"),
                each.state,
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
    if not desktops:
        console.note("no desktops")


@command.command("show")
@_ID
@key_option
@json_option
@config_option
@click.pass_obj
def show(session: Session, desktop_id: str, *, keys: tuple[Path, ...], as_json: bool) -> None:
    """Show one desktop, also one that was destroyed."""
    desktop = read(session, keys).desktops.get(desktop_id)
    if as_json:
        console.emit(desktop.as_json())
        return
    lines = [("id", desktop.id), ("state", desktop.state)]
    if desktop.problem:
        lines.append(("not believed", desktop.problem))
    lines += [(key, desktop.text(key)) for key in ("name", "region", "size", "image", "address")]
    if host := desktop.text("gateway_host"):
        lines.append(("gateway", host))
    lines.append(("certificate", desktop.text("fingerprint")))
    if desktop.entry is not None and not desktop.problem:
        apps = desktop.entry.entry.get("apps")
        lines.append(("apps", ", ".join(map(str, apps)) if isinstance(apps, list) else ""))
        lines.append(("since", desktop.entry.at))
    lines += [("expires", _expiry(desktop)), ("destroyed by", desktop.ended_by)]
    for label, value in lines:
        if value:
            console.say(f"{label:<14}{value}")


@command.command("open")
@_ID
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
@key_option
@json_option
@config_option
@click.pass_obj
def open_(
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
                _browse(link.url)
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


@command.command("destroy")
@_ID
@click.option("--yes", is_flag=True, help="Do not ask.")
@_FOLLOW
@_WAIT_MERGE
@_SIGN
@json_option
@config_option
@click.pass_obj
def destroy(
    session: Session,
    desktop_id: str,
    *,
    yes: bool,
    follow: bool,
    wait_merge: bool,
    sign: bool,
    as_json: bool,
) -> int:
    """Destroy a desktop, with everything on it.

    The action is sent like any other, and needs the approval that the policy demands.
    """
    from dispatcher.operate.desktops import destroying

    reading = read(session)
    entry = reading.desktops.standing(desktop_id)
    reading.desktops.refuse_second_destruction(desktop_id)
    formula = "" if entry.problem else entry.destroyed_by
    if not yes and not _confirmed(f"Destroy desktop {desktop_id}, with everything on it?"):
        return Exit.FAILED
    new_id = reading.desktops.free_id(f"destroy-{desktop_id}")
    return _send(
        session,
        reading,
        new_id,
        destroying(new_id, desktop_id, formula=formula),
        follow=follow,
        wait_merge=wait_merge,
        sign=sign,
        as_json=as_json,
    )


@command.command("reap")
@click.option("--remove", is_flag=True, help="Remove what is left over; else it is only listed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@key_option
@_FOLLOW
@_WAIT_MERGE
@_SIGN
@json_option
@config_option
@click.pass_obj
def reap(
    session: Session,
    *,
    remove: bool,
    yes: bool,
    keys: tuple[Path, ...],
    follow: bool,
    wait_merge: bool,
    sign: bool,
    as_json: bool,
) -> int:
    """Find machines at the provider that no desktop is made of, and remove them.

    What counts as known is read here: the inventory, as far as it is believed, and the runs in progress.
    """
    from dispatcher.model.times import rfc3339
    from dispatcher.operate.desktops import reaping

    now = time.time()
    reading = read(session, keys, strict=True)
    params = reading.desktops.reap_params(now=now, run_keys=reading.in_progress(), remove=remove)
    known = len(params["known_droplets"])
    if remove and not yes and not _confirmed(f"Remove every machine but {known} known ones?"):
        return Exit.FAILED
    at = rfc3339(now)[:19].replace(":", "").replace("-", "").replace("T", "-")
    new_id = reading.desktops.free_id(f"desktop-reap-{at}")
    return _send(
        session,
        reading,
        new_id,
        reaping(new_id, params),
        follow=follow,
        wait_merge=wait_merge,
        sign=sign,
        as_json=as_json,
    )


def _begin(
    session: Session, desktop_id: str, *, target: str | None, keys: tuple[Path, ...]
) -> DesktopSession:
    """Log in at a desktop."""
    from dispatcher.operate import desktop_access as access
    from dispatcher.vault import Vault

    entry = read(session, keys, strict=True).desktops.standing(desktop_id)
    place = access.place_of(entry, access.Target(target) if target else None)
    settings = session.settings
    vault = Vault.of_operator(settings.vault, environ=os.environ)
    try:
        credentials = access.credentials_of(entry, vault, settings)
    finally:
        vault.close()
    return access.begin_session(
        place,
        credentials,
        username=console.person(),
        now=time.time(),
        until_s=entry.expires_s,
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


def _browse(url: str) -> None:
    """Start the browser, if there is a display. The address goes by a file that only we can read:
    everybody on this machine can read a browser's arguments.
    """
    import tempfile
    import webbrowser

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the browser reads it later
        "w", prefix="disinto-", suffix=".html", delete=False
    )
    with file:
        file.write(f'<meta http-equiv="refresh" content="0; url={url}">\n')
    try:
        webbrowser.open(Path(file.name).as_uri())
    finally:
        # A browser that reads it later finds nothing; the link is on the terminal.
        click.get_current_context().call_on_close(lambda: Path(file.name).unlink(missing_ok=True))


def _send(
    session: Session,
    reading: Reading,
    action_id: str,
    data: bytes,
    *,
    follow: bool,
    wait_merge: bool,
    sign: bool,
    as_json: bool,
) -> int:
    from dispatcher.cli.sending import after_sending

    client = reading.client
    sent = client.send(Path.cwd() / f"{action_id}.toml", sign=sign, data=data)
    return after_sending(
        session, client, sent, follow=follow, wait_merge=wait_merge, as_json=as_json
    )


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


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("stdin is not a terminal; pass --yes to go ahead.")
    return click.confirm(question, err=True)


def _expiry(desktop: Desktop) -> str:
    entry = desktop.entry
    if entry is None or desktop.problem:
        return ""
    return f"{entry.expires_at[:19].replace('T', ' ')}Z" if entry.expires_at else "never"
