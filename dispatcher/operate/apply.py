"""Administration: Vault and Nomad compared with the settings, then brought to them.

With the rights of an operator, never with the dispatcher's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

from dispatcher.engines.nomad import removal as nomad_removal
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
from dispatcher.errors import DisintoError
from dispatcher.model.checks import Change, Step
from dispatcher.model.run import Mount
from dispatcher.settings import SchedulerKind, Settings, VaultAuth
from dispatcher.vault import Vault, removal
from dispatcher.vault import apply as vault_apply

VAULT, NOMAD = "vault", "nomad"


class Administration:
    """Plans first, then carries out exactly what was planned.

    Args:
        settings: what should be.
        environ: where the operator's tokens are.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._vault: Vault | None = None
        self._nomad: NomadApi | None = None
        self._vault_changes: Sequence[vault_apply.Change] = ()
        self._nomad_plan: NomadPlan | None = None
        self._sets: Sequence[Collection[Mount]] = ()
        self._nomad_removal: tuple[Change, ...] = ()

    def plan_removal(self, *, only: str) -> tuple[Change, ...]:
        """What ``apply`` wrote, as far as it is provably ours; removes nothing yet.

        Args:
            only: ``vault``, ``nomad``, or "" for all that the settings use.

        Raises:
            Conflict: runs are in progress.
            Unavailable, Denied, Misconfigured: a server, or what it holds.
        """
        changes: list[Change] = []
        if only == NOMAD or (not only and self._settings.scheduler is SchedulerKind.NOMAD):
            self._nomad = NomadApi(self._settings.nomad, self._environ)
            self._nomad_removal = nomad_removal.plan_removal(self._nomad, self._settings)
            changes += self._nomad_removal
        if only in ("", VAULT):
            self._vault = Vault.of_operator(self._settings.vault, environ=self._environ)
            self._vault_changes = removal.plan_removal(self._vault, self._settings)
            changes += [_of_vault(change) for change in self._vault_changes]
        return tuple(changes)

    def plan(
        self,
        *,
        only: str,
        remove_stale: bool,
        config_files: Mapping[str, str] | None,
        in_use: Callable[[], Collection[Collection[Mount]]] = tuple,
        adopt: bool = False,
    ) -> tuple[Change, ...]:
        """Compare; writes nothing.

        Args:
            only: ``vault``, ``nomad``, or "" for all that the settings use.
            remove_stale: delete policies of secrets that are gone, and what earlier releases wrote.
            adopt: take over policies of an installation of our name with another ops repo.
            config_files: for the dispatcher's own job, or None to leave it out.
            in_use: asked for the sets of mounts that open actions want, where Nomad is planned.

        Raises:
            Unavailable, Denied, Misconfigured: a server, or what it holds.
        """
        changes: list[Change] = []
        with_nomad = self._settings.scheduler is SchedulerKind.NOMAD
        if only in ("", VAULT):
            self._vault = Vault.of_operator(self._settings.vault, environ=self._environ)
            planned = vault_apply.plan_vault(
                self._vault, self._settings, remove_stale=remove_stale, adopt=adopt
            )
            if self._settings.vault.auth is VaultAuth.JWT:
                planned += vault_apply.plan_jwt(self._vault, self._settings)
            self._vault_changes = planned
            changes += [_of_vault(change) for change in planned]
        if only == NOMAD or (not only and with_nomad):
            self._nomad = NomadApi(self._settings.nomad, self._environ)
            self._sets = (*registered_sets(self._nomad, self._settings), *in_use())
            self._nomad_plan = plan_nomad(
                self._nomad,
                rendered_jobs(self._settings, self._sets, config_files=config_files),
                policies_for(self._settings),
            )
            changes += self._nomad_plan.changes
        return tuple(changes)

    def carry_out(self) -> tuple[str, ...]:
        """Write what was planned; returns warnings.

        Raises:
            Conflict: somebody changed a job since.
            Unavailable, Denied: after some of it was written; planning anew shows the rest.
        """
        warnings: tuple[str, ...] = ()
        if self._nomad is not None and self._nomad_removal:
            nomad_removal.remove(self._nomad, self._nomad_removal)
        if self._vault is not None:
            vault_apply.apply_changes(self._vault, self._vault_changes)
        if self._nomad is not None and self._nomad_plan is not None:
            warnings = apply_nomad(self._nomad, self._nomad_plan)
        return warnings

    def client_config(self) -> str:
        """What the configuration of Nomad's clients lacks for the mounts that were planned, or ""
        where some node offers each of them, or that cannot be known.
        """
        wanted = frozenset(mount for mounts in self._sets for mount in mounts)
        if self._nomad is None or not wanted:
            return ""
        try:
            offered = offers(self._nomad)
        except DisintoError:
            return ""  # `disinto doctor` says why
        missing = [mount for mount in Mount if mount in wanted and not offered[mount]]
        return client_config(self._settings.nomad, mounts=missing) if missing else ""


_STEPS = {
    vault_apply.ChangeKind.CREATE: Step.CREATE,
    vault_apply.ChangeKind.UPDATE: Step.UPDATE,
    vault_apply.ChangeKind.DELETE: Step.DELETE,
    vault_apply.ChangeKind.UNCHANGED: Step.NOTHING,
    vault_apply.ChangeKind.STALE: Step.NOTHING,
}


def _of_vault(change: vault_apply.Change) -> Change:
    kind = {"stale": "left over in vault"}
    return Change(
        kind=kind.get(change.kind.value, "vault"),
        name=change.path,
        step=_STEPS[change.kind],
        difference=_difference(change.before, change.after),
    )


def _difference(before: str, after: str) -> tuple[str, ...]:
    """Lines of a unified difference, without the head; of something new, its lines alone."""
    if not before:
        return tuple(f"+{line}" for line in after.splitlines())
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    return tuple(lines)[2:]
