"""Prints the checks of a doctor as they are made, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from dispatcher.cli import console
from dispatcher.errors import Exit
from dispatcher.model.checks import Check


def report_checks(checks: Iterable[Check], *, as_json: bool) -> Exit:
    """Print each check, or all as JSON; returns ``FAILED`` if anything is wrong."""
    made = []
    for check in checks:
        made.append(check)
        if not as_json:
            _show(check)
    wrong = [check for check in made if not check.ok]
    if as_json:
        console.emit({"ok": not wrong, "checks": [_plain(check) for check in made]})
    else:
        passed = f"{len(made) - len(wrong)} checks passed"
        console.note(f"{len(wrong)} failed, {passed}" if wrong else passed)
        if warnings := sum(check.warning for check in made):
            console.note(f"{warnings} marked warn: these work, but deserve attention")
    return Exit.FAILED if wrong else Exit.OK


def _plain(check: Check) -> dict[str, object]:
    return {**asdict(check), "warning": check.warning}


def _show(check: Check) -> None:
    label = console.styled("ok   ", "green") if check.ok else console.styled("FAIL ", "red")
    if check.warning:
        label = console.styled("warn ", "yellow")
    console.say(f"{label}  {check.name}: {check.detail}")
    if check.remedy:
        console.say(f"       {check.remedy}")
