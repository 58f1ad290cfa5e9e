"""The engine ``nomad``: runs are dispatched jobs of Nomad."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from dispatcher.engines.base import Engine
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.model.job_class import RUNNER
from dispatcher.settings.jobs import RESOURCES

if TYPE_CHECKING:
    from dispatcher.engines.base import Scheduler
    from dispatcher.engines.nomad.administration import NomadAdministration
    from dispatcher.engines.nomad.api import NomadApi
    from dispatcher.ledger.base import Ledger
    from dispatcher.model.checks import Change, Check
    from dispatcher.model.job_class import JobVariant
    from dispatcher.settings import Settings

TIDYING_WHILE_KEPT_S = 60.0
"""Seconds between two checks for jobs past their retention: they are removed a minute late at
most."""


class NomadEngine(Engine):
    """See ``Engine``."""

    name = "nomad"
    title = "Nomad"
    section = NomadSettings
    administers = True
    class_keys = frozenset(RESOURCES)

    def scheduler(
        self, settings: Settings, environ: Mapping[str, str], *, wake: Callable[[], None]
    ) -> Scheduler:
        from dispatcher.engines.nomad.scheduler import NomadScheduler

        return NomadScheduler(_api(settings, environ), settings, wake=wake)

    def ledger(self, settings: Settings, environ: Mapping[str, str]) -> Ledger:
        from dispatcher.engines.nomad.ledger import NomadLedger

        return NomadLedger(_api(settings, environ), settings.section(NomadSettings))

    def web_url(self, settings: Settings, *, job: str, alloc: str) -> str:
        from urllib.parse import quote

        own = settings.section(NomadSettings)
        if not own.addr.startswith(("http://", "https://")):
            return ""
        ui = f"{own.addr.rstrip('/')}/ui"
        if alloc:
            return f"{ui}/allocations/{quote(alloc, safe='')}"
        namespace = quote(own.namespace or "default", safe="")
        return f"{ui}/jobs/{quote(job, safe='')}@{namespace}" if job else ""

    def obstacle(
        self, settings: Settings, environ: Mapping[str, str]
    ) -> Callable[[JobVariant], str]:
        api = cache(lambda: _api(settings, environ))  # opened by commands only, never by ``serve``

        def obstacle(variant: JobVariant) -> str:
            from dispatcher.engines.nomad import checks

            return checks.obstacle(api(), settings, variant)

        return obstacle

    def warnings(self, scheduler: Scheduler) -> tuple[str, ...]:
        """Jobs that were changed since ``apply`` registered them."""
        from dispatcher.engines.nomad.scheduler import NomadScheduler

        if not isinstance(scheduler, NomadScheduler):
            return ()
        return tuple(
            f"the job {name} differed from the rendered one when a run was last dispatched from "
            f"it: {drift}. Run `disinto plan`, then `disinto apply`."
            for name, drift in scheduler.drifted().items()
        )

    def checks(self, settings: Settings, environ: Mapping[str, str]) -> Iterable[Check]:
        from dispatcher.engines.nomad.checks import check_nomad

        return check_nomad(_api(settings, environ), settings)

    def administration(self, settings: Settings, environ: Mapping[str, str]) -> NomadAdministration:
        from dispatcher.engines.nomad.administration import NomadAdministration

        return NomadAdministration(_api(settings, environ), settings)

    def drift(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        in_use: Collection[JobVariant],
    ) -> tuple[Change, ...]:
        from dispatcher.engines.nomad.apply import drift, policies_for, rendered_jobs

        jobs = rendered_jobs(settings, in_use)
        return drift(_api(settings, environ), jobs, policies_for(settings))

    def kill_grace_s(self, settings: Settings, job_class: str = RUNNER) -> float:
        """See ``render.kill_grace_s``."""
        from dispatcher.engines.nomad.render import kill_grace_s

        return kill_grace_s(settings, job_class)

    def tidying_interval_s(self, settings: Settings) -> float:
        kept = settings.section(NomadSettings).keep_finished_s
        return TIDYING_WHILE_KEPT_S if kept else super().tidying_interval_s(settings)

    def without_retention(self, settings: Settings) -> Settings:
        purging = settings.section(NomadSettings).model_copy(update={"keep_finished_s": 0.0})
        return settings.model_copy(update={self.name: purging})

    def kept_output(self, settings: Settings) -> str:
        nomad = settings.section(NomadSettings)
        return (
            "from Nomad, which still has the finished job ([nomad] keep_finished_s = "
            f"{nomad.keep_finished_s:g}); complete up to {nomad.log_files} files of "
            f"{nomad.log_file_mb} MiB per stream"
        )

    def no_kept_output(self, settings: Settings) -> str:
        kept_s = settings.section(NomadSettings).keep_finished_s
        return f"Nomad no longer has a job of this run ([nomad] keep_finished_s = {kept_s:g})"


def _api(settings: Settings, environ: Mapping[str, str]) -> NomadApi:
    from dispatcher.engines.nomad.api import NomadApi

    return NomadApi(settings.section(NomadSettings), environ)


ENGINE = NomadEngine()
