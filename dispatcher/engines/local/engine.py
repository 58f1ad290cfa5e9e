"""The engine ``local``: runs are processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.engines.base import Engine
from dispatcher.engines.local.settings import LocalSettings
from dispatcher.model.job_class import RUNNER
from dispatcher.settings.jobs import class_settings

if TYPE_CHECKING:
    from dispatcher.engines.base import Scheduler
    from dispatcher.model.checks import Check
    from dispatcher.model.mounts import Mount
    from dispatcher.settings import Settings


class LocalEngine(Engine):
    """See ``Engine``."""

    name = "local"
    title = "the local engine"
    section = LocalSettings

    def scheduler(
        self, settings: Settings, environ: Mapping[str, str], *, wake: Callable[[], None]
    ) -> Scheduler:
        from dispatcher.engines.local.scheduler import LocalScheduler

        return LocalScheduler(settings, wake=wake)

    def mounts(self, settings: Settings) -> tuple[Mount, ...]:
        return tuple(settings.section(LocalSettings).mounts)

    def checks(self, settings: Settings, environ: Mapping[str, str]) -> Iterable[Check]:
        from dispatcher.engines.local.checks import check_local

        return check_local(settings)

    def agent_path(self, settings: Settings) -> str:
        return settings.section(LocalSettings).path

    def kill_grace_s(self, settings: Settings, job_class: str = RUNNER) -> float:
        of_class = class_settings(settings, job_class).kill_grace_s
        return of_class or settings.section(LocalSettings).kill_grace_s

    def kept_logs(self, settings: Settings) -> Path:
        from dispatcher.engines.local.output import kept_logs

        return kept_logs(settings.state_dir)

    def kept_output(self, settings: Settings) -> str:
        local = settings.section(LocalSettings)
        return (
            f"from {settings.state_dir / 'logs'}, the full log ([local] keep_logs_s = "
            f"{local.keep_logs_s:g}); complete up to {local.log_limit_mb} MiB per stream"
        )

    def no_kept_output(self, settings: Settings) -> str:
        keep_s = settings.section(LocalSettings).keep_logs_s
        return (
            f"{settings.state_dir / 'logs'} has none; it is kept on the dispatcher's host for "
            f"{keep_s:g} s ([local] keep_logs_s), and not at all if the run wrote nothing"
        )


ENGINE = LocalEngine()
