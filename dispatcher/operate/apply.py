"""Compares Vault and the engine with the settings, and applies the differences.

Uses the rights of an operator, never the dispatcher's own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

from dispatcher.engines import base, registry
from dispatcher.model.checks import Change, Step
from dispatcher.model.job_class import JobVariant
from dispatcher.settings import Settings, VaultAuth
from dispatcher.vault import Vault, removal
from dispatcher.vault import apply as vault_apply

VAULT = "vault"


class Administration:
    """Plans changes, then carries out exactly these.

    Args:
        settings: the desired state.
        environ: where the operator's tokens are.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._vault: Vault | None = None
        self._vault_changes: Sequence[vault_apply.Change] = ()
        self._engine: base.Administration | None = None
        self._removing = False

    def plan_removal(self, *, only: str) -> tuple[Change, ...]:
        """Plan the removal of what ``apply`` wrote, as far as it is provably ours. Removes nothing.

        Args:
            only: ``vault``, the name of an engine, or "" for all that the settings use.

        Raises:
            Conflict: runs are in progress.
            Unavailable, Denied, Misconfigured: a server, or its content.
        """
        self._removing = True
        self._engine = self._of_engine(only)
        changes = list(self._engine.plan_removal()) if self._engine is not None else []
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
        page_files: Mapping[str, str] | None = None,
        in_use: Callable[[], Collection[JobVariant]] = tuple,
        adopt: bool = False,
    ) -> tuple[Change, ...]:
        """Compare; writes nothing.

        Args:
            only: ``vault``, the name of an engine, or "" for all that the settings use.
            remove_stale: delete policies of secrets that are gone, jobs of classes that are no longer
                used, and what earlier releases wrote.
            adopt: take over policies of an installation of our name with another ops repo.
            config_files: for the dispatcher's own job, or None to leave it out.
            page_files: for the web page's job, or None to leave it out.
            in_use: returns the classes and mounts of open actions; called if an engine is planned.

        Raises:
            Unavailable, Denied, Misconfigured: a server, or its content.
        """
        changes: list[Change] = []
        if only in ("", VAULT):
            self._vault = Vault.of_operator(self._settings.vault, environ=self._environ)
            planned = vault_apply.plan_vault(
                self._vault, self._settings, remove_stale=remove_stale, adopt=adopt
            )
            if self._settings.vault.auth is VaultAuth.JWT:
                planned += vault_apply.plan_jwt(self._vault, self._settings)
            self._vault_changes = planned
            changes += [_of_vault(change) for change in planned]
        self._engine = self._of_engine(only)
        if self._engine is not None:
            changes += self._engine.plan(
                config_files=config_files,
                page_files=page_files,
                in_use=in_use,
                remove_stale=remove_stale,
            )
        return tuple(changes)

    def carry_out(self) -> tuple[str, ...]:
        """Write what was planned; returns warnings. The engine's jobs are removed before the rights
        that they use, and created after them.

        Raises:
            Conflict: somebody changed a job since.
            Unavailable, Denied: after some of it was written; another plan shows the rest.
        """
        warnings: tuple[str, ...] = ()
        if self._engine is not None and self._removing:
            warnings += self._engine.carry_out()
        if self._vault is not None:
            vault_apply.apply_changes(self._vault, self._vault_changes)
        if self._engine is not None and not self._removing:
            warnings += self._engine.carry_out()
        return warnings

    def advice(self) -> str:
        """What an operator must do elsewhere for the planned changes, or ""."""
        return self._engine.advice() if self._engine is not None else ""

    def _of_engine(self, only: str) -> base.Administration | None:
        """That of the engine in use, or of the one named."""
        if only == VAULT:
            return None
        engine = registry.get(only or self._settings.scheduler)
        return engine.administration(self._settings, self._environ)


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
