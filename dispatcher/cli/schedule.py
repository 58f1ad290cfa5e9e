"""``disinto schedule``: the schedules of the ops repo, and their next slots."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table
from dispatcher.errors import NotFound

if TYPE_CHECKING:
    from dispatcher.operate.schedules import Listed


@click.group("schedule")
def command() -> None:
    """The schedules of the ops repo, vault/schedules/<name>.toml."""


@command.command("list")
@json_option
@config_option
@click.pass_obj
def list_(session: Session, *, as_json: bool) -> None:
    """List the schedules: whether each is approved, its last and its next slot."""
    listed = _listed(session, count=1)
    if as_json:
        console.emit([each.as_json() for each in listed])
        return
    table(
        ("NAME", "STATE", "TIER", "CRON", "ZONE", "LAST", "NEXT", "NOTE"),
        [
            (
                each.name,
                each.state,
                each.tier,
                each.cron,
                each.zone,
                each.last,
                _occasion(each.next[0].slot) if each.next else "",
                each.reason,
            )
            for each in listed
        ],
    )
    _remark(listed)
    if not listed:
        console.note("no schedules: add vault/schedules/<name>.toml to the ops repo")


@command.command("next")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--count", type=click.IntRange(1, 100), default=5, show_default=True, help="Slots of each."
)
@json_option
@config_option
@click.pass_obj
def next_(session: Session, name: str | None, *, count: int, as_json: bool) -> None:
    """List the next slots of all schedules that are approved, or of one."""
    listed = _listed(session, count=count)
    if name is not None:
        listed = [each for each in listed if each.name == name]
        if not listed:
            raise NotFound(
                f"there is no schedule {console.clean(name)!r}",
                remedy="List them with: disinto schedule list",
            )
    if as_json:
        console.emit([each.as_json() for each in listed])
        return
    slots = sorted((each.slot, each.begins) for one in listed for each in one.next)
    table(("SLOT", "ACTION"), [(_occasion(slot), f"{begins}-…") for slot, begins in slots])
    for each in listed:
        if each.reason:
            console.note(f"{each.name}: {each.state}: {each.reason}")
    _remark(listed)


def _remark(listed: list[Listed]) -> None:
    for each in listed:
        for remark in each.odd:
            console.note(f"{each.name}: {remark}")


def _listed(session: Session, *, count: int) -> list[Listed]:
    """The schedules, as the dispatcher's host knows them, or as git has them."""
    if session.is_author:
        return _in_git(session, count=count)
    from dispatcher.assembly import build_components, build_view
    from dispatcher.operate.schedules import schedules

    components = build_components(session.settings, environ=os.environ)
    return schedules(components, build_view(components), count=count)


def _in_git(session: Session, *, count: int) -> list[Listed]:
    from dispatcher.assembly import build_author_view, open_repo
    from dispatcher.operate.schedules import schedules_in_git

    settings = session.settings
    view = build_author_view(settings, os.environ, open_repo(settings, os.environ))
    limit = settings.limits.max_action_bytes
    listed, trouble = schedules_in_git(view, limit=limit, count=count)
    if trouble:
        console.note(f"as fetched last: {trouble}")
    console.note("as git shows it; only the dispatcher's host shows skipped and missed slots")
    return listed


def _occasion(slot: float) -> str:
    from dispatcher.model.schedule import occasion_of

    return occasion_of(slot)
