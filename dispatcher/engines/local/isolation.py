"""Isolation of runs from the rest of this machine: bubblewrap, or none if the settings allow it."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.engines.base import CannotSubmit
from dispatcher.engines.local import sandbox
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.local.spool import Spool
from dispatcher.model.run import FormulaKind, RunSpec
from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from dispatcher.settings import Settings


class Isolation:
    """Isolates runs as the settings require.

    Args:
        runs: parent of the runs' directories.
    """

    def __init__(self, settings: Settings, *, runs: Path) -> None:
        self._settings = settings
        self._runs = runs

    def command(self, spool: Spool, spec: RunSpec) -> list[str]:
        """The sandbox's command line; empty if there is no sandbox.

        Raises:
            CannotSubmit: a mount is not offered, or cannot be protected.
            Misconfigured: see ``sandbox.find``.
        """
        local = self._settings.section(LocalSettings)
        for mount in spec.mounts:
            directory = local.mounts.get(mount)
            if directory is None:
                raise CannotSubmit(
                    f"the mount {mount} is not offered",
                    verdict=Verdict.UNPLACEABLE,
                    remedy=f"Set its directory in [local.mounts] {mount}.",
                )
            if not os.path.isdir(directory):  # noqa: PTH112 - also False if permission is denied
                raise CannotSubmit(
                    f"the directory {directory} of the mount {mount} does not exist or is not "
                    "accessible",
                    verdict=Verdict.UNPLACEABLE,
                    remedy=f"Create it, or set another in [local.mounts] {mount}.",
                )
        box, why_not = self._sandbox
        if box is not None:
            return box.command(spool, spec.mounts, agent=spec.formula.kind is FormulaKind.AGENT)
        if spec.mounts and not local.allow_unprotected_mounts:
            raise CannotSubmit(
                f"mounts cannot be protected: {why_not}",
                verdict=Verdict.UNPLACEABLE,
                remedy="Install bubblewrap, or set [local] allow_unprotected_mounts = true.",
            )
        return []

    def link_mounts(self, spool: Spool, spec: RunSpec) -> None:
        """Link the mounts of a run without a sandbox into its home directory."""
        for mount in spec.mounts:
            link = spool.home / mount.place
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._settings.section(LocalSettings).mounts[mount].absolute())

    @cached_property
    def _sandbox(self) -> tuple[sandbox.Sandbox | None, str]:
        """Cached unless it raises: an operator may fix an unusable sandbox in the meantime."""
        # The state directory must exist to be hidden.
        self._runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        return sandbox.find(self._settings)
