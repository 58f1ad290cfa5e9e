"""The checks of ``disinto doctor`` for the sinks of notifications. Contacts none of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from dispatcher.errors import DisintoError
from dispatcher.model.checks import Check
from dispatcher.notify.notifier import failure
from dispatcher.notify.secrets import has_secret
from dispatcher.notify.sinks import check_sink, notices_of
from dispatcher.notify.store import SinkState, Store
from dispatcher.settings import NotifySettings, Settings, SinkKind


def check_sinks(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """Each sink's configuration, and its state when ``serve`` last used it."""
    if not settings.notify:
        return
    try:
        states = Store(settings.state_dir).states()
    except (sqlite3.Error, OSError) as error:
        states = {}
        yield Check(
            name="notify: store",
            ok=False,
            detail=f"the store of notifications cannot be read: {error}",
            remedy="Check the disk, and who owns notify.db in the state directory.",
        )
    sample = notices_of(settings, environ).test("doctor", now=0.0)
    for sink in settings.notify:
        name = f"notify: {sink.name}"
        try:
            check_sink(sink, environ, sample)
        except DisintoError as error:
            yield Check(name=name, ok=False, detail=error.what, remedy=error.remedy or "")
        else:
            yield _judged(name, sink, states.get(sink.name))


def _judged(name: str, sink: NotifySettings, state: SinkState | None) -> Check:
    sentence = failure(state)
    if sentence:
        remedy = f"Try it with: disinto notify test {sink.name}"
        return Check(name=name, ok=False, detail=sentence, remedy=remedy)
    detail = f"{sink.kind}, notified of {', '.join(sink.on)}"
    if state is not None:
        detail += f"; {state.sent} sent, {state.dropped} dropped, {state.waiting} wait"
    remedy = ""
    if sink.kind is SinkKind.WEBHOOK and not has_secret(sink):
        detail += "; not signed, so that a receiver cannot tell who sent a message"
        remedy = "Set secret_file or secret_env."
    return Check(name=name, ok=True, detail=detail, remedy=remedy)
