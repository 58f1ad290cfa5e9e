"""``disinto takeover``: lead an ops repo from here, whoever led it before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.loop.leader import LeadReport

_QUESTION = "Is the other one stopped, and should this one lead?"


@click.command("takeover")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@config_option
@click.pass_obj
def command(session: Session, *, yes: bool) -> int:
    """Make this installation the leader, after a restore or a move, or in place of another
    dispatcher.

    One installation at a time starts runs for an ops repo; its name is on the remote, in
    refs/disinto/lead. Stop the other one first: it starts nothing more once it sees the change,
    and what it has started without a result in git would be started here again.

    Exits with 1 if the prompt was answered with no.
    """
    from dispatcher.assembly import build_components
    from dispatcher.loop.nudge import nudge

    parts = build_components(session.on_host("takeover"))
    leadership = parts.leadership
    report = leadership.report()
    if report.obstacle() is None and report.value is not None:
        console.say(f"this installation already leads: instance {report.instance}")
        return Exit.OK
    _show(report)
    if not yes and not console.confirmed(_QUESTION, to="take over"):
        console.note("nothing was changed")
        return Exit.FAILED
    record = leadership.take_over(report.value, who=console.person())
    nudge(session.settings.state_dir)
    if record is None:
        console.note(
            "the ledger now belongs to this installation; the remote does not keep "
            "refs/disinto/lead, so nothing prevents a second dispatcher on this ops repo"
        )
    else:
        console.say(f"this installation leads: instance {record.instance}")
    return Exit.OK


def _show(report: LeadReport) -> None:
    if report.copied is not None:
        console.say(report.copied.what)
    if report.value is None:
        console.say("no installation leads this ops repo: refs/disinto/lead is absent")
    elif report.record is None:
        console.say(f"refs/disinto/lead holds {report.value[:12]}, which no dispatcher wrote")
    else:
        record = report.record
        whose = "this installation, or the original of the copy" if report.ours else "another one"
        console.say(
            f"now led by {whose}: instance {record.instance} on host {record.host}, since "
            f"{record.since}"
        )
        console.say("(according to the ref, which anybody with push access can write)")
    console.note(
        "stop the other one first: whatever it has started and not published would run again"
    )
