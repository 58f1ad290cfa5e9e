"""``disinto audit``: the log of every decision."""

from __future__ import annotations

from dataclasses import asdict

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit

NAME = "audit.jsonl"


@click.group("audit")
def command() -> None:
    """The audit log: every decision with its reason, each record chained to the one before."""


@command.command("verify")
@click.option("--expect", default="", metavar="DIGEST", help="Digest printed by an earlier check.")
@json_option
@config_option
@click.pass_obj
def verify(session: Session, expect: str, *, as_json: bool) -> int:
    """Check that no record was changed, removed, moved or cut off.

    Anybody who can write the log and its head file can rewrite all of it. To detect that, keep
    the digest that this prints elsewhere, and pass it with --expect later: it must still be in the
    log.

    Exits with 1 if the chain is broken.
    """
    from dispatcher import audit

    path = session.on_host("audit").state_dir / NAME
    report = audit.verify(path)
    lost = bool(expect) and not audit.holds(path, expect)
    if as_json:
        console.emit({**asdict(report), "whole": not report.problems and not lost})
    else:
        for problem in report.problems:
            console.say(str(problem))
        if lost:
            console.say(f"{path}: no record has the digest {expect}")
        broken = report.problems or lost
        label = console.styled("FAIL", "red") if broken else console.styled("OK", "green")
        chain = "chain broken" if broken else "chain intact"
        console.say(f"{label}: {report.records} records, {chain}, head {report.digest}")
    return Exit.FAILED if report.problems or lost else Exit.OK
