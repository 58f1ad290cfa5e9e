"""The part of ``disinto apply`` on Nomad: planned first, then written or removed as planned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from dispatcher.engines.nomad import removal
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.apply import (
    NomadPlan,
    apply_nomad,
    plan_nomad,
    policies_for,
    registered,
    rendered_jobs,
    variants,
)
from dispatcher.engines.nomad.checks import offers
from dispatcher.engines.nomad.render import client_config
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import DisintoError
from dispatcher.model.checks import Change, Step
from dispatcher.model.job_class import RUNNER, JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings


class NomadAdministration:
    """See ``dispatcher.engines.base.Administration``."""

    def __init__(self, api: NomadApi, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._plan = NomadPlan(policies=(), jobs=())
        self._deletions: tuple[Change, ...] = ()
        self._variants: Sequence[JobVariant] = ()

    def plan(
        self,
        *,
        config_files: Mapping[str, str] | None,
        page_files: Mapping[str, str] | None = None,
        in_use: Callable[[], Collection[JobVariant]],
        remove_stale: bool = False,
    ) -> tuple[Change, ...]:
        """Jobs and ACL policies."""
        held = registered(self._api, self._settings)
        self._variants = (*held.variants, *in_use())
        self._plan = plan_nomad(
            self._api,
            rendered_jobs(
                self._settings, self._variants, config_files=config_files, page_files=page_files
            ),
            policies_for(self._settings),
        )
        left_over = removal.left_over(held, remove=remove_stale)
        self._deletions = tuple(each for each in left_over if each.step is Step.DELETE)
        return (*self._plan.changes, *left_over)

    def plan_removal(self) -> tuple[Change, ...]:
        """Jobs and ACL policies that bear our names."""
        self._deletions = removal.plan_removal(self._api, self._settings)
        return self._deletions

    def carry_out(self) -> tuple[str, ...]:
        """Returns Nomad's warnings about jobs."""
        removal.remove(self._api, self._deletions)
        return apply_nomad(self._api, self._plan)

    def advice(self) -> str:
        """What the configuration of Nomad's clients lacks for the mounts that were planned, or ""
        if some node offers each of them, or that cannot be determined.
        """
        planned = variants(self._settings, self._variants)
        named = [v for v in planned if v.job_class != RUNNER] + list(self._variants)
        requested = frozenset(mount for variant in named for mount in variant.mounts)
        if not requested:
            return ""
        try:
            offered = offers(self._api)
        except DisintoError:
            return ""  # `disinto doctor` says why
        missing = [mount for mount in Mount if mount in requested and not offered[mount]]
        if not missing:
            return ""
        nomad = self._settings.section(NomadSettings)
        needed = client_config(nomad, mounts=missing)
        return f"no Nomad node offers these volumes yet; a client needs:\n{needed}"
