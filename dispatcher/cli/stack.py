"""``disinto stack``: deploy, list, update and destroy people's applications. Thin: each is an action."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli import console
from dispatcher.cli.complete import stack_ids
from dispatcher.cli.desktop_reading import KEYS, Reading, read
from dispatcher.cli.options import Sending, config_option, json_option, sending_options
from dispatcher.cli.provisioning import send_action, send_destruction, send_reaping
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table

if TYPE_CHECKING:
    from dispatcher.operate.stacks import Stacks

ID = click.argument("stack_id", metavar="ID", shell_complete=stack_ids)
ENV = click.option(
    "--env", "plain", multiple=True, metavar="NAME=VALUE", help="Plain variable; repeatable."
)
STORED = click.option(
    "--env-from",
    "names",
    multiple=True,
    metavar="NAME",
    help="Stored secret that it gets under its name; repeatable.",
)
_SHOWN = ("name", "url", "image", "volume", "answered", "certificate", "service")


@click.group("stack")
def command() -> None:
    """People's own applications on a Dokploy server, which actions deploy and destroy."""


@command.command("deploy")
@click.argument("name")
@click.option(
    "--id", "action_id", default="", metavar="ID", help="Id of the stack; default: stack-NAME."
)
@click.option("--image", help="Image with a tag or digest; default: as the settings have it.")
@click.option("--port", type=int, help="Where the container listens; default: 8080.")
@ENV
@STORED
@sending_options()
@config_option
@click.pass_obj
def deploy(
    session: Session,
    /,
    name: str,
    *,
    action_id: str,
    plain: tuple[str, ...],
    names: tuple[str, ...],
    sending: Sending,
    **given: Any,
) -> int:
    """Deploy a stack: write the action, send it, and follow it.

    The action is sent like any other and needs the approval that the policy demands: see 'disinto
    dispatch', whose exit codes these are. NAME becomes its host name within the domain suffix.
    """
    from dispatcher.operate.stacks import check_name, deploying

    reading = _read(session)
    check_name(name, reading.resources, _formulas(session))
    params: dict[str, Any] = {"name": name}
    params |= {key: value for key, value in given.items() if value}
    params |= {"environment": _variables(plain)} if plain else {}
    params |= {"environment_secrets": list(names)} if names else {}
    new_id = action_id or reading.resources.free_id(f"stack-{name}")
    return send_action(session, reading, new_id, deploying(new_id, params, names), sending)


@command.command("list")
@click.option("--all", "destroyed", is_flag=True, help="Those that were destroyed, too.")
@KEYS
@json_option
@config_option
@click.pass_obj
def list_(session: Session, *, destroyed: bool, keys: tuple[Path, ...], as_json: bool) -> None:
    """List the stacks, and those that are being deployed, from the ops repo."""
    reading = _read(session, keys)
    stacks = reading.resources.all(destroyed=destroyed)
    reading.note_edited()
    if as_json:
        console.emit({"stacks": [each.record(_SHOWN) for each in stacks]})
        return
    rows = [
        (each.id, each.text("name"), each.shown_state, each.text("image"), each.text("url"))
        for each in stacks
    ]
    table(("ID", "NAME", "STATE", "IMAGE", "ADDRESS"), rows)
    for each in stacks:
        if each.problem:
            console.say(f"{console.styled('not believed', 'yellow')}  {each.id}: {each.problem}")
        if each.unfinished:
            console.say(
                f"{console.styled('abandoned', 'yellow')}  {each.id}: its run ended before it could clean "
                f"up: 'disinto stack destroy {each.id}'"
            )
    if not stacks:
        console.note("no stacks")


@command.command("show")
@ID
@KEYS
@json_option
@config_option
@click.pass_obj
def show(session: Session, stack_id: str, *, keys: tuple[Path, ...], as_json: bool) -> None:
    """Show one stack, also one that was destroyed."""
    reading = _read(session, keys)
    stack = reading.resources.get(stack_id)
    reading.note_edited()
    if as_json:
        console.emit(stack.record(_SHOWN))
        return
    lines = [("id", stack.id), ("state", stack.shown_state), ("not believed", stack.problem)]
    lines += [(key, stack.text(key)) for key in _SHOWN]
    lines += [("destroyed by", stack.ended_by)]
    for label, value in lines:
        if value:
            console.say(f"{label:<14}{value}")


@command.command("check")
@click.argument("name")
@json_option
@config_option
@click.pass_obj
def check(session: Session, name: str, *, as_json: bool) -> None:
    """Check whether a new stack may have this name.

    By the settings beside the formulas and by the inventory; the server itself is asked by the run.
    """
    from dispatcher.operate.stacks import check_name

    host = check_name(name, _read(session).resources, _formulas(session))
    if as_json:
        console.emit({"name": name, "free": True, "host": host or None})
        return
    console.say(f"{name} is free" + (f": {host}" if host else ""))


@command.command("update")
@ID
@click.option("--image", help="New image, with a tag or digest.")
@ENV
@STORED
@click.option(
    "--expect", "expected_text", metavar="TEXT", help="Text that only the new version has."
)
@click.option("--without-return", is_flag=True, help="Also if the present image may be gone.")
@sending_options()
@config_option
@click.pass_obj
def update(
    session: Session,
    /,
    stack_id: str,
    *,
    plain: tuple[str, ...],
    names: tuple[str, ...],
    sending: Sending,
    **given: Any,
) -> int:
    """Change image or environment of a stack; it returns to the former ones if it is not healthy.

    With --env or --env-from the environment is replaced as a whole.
    """
    from dispatcher.operate.stacks import refuse_second_update, updating

    if not (given["image"] or plain or names):
        raise click.UsageError("Nothing would change: pass --image, --env or --env-from.")
    reading = _read(session)
    reading.resources.standing(stack_id)
    refuse_second_update(reading.resources, stack_id)
    params: dict[str, Any] = {"id": stack_id}
    params |= {key: value for key, value in given.items() if value}
    if plain or names:
        params["environment"] = _variables(plain)
    params |= {"environment_secrets": list(names)} if names else {}
    new_id = reading.resources.free_id(f"update-{stack_id}")
    return send_action(session, reading, new_id, updating(new_id, params, names), sending)


@command.command("destroy")
@ID
@click.option("--yes", is_flag=True, help="Do not ask.")
@KEYS
@sending_options()
@config_option
@click.pass_obj
def destroy(
    session: Session, stack_id: str, *, yes: bool, keys: tuple[Path, ...], sending: Sending
) -> int:
    """Destroy a stack; its volume is kept.

    The action is sent like any other, and needs the approval that the policy demands.
    """
    from dispatcher.operate.stacks import destroying

    reading = _read(session, keys)
    what = f"stack {stack_id}"
    return send_destruction(session, reading, stack_id, destroying, sending, what=what, yes=yes)


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
    """Find stacks at the server that nothing names, and remove them.

    What counts as known is read here: the inventory, as far as it is believed, and the runs in progress.
    """
    from dispatcher.operate.stacks import reaping

    now = time.time()
    reading = _read(session, keys, strict=True, claims=True)
    params = reading.resources.reap_params(now=now, run_keys=reading.claimed, remove=remove)
    known = len(params["known_runs"])
    question = f"Remove all stacks but those of {known} runs?"
    return send_reaping(session, reading, params, reaping, sending, question=question, yes=yes)


def _read(
    session: Session,
    keys: tuple[Path, ...] = (),
    *,
    strict: bool = False,
    claims: bool = False,
) -> Reading[Stacks]:
    from dispatcher.operate.stacks import Stacks

    return read(session, keys, strict=strict, claims=claims, kind=Stacks)


def _formulas(session: Session) -> Path | None:
    """The operator's directory of formulas, where the settings of stacks are."""
    directory = session.settings.formulas.path
    return directory if directory is not None and directory.is_dir() else None


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--env is not NAME=VALUE: {name[:100]}")
        values[name] = value
    return values
