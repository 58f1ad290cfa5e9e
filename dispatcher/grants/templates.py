"""The texts that go to Vault: policies and roles, rendered from ``vault/``. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2

from dispatcher import files
from dispatcher.errors import Misconfigured
from dispatcher.grants import names
from dispatcher.render import VAULT_AUDIENCE, dispatcher_name
from dispatcher.settings import Settings, VaultSettings


def runner_policy(settings: VaultSettings, name: str) -> str:
    """The policy that reads exactly one secret.

    Raises:
        PermanentError: a secret cannot have this name.
        Misconfigured: a path of the settings is not plain.
    """
    path = names.kv_path(settings, "data", names.secret_name(name))
    return _render("vault/policies/runner.hcl.j2", secret_path=path)


def lookup_self_policy() -> str:
    """The policy that every grant holds."""
    return files.text("vault/policies/runner-lookup-self.hcl")


def dispatcher_policy(settings: Settings) -> str:
    """The policy of the dispatcher's own token.

    Raises:
        Misconfigured: a path is not plain, or the dispatcher's own secrets and those of actions
            are in one folder, so that a right on the one would be a right on the other.
    """
    vault = settings.vault
    runner = names.safe_path(vault.kv_prefix, key="kv_prefix") + "/"
    bots = names.safe_path(vault.bots_prefix, key="bots_prefix") + "/"
    if runner.startswith(bots) or bots.startswith(runner):
        raise Misconfigured(
            f"[vault] bots_prefix = {vault.bots_prefix!r} and kv_prefix = {vault.kv_prefix!r} lie "
            "within each other",
            remedy="Keep the dispatcher's own secrets and those of actions in folders apart.",
        )
    role = names.safe_path(vault.token_role, key="token_role")
    transit = names.safe_path(vault.transit_mount, key="transit_mount")
    key = settings.attestation.transit_key
    if key:
        key = names.safe_path(key, key="transit_key")
    return _render(
        "vault/policies/disinto-dispatcher.hcl.j2",
        create_path=f"auth/token/create/{role}",
        role_path=f"auth/token/roles/{role}",
        names_path=names.kv_path(vault, "metadata"),
        bots_path=names.kv_path(vault, "data", "*", bots=True),
        transit_sign_path=f"{transit}/sign/{key}" if key else "",
        transit_key_path=f"{transit}/keys/{key}" if key else "",
    )


def token_role() -> Mapping[str, Any]:
    """The token role that mints grants."""
    return _json(files.text("vault/roles/runner-token.json"))


def approle_role() -> Mapping[str, Any]:
    """The AppRole role of the dispatcher."""
    return _json(files.text("vault/roles/dispatcher-approle.json"))


def jwt_role(settings: Settings) -> Mapping[str, Any]:
    """The JWT role that the dispatcher's Nomad job, and no other, logs in with."""
    return _json(
        _render(
            "vault/roles/dispatcher-jwt.json.j2",
            audience=VAULT_AUDIENCE,
            job=dispatcher_name(settings.nomad),
            namespace=settings.nomad.namespace or "default",
        )
    )


def jwt_config(settings: Settings, *, jwks_url: str, ca_pem: str) -> Mapping[str, Any]:
    """The configuration of the JWT mount that trusts Nomad's keys."""
    return _json(
        _render(
            "vault/roles/nomad-jwt-config.json.j2",
            role=settings.vault.jwt_role,
            jwks_url=jwks_url,
            ca_pem=ca_pem,
        )
    )


def _json(text: str) -> Mapping[str, Any]:
    body: Mapping[str, Any] = json.loads(text)
    return body


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(files.text),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - policies and JSON; `hcl` and `tojson` escape for them
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Paths are checked to be plain before; this quotes them.
    environment.filters["hcl"] = json.dumps
    # jinja2's own `tojson` escapes for HTML.
    environment.filters["tojson"] = json.dumps
    return environment


def _render(template: str, **context: object) -> str:
    return _environment().get_template(template).render(context)
