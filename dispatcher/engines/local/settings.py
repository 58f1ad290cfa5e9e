"""The section ``[local]`` of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from dispatcher.model.mounts import Mount
from dispatcher.settings.jobs import class_names, class_settings
from dispatcher.settings.models import Settings
from dispatcher.settings.section import Contradiction, EngineSection, PositiveSeconds, wrong


class LocalSettings(EngineSection):
    """The local engine: runs are processes on this machine."""

    mounts: dict[Mount, Path] = Field(
        default_factory=dict, description="Directory offered for each mount."
    )
    allow_unprotected_mounts: bool = Field(
        default=False,
        description="Offer mounts without bubblewrap: as links, and not protected from writing.",
    )
    bubblewrap: bool = Field(
        default=True,
        description="Run formulas in bubblewrap if it is installed: the machine's files are "
        "read-only; the dispatcher's own files and mounts that were not requested are hidden. If "
        "it is installed but unusable, nothing is started.",
    )
    hide_home: bool = Field(
        default=True,
        description="In bubblewrap, also hide the home directory of the dispatcher's user; turn it "
        "off if formulas need programs installed there.",
    )
    path: str = Field(
        default="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        description="PATH of formulas.",
    )
    log_limit_mb: int = Field(
        default=64, gt=0, description="Size limit of the log per stream and run, MiB."
    )
    keep_logs_s: float = Field(
        default=604_800.0,
        ge=0,
        description="Seconds the full, redacted logs of a finished run are kept in "
        "<state_dir>/logs for 'disinto logs'.",
    )
    kill_grace_s: PositiveSeconds = Field(
        default=10.0, description="Seconds between TERM and KILL."
    )

    def contradictions(self, name: str, settings: Settings) -> Iterator[Contradiction]:
        """See ``EngineSection``."""
        if settings.scheduler != name:
            return
        for each in class_names(settings):
            missing = [m for m in class_settings(settings, each).mounts if m not in self.mounts]
            if missing:
                table = ("jobs", each) if each in settings.jobs else ("formulas", "classes")
                yield wrong(
                    f"the job class {each} has the mount {missing[0]}, which is not offered here",
                    *table,
                    remedy=f"Add {missing[0]} to [local.mounts], or set mounts in [jobs.{each}]",
                )
