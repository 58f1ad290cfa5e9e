"""``disinto notify``: the sinks of notifications, and a message that tries one."""

from __future__ import annotations

import os
import time

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.cli.tables import table
from dispatcher.errors import Exit, NotFound


@click.group("notify")
def command() -> None:
    """The sinks of notifications, the tables [[notify]] of the settings."""


@command.command("list")
@json_option
@config_option
@click.pass_obj
def list_(session: Session, *, as_json: bool) -> None:
    """List the sinks: what each is notified of, and what became of it."""
    from dispatcher.model.times import known_time
    from dispatcher.notify.store import SinkState, Store

    settings = session.on_host("notify")
    states = Store(settings.state_dir).states()
    sinks = [(sink, states.get(sink.name, SinkState(name=sink.name))) for sink in settings.notify]
    if as_json:
        console.emit(
            [
                {
                    "name": sink.name,
                    "kind": sink.kind,
                    "on": list(sink.on),
                    "waiting": state.waiting,
                    "sent": state.sent,
                    "dropped": state.dropped,
                    "sent_at": known_time(state.sent_at),
                    "failing_since": known_time(state.failing_since),
                    "error": state.error or None,
                }
                for sink, state in sinks
            ]
        )
        return
    table(
        ("NAME", "KIND", "SENT", "WAITING", "DROPPED", "ON", "NOTE"),
        [
            (
                sink.name,
                sink.kind,
                str(state.sent),
                str(state.waiting),
                str(state.dropped),
                ", ".join(sink.on),
                _note(state.failing_since, state.error),
            )
            for sink, state in sinks
        ],
    )
    console.note(f"{len(sinks)} sinks" if sinks else "no sinks: add [[notify]] to disinto.toml")


@command.command("test")
@click.argument("name", metavar="NAME")
@config_option
@click.pass_obj
def test(session: Session, name: str) -> int:
    """Send one message to a sink, at once, whatever it is notified of.

    Uses the secrets that 'disinto serve' uses: run it as the same user, with the same environment.
    """
    from dispatcher.notify.base import MessageRefused, SinkUnavailable
    from dispatcher.notify.sinks import notices_of, open_sink

    settings = session.on_host("notify")
    sink = next((configured for configured in settings.notify if configured.name == name), None)
    if sink is None:
        names = ", ".join(configured.name for configured in settings.notify)
        raise NotFound(
            f"there is no sink {console.clean(name)!r}",
            remedy=f"There are: {names}." if names else "Add [[notify]] to disinto.toml.",
        )
    notices = notices_of(settings, os.environ)
    try:
        warning = open_sink(sink, os.environ).send(notices.test(name, now=time.time()))
    except (SinkUnavailable, MessageRefused) as error:
        console.say(f"{name}: not sent: {notices.cleaner.line(str(error), 500)}")
        return Exit.FAILED
    console.say(f"{name}: sent{f', but {notices.cleaner.line(warning)}' if warning else ''}")
    return Exit.OK


def _note(failing_since: float, error: str) -> str:
    if not failing_since:
        return error
    return f"failing for {console.ago(failing_since)}: {error}"
