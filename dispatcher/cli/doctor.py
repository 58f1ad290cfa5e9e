"""``disinto doctor``: every dependency, right and setting, with the remedy for what is wrong."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import click

from dispatcher.cli.checks import report_checks
from dispatcher.cli.options import config_option, json_option
from dispatcher.cli.session import Session
from dispatcher.errors import DisintoError

if TYPE_CHECKING:
    from dispatcher.model.checks import Check


@click.command("doctor")
@click.option("--deep", is_flag=True, help="Run a formula that does nothing, end to end.")
@json_option
@config_option
@click.pass_obj
def command(session: Session, *, deep: bool, as_json: bool) -> int:
    """Check every dependency, permission and setting; show how to fix what is wrong.

    Uses the permissions of 'disinto serve': run it as the same user, with the same
    environment. Changes nothing but the clone, which it fetches.

    With --deep, it also does a complete trial run: a grant is minted, the engine runs a formula
    that does nothing, the grant is revoked. The run's id begins with doctor-; it has no claim, no
    secret and no result, and is removed at the end, also after Ctrl-C. It takes two minutes at
    most.

    Exits with 1 if anything is wrong.
    """
    with contextlib.ExitStack() as stack:
        results = [_checks(session)]
        if deep:
            results.append(stack.enter_context(contextlib.closing(_deep(session))))
        return report_checks(itertools.chain(*results), as_json=as_json)


def _checks(session: Session) -> Iterator[Check]:
    from dispatcher.assembly import doctor_openers
    from dispatcher.model.checks import Check
    from dispatcher.operate.doctor import diagnose, wrong_settings
    from dispatcher.operate.in_force_checks import settings_in_force

    try:
        settings = session.settings
        file = session.file
    except DisintoError as error:
        yield from wrong_settings(error)
        return
    yield Check(
        name="settings", ok=True, detail=str(file or "no settings file; using the defaults")
    )
    yield from settings_in_force(settings, file)
    yield from diagnose(settings, doctor_openers(settings, os.environ), os.environ)


def _deep(session: Session) -> Generator[Check, None, None]:
    """The trial run. Nothing if the settings cannot be read, which was reported before."""
    from dispatcher import assembly
    from dispatcher.engines import registry
    from dispatcher.model.checks import failed
    from dispatcher.operate.trial_run import Trial
    from dispatcher.vault import Grants

    try:
        settings = session.settings
    except DisintoError:
        return
    try:
        vault = assembly.open_vault(settings, os.environ)
        engine = registry.get(settings.scheduler)
        scheduler = assembly.open_scheduler(engine.without_retention(settings), os.environ)
    except Exception as error:  # noqa: BLE001 - it becomes a failed check
        yield failed("deep", error)
        return
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        yield from Trial(settings, Grants(vault, settings), scheduler).checks()
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
