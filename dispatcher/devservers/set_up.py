"""Setup by an operator: ``disinto apply``, and tokens of least privilege for the dispatcher."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.devservers.nomad import DevAgent
from dispatcher.engines.nomad.render import acl_policies
from dispatcher.engines.nomad.settings import NomadSettings, page_name
from dispatcher.operate.apply import Administration
from dispatcher.settings import Settings, VaultAuth
from dispatcher.vault import Vault
from dispatcher.vault.hvac_client import hvac_client
from dispatcher.vault.names import dispatcher_policy, page_policy


def set_up(
    settings: Settings, *, operator: Mapping[str, str], nomad: DevAgent | None = None
) -> dict[str, str]:
    """Apply the settings to Vault and Nomad; returns VAULT_TOKEN and NOMAD_TOKEN for ``serve``.

    Args:
        operator: an environment with rights to administer both.
        nomad: the Nomad on which runs execute; None for the local scheduler. Without a token it
            has no ACLs.

    Raises:
        Unavailable, Denied, Misconfigured: for a server or its contents.
    """
    administration = Administration(settings, operator)
    administration.plan(only="", remove_stale=False, config_files=None)
    administration.carry_out()
    tokens = {}
    if settings.vault.auth is VaultAuth.TOKEN:
        tokens["VAULT_TOKEN"] = _vault_token(
            settings, operator, policy=dispatcher_policy(settings.vault)
        )
    if nomad is not None and nomad.token:
        policy = next(
            policy for policy in acl_policies(settings.section(NomadSettings)) if policy.job
        )
        tokens["NOMAD_TOKEN"] = nomad.client_token(policy.name)
    return tokens


def page_tokens(
    settings: Settings, *, operator: Mapping[str, str], nomad: DevAgent | None = None
) -> dict[str, str]:
    """VAULT_TOKEN and NOMAD_TOKEN of the web page, which may look and derive, after ``set_up``."""
    vault = _vault_token(settings, operator, policy=page_policy(settings.vault))
    if nomad is None or not nomad.token:
        return {"VAULT_TOKEN": vault}
    policy = next(
        policy
        for policy in acl_policies(settings.section(NomadSettings))
        if policy.job == page_name(settings.section(NomadSettings))
    )
    return {"VAULT_TOKEN": vault, "NOMAD_TOKEN": nomad.client_token(policy.name)}


def _vault_token(settings: Settings, operator: Mapping[str, str], *, policy: str) -> str:
    vault = Vault.of_operator(settings.vault, environ=operator)
    try:
        reply = hvac_client(vault).auth.token.create_orphan(
            policies=[policy], no_default_policy=True, period="1h"
        )
    finally:
        vault.close()
    return str(reply["auth"]["client_token"])
