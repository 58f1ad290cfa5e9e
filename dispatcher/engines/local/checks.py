"""Checks of what runs on this machine need: the sandbox, the user, and the mounts' directories."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from dispatcher.engines.local import sandbox
from dispatcher.engines.local.hiding import hidden
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.model.checks import Check, looked
from dispatcher.settings import Settings


def check_local(settings: Settings) -> Iterator[Check]:
    """All checks of the local engine, in the order in which to fix them."""
    yield from looked("local: sandbox", lambda: _sandbox(settings))
    yield _user()
    yield from _agent(settings)
    yield from _python(settings)
    for mount, directory in settings.section(LocalSettings).mounts.items():
        exists = directory.is_dir()
        yield Check(
            name=f"local: mount {mount}",
            ok=exists,
            detail=f"{directory}" if exists else f"there is not a directory {directory}",
            remedy="" if exists else f"Create it, or change [local] mounts {mount}.",
        )


def _sandbox(settings: Settings) -> Iterator[Check]:
    local = settings.section(LocalSettings)
    box, reason = sandbox.find(settings)
    unprotected = box is None and local.mounts and not local.allow_unprotected_mounts
    yield Check(
        name="local: sandbox",
        ok=not unprotected,
        detail="bubblewrap isolates runs from each other's files" if box else reason,
        remedy="Install bubblewrap, or set [local] allow_unprotected_mounts = true."
        if unprotected
        else "",
    )


def _agent(settings: Settings) -> Iterator[Check]:
    """Whether the sandbox shows formulas the files that the agent's command names."""
    command, local = settings.agent.command, settings.section(LocalSettings)
    if not command or not local.bubblewrap or shutil.which("bwrap") is None:
        return
    program = shutil.which(command[0], path=local.path)
    hiding = hidden(settings, ())
    for argument in (program or "", *command[1:]):
        if Path(argument).is_absolute() and hiding.holds(Path(os.path.realpath(argument))):
            yield Check(
                name="local: agent",
                ok=False,
                detail=f"[agent] command names {argument}, which is hidden from formulas",
                remedy="Move it out of the dispatcher's state directory, its user's home directory "
                "and the directories of mounts, for example to /opt.",
            )


def _python(settings: Settings) -> Iterator[Check]:
    """Whether the sandbox shows ``$DISINTO_PYTHON``, with which provisioners are started."""
    if "provision" not in settings.formulas.classes.values() or sandbox.find(settings)[0] is None:
        return
    hiding = hidden(settings, ())
    for path in dict.fromkeys((sys.executable, os.path.realpath(sys.executable))):
        if hiding.holds(Path(os.path.realpath(Path(path).parent)) / Path(path).name):
            yield Check(
                name="local: Python",
                ok=False,
                detail=f"formulas of the job class provision run {path}, which is hidden from them",
                remedy="Install disinto outside of home directories, for example in /opt, or set "
                "[local] hide_home = false.",
            )
            return


def _user() -> Check:
    """Advice rather than a failure: some machines have no other user."""
    root = os.geteuid() == 0
    return Check(
        name="local: user",
        ok=True,
        detail="formulas run as root" if root else f"formulas run as user {os.geteuid()}",
        remedy="Run disinto as a dedicated user that owns nothing else: as root, a formula can "
        "read every file of this machine."
        if root
        else "",
    )
