"""The checks of ``disinto doctor`` for a ``serve`` that runs here: whether it works by the files as they are
now.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dispatcher.loop.own_settings import SETTINGS
from dispatcher.loop.rule_files import digest, read_rules, superseded, watched
from dispatcher.model.checks import Check
from dispatcher.settings import Settings
from dispatcher.status import status_file


def settings_in_force(settings: Settings, file: Path | None) -> Iterator[Check]:
    """Whether a ``serve`` that runs here was started with the settings as they are now."""
    status = status_file.read(settings.state_dir)
    if file is None or status is None or not status.fresh:
        return
    started = status.overview.rules.get(SETTINGS)
    if started and started != digest(read_rules(file)):
        yield Check(
            name="serve: settings in force",
            ok=True,
            detail=f"{file} was changed, which takes effect when 'disinto serve' is restarted",
            remedy="Restart 'disinto serve'; runs go on meanwhile. 'disinto status' has the keys.",
        )


def rules_in_force(settings: Settings) -> Iterator[Check]:
    """Whether a ``serve`` that runs here has loaded the files of the rules as they are."""
    status = status_file.read(settings.state_dir)
    if status is None or not status.fresh:
        return
    for older in superseded(status.overview.rules, watched(settings)):
        remedy = "Correct what the checks below find in the file; 'disinto status' has the error."
        yield Check(name="serve: rules in force", ok=True, detail=older, remedy=remedy)
