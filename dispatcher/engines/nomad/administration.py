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
    registered_sets,
    rendered_jobs,
)
from dispatcher.engines.nomad.checks import offers
from dispatcher.engines.nomad.render import client_config
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import DisintoError
from dispatcher.model.checks import Change
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings


class NomadAdministration:
    """See ``dispatcher.engines.base.Administration``."""

    def __init__(self, api: NomadApi, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._plan = NomadPlan(policies=(), jobs=())
        self._deletions: tuple[Change, ...] = ()
        self._sets: Sequence[Collection[Mount]] = ()

    def plan(
        self,
        *,
        config_files: Mapping[str, str] | None,
        in_use: Callable[[], Collection[Collection[Mount]]],
    ) -> tuple[Change, ...]:
        """Jobs and ACL policies."""
        self._sets = (*registered_sets(self._api, self._settings), *in_use())
        self._plan = plan_nomad(
            self._api,
            rendered_jobs(self._settings, self._sets, config_files=config_files),
            policies_for(self._settings),
        )
        return self._plan.changes

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
        requested = frozenset(mount for mounts in self._sets for mount in mounts)
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
