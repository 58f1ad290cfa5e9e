"""Look at what runs on this machine need: the sandbox, the user, and the directories of mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dispatcher.engines.local import sandbox
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.model.checks import Check, looked
from dispatcher.settings import Settings


def check_local(settings: Settings) -> Iterator[Check]:
    """Everything about the local engine, in the order in which one would mend it."""
    yield from looked("local: sandbox", lambda: _sandbox(settings))
    yield _user()
    for mount, directory in settings.section(LocalSettings).mounts.items():
        found = directory.is_dir()
        yield Check(
            name=f"local: mount {mount}",
            ok=found,
            detail=f"{directory}" if found else f"there is not a directory {directory}",
            remedy="" if found else f"Create it, or change [local] mounts {mount}.",
        )


def _sandbox(settings: Settings) -> Iterator[Check]:
    local = settings.section(LocalSettings)
    found, reason = sandbox.find(settings)
    unprotected = found is None and local.mounts and not local.allow_unprotected_mounts
    yield Check(
        name="local: sandbox",
        ok=not unprotected,
        detail="bubblewrap isolates runs from each other's files" if found else reason,
        remedy="Install bubblewrap, or set [local] allow_unprotected_mounts = true."
        if unprotected
        else "",
    )


def _user() -> Check:
    """Advice, and no fault: there are machines with no other user."""
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
