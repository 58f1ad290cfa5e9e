"""``disinto serve``: the dispatcher itself, with its log, status file, nudge file and listener."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from dispatcher.cli import console
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session
from dispatcher.errors import Exit, Misconfigured

if TYPE_CHECKING:
    from dispatcher.cli.journal import Journal
    from dispatcher.listener.hooks import PushHook
    from dispatcher.listener.serving import Listener
    from dispatcher.loop.components import Components
    from dispatcher.loop.serve import Service
    from dispatcher.notify.notifier import Notifier
    from dispatcher.settings import Settings
    from dispatcher.settings_origin import Origin
    from dispatcher.sidecar.service import SidecarService
    from dispatcher.status.metrics import Metrics
    from dispatcher.status.questions import AnswerSocket
    from dispatcher.status.snapshot import Snapshots
    from dispatcher.status.standby import StandbyFile
    from dispatcher.status.status_file import StatusFile
    from dispatcher.trace.service import TracedService


@click.command("serve")
@click.option(
    "--once", is_flag=True, help="Exit when nothing is left to do; do not listen for webhooks."
)
@config_option
@click.pass_obj
def command(session: Session, *, once: bool) -> int:
    """Run the dispatcher: approved actions become runs, and runs become results.

    One at a time leads; a second one waits, and takes over when the first is gone. Ctrl-C or
    SIGTERM stops it: runs continue, and the next 'serve' picks them up. SIGHUP makes it reload the
    policy and the key files at once; it notices changes by itself within 30 seconds.

    The log goes to standard error: readable lines on a terminal, otherwise JSON. Health, metrics
    and the webhook are on [http] listen.
    """
    from dispatcher.assembly import (
        build_components,
        build_service,
        open_notifier,
        open_origin,
        open_sidecars,
        open_traces,
    )
    from dispatcher.cli import interpreter
    from dispatcher.cli.journal import Journal
    from dispatcher.listener.deferred import DeferredListener
    from dispatcher.loop.nudge import NudgeFile
    from dispatcher.operate.forecast import in_use
    from dispatcher.status.metrics import Metrics
    from dispatcher.status.snapshot import Counted, Snapshots, Trackers

    # Until the files are read there is nothing to reload; and it must not end what just began.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    origin, settings = open_origin(session.config), session.on_host("serve")
    if not settings.ops_repo.remote:
        remedy = "Set [ops_repo] remote in disinto.toml."
        raise Misconfigured("no ops repo is configured", remedy=remedy)
    components = build_components(settings, settings_file=session.file)
    journal = Journal(level=settings.log_level)
    notifier = open_notifier(settings, os.environ, journal)
    if notifier is not None:
        components = notified(components, notifier)
    components, sidecars = with_sidecars(components, open_sidecars(components, os.environ))
    components, traced = with_traces(components, open_traces(components))
    metrics = Metrics()
    pulse = Snapshots(in_use(settings), warnings=components.warnings)
    status_file, standby, questions = for_commands(
        components,
        origin,
        pulse,
        lambda where, error: watches.event("defect", where=where, error=error),
    )
    metrics.watch(pulse.health, forge_calls=components.forge_calls)
    door = DeferredListener(
        lambda: listener(service, components, pulse=pulse, metrics=metrics, sidecars=sidecars),
        give_up=lambda: service.stop(),  # noqa: PLW0108 - made after the door
    )
    followers = (pulse, status_file, standby, questions, Counted(metrics), journal, door)
    watches = Trackers(*followers, *(each for each in (notifier, traced) if each))
    service = build_service(components, watches)
    with contextlib.ExitStack() as open_things:
        for part in (status_file, standby, questions, notifier, sidecars, traced):
            open_things.enter_context(part or contextlib.nullcontext())
        open_things.enter_context(NudgeFile(settings.state_dir, service.look_now))
        if settings.http.listen and not once:
            open_things.enter_context(door)
        interrupted = open_things.enter_context(stopped_by_signals(service))
        open_things.enter_context(reloads_on_hangup(service))
        journal.event("serving", remote=_shown(settings.ops_repo.remote), pid=os.getpid())
        if not once:
            with service.stops_git():
                _say_what_is_missing(components, service, journal)
        interpreter.prepare()
        service.run(once=once)
    if door.error is not None:
        raise door.error
    in_flight = pulse.health().in_flight
    journal.event("stopped", in_flight=in_flight)
    if interrupted() and console.interactive(sys.stderr):
        console.note(f"disinto: {_left_running(in_flight)}")
    return 130 if interrupted() else Exit.OK


def notified(components: Components, notifier: Notifier) -> Components:
    """The same parts, with results handed to the notifier and its warnings among theirs."""
    warnings = components.warnings
    return replace(
        components, notices=notifier, warnings=lambda: (*warnings(), *notifier.warnings())
    )


def for_commands(
    components: Components,
    origin: Origin | None,
    snapshots: Snapshots,
    defect: Callable[[str, Exception], None],
) -> tuple[StatusFile, StandbyFile, AnswerSocket]:
    """What other commands here read of this ``serve``, and ask it: trackers, not yet open.

    Args:
        defect: called with the name of what failed unexpectedly, and the error.
    """
    from dispatcher.assembly import given
    from dispatcher.cli.answers import answers
    from dispatcher.status.last_results import LastResults
    from dispatcher.status.questions import AnswerSocket
    from dispatcher.status.standby import StandbyFile
    from dispatcher.status.status_file import StatusFile

    settings = components.settings
    last_results = LastResults(components.repo)
    status_file = StatusFile(
        settings.state_dir,
        snapshots.overview,
        defect=lambda error: defect("status file", error),
        given=given(settings, origin),
        results=lambda overview: last_results.of(overview.newest),
    )
    questions = AnswerSocket(
        settings.state_dir,
        origin=origin,
        answers=answers(components, snapshots, status_file.written, os.environ),
        defect=lambda error: defect("answer", error),
    )
    return status_file, StandbyFile(settings.state_dir), questions


def with_sidecars(
    components: Components, sidecars: SidecarService | None
) -> tuple[Components, SidecarService | None]:
    """The same parts, with issues among the sources; and what watches them."""
    if sidecars is None:
        return components, None
    return replace(components, sources=(*components.sources, sidecars.source)), sidecars


def with_traces(
    components: Components, traced: TracedService | None
) -> tuple[Components, TracedService | None]:
    """The same parts, wrapped so that they leave traces; and what follows the loop for that."""
    return (components, None) if traced is None else (traced.components, traced)


def _left_running(in_flight: int) -> str:
    if not in_flight:
        return "stopped; no runs in progress"
    runs = "1 run keeps running" if in_flight == 1 else f"{in_flight} runs keep running"
    return f"stopped; {runs}, and the next 'disinto serve' publishes their results"


def _say_what_is_missing(components: Components, service: Service, journal: Journal) -> None:
    """Look at everything before the first round. What is wrong is said with its remedy, and stops
    nothing: the loop waits for what is away, and a person may mend the rest meanwhile.
    """
    from dispatcher.assembly import doctor_openers
    from dispatcher.operate.doctor import diagnose

    settings = components.settings
    openers = doctor_openers(settings, os.environ, repo=components.repo)
    for check in diagnose(settings, openers, os.environ):
        if service.stopping:
            return
        if check.remedy or not check.ok:
            journal.event("unfit", check=check.name, detail=check.detail, remedy=check.remedy)


def listener(
    service: Service,
    components: Components,
    *,
    pulse: Snapshots,
    metrics: Metrics,
    sidecars: SidecarService | None = None,
) -> Listener:
    """The listener for health, metrics and the webhook, not yet open.

    Raises:
        Misconfigured: the address cannot be opened, or the webhook's secret is of no use.
    """
    from dispatcher.listener.app import App
    from dispatcher.listener.serving import Listener

    hook = push_hook(components.settings, watched=sidecars.watched if sidecars else None)
    if hook is not None:
        components.rules.on_webhook_secret(hook.renew)
    app = App(
        health=pulse.health,
        metrics=metrics,
        wake=service.look_now,
        moved=service.branch_moved,
        merged=service.request_merged,
        hook=hook,
        issues=sidecars.watcher.hurry if sidecars else lambda _repository: None,
        ended=components.scheduler.told,
    )
    return Listener(app, listen=components.settings.http.listen)


def push_hook(
    settings: Settings, *, watched: Callable[[str], bool] | None = None
) -> PushHook | None:
    """The judge of webhook calls; None if no secret is configured.

    Args:
        watched: whether a repository's issues are watched; None for none.

    Raises:
        Misconfigured: the secret's file cannot be read, or the secret is too short.
    """
    from dispatcher.listener.hooks import PushHook

    secret = os.environ.get(settings.http.webhook_secret_env, "").encode()
    file = settings.http.webhook_secret_file
    if not secret and file is not None:
        try:
            secret = file.read_bytes().strip()
        except OSError as error:
            raise Misconfigured(
                f"[http] webhook_secret_file {file} cannot be read: {error.strerror}"
            ) from error
    if not secret:
        return None
    return PushHook(
        secret=secret,
        repository=settings.forge.repository,
        branch=settings.ops_repo.branch,
        watched=watched or (lambda _repository: False),
    )


@contextlib.contextmanager
def stopped_by_signals(service: Service) -> Iterator[Callable[[], bool]]:
    """End the service on SIGTERM and Ctrl-C; a second Ctrl-C ends it at once.

    Yields a question: was it Ctrl-C?
    """
    heard: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if heard and number == signal.SIGINT:
            raise KeyboardInterrupt
        heard.append(number)
        service.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: signal.SIGINT in heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def reloads_on_hangup(service: Service) -> Iterator[None]:
    """Have the service read its rules on SIGHUP, which would end it otherwise."""
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: service.reload())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _shown(remote: str) -> str:
    """The remote without a password that somebody wrote into it."""
    scheme, separator, rest = remote.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else remote
