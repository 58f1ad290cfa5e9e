"""Renders the policies and roles for Vault from ``vault/``. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from dispatcher.desktop.credentials import VARIABLE
from dispatcher.errors import Misconfigured
from dispatcher.host import resources
from dispatcher.settings import Settings, VaultAuth, VaultSettings
from dispatcher.settings.jobs import job_classes, own_bots
from dispatcher.settings.workload_identity import VAULT_AUDIENCE, workload_identity
from dispatcher.vault import names
from dispatcher.vault.login import auth_mount
from dispatcher.vault.ownership import owner


@dataclass(frozen=True, kw_only=True, slots=True)
class Legacy:
    """Names of policies and roles without the name of the installation."""

    dispatcher: str = "disinto-dispatcher"
    lookup_self: str = "runner-lookup-self"
    prefix: str = "runner-"
    policies: str = "runner-*"
    token_role: str = "disinto-runner"  # noqa: S105 - a name


LEGACY = Legacy()
"""Names used by earlier releases, the same for every installation on a Vault."""


def runner_policy(settings: Settings, name: str) -> str:
    """The policy that reads exactly one secret, or fetches exactly one dynamic or derived secret.

    Raises:
        PermanentError: a secret cannot have this name.
        Misconfigured: a path of the settings is not plain.
    """
    if names.secret_name(name) in settings.vault.derived:
        return owner(settings).mark + _derive(
            "vault/policies/runner-derived.hcl.j2", settings, name
        )
    dynamic = settings.vault.dynamic.get(name)
    if dynamic is None:
        return owner(settings).mark + _runner_policy(settings.vault, name)
    return owner(settings).mark + _render(
        "vault/policies/runner-dynamic.hcl.j2",
        path=names.safe_path(dynamic.path, key=f"dynamic.{name}.path"),
        write=dynamic.write,
    )


def derive_policy(settings: Settings, name: str) -> str:
    """The policy of people who may derive a secret of runs again, also by an older key.

    Raises:
        Misconfigured: a path of the settings is not plain.
    """
    return owner(settings).mark + _derive("vault/policies/derive.hcl.j2", settings, name)


def _derive(template: str, settings: Settings, name: str) -> str:
    request = settings.vault.fetched[name]
    signing = settings.attestation.transit_key
    mount = names.safe_path(settings.vault.transit_mount, key="transit_mount")
    return _render(
        template,
        path=names.safe_path(request.path, key=f"derived.{name}"),
        signing_key_path=f"{mount}/keys/{names.safe_path(signing, key='transit_key')}"
        if signing
        else "",
    )


def bot_policy(settings: Settings, bot: str) -> str:
    """The policy that reads exactly one bot's token.

    Raises:
        Misconfigured: a path of the settings is not plain.
    """
    path = names.kv_path(settings.vault, "data", names.bot_name(bot), bots=True)
    return owner(settings).mark + _render("vault/policies/runner-bot.hcl.j2", secret_path=path)


def _runner_policy(settings: VaultSettings, name: str) -> str:
    path = names.kv_path(settings, "data", names.secret_name(name))
    return _render("vault/policies/runner.hcl.j2", secret_path=path)


def lookup_self_policy(settings: Settings) -> str:
    """The policy that every grant holds."""
    return owner(settings).mark + _lookup_self_policy()


def _lookup_self_policy() -> str:
    return resources.text("vault/policies/runner-lookup-self.hcl")


def dispatcher_policy(settings: Settings) -> str:
    """The policy of the dispatcher's own token.

    Raises:
        Misconfigured: a path is not plain, or the dispatcher's own secrets and those of actions
            share a directory, so that permission for the one would include the other.
    """
    return owner(settings).mark + _dispatcher_policy(
        settings,
        role=names.token_role(settings.vault),
        policies=names.runner_prefix(settings.vault) + "*",
        bots=[names.bot_name(bot) for bot in sorted(own_bots(settings))],
    )


def _dispatcher_policy(settings: Settings, *, role: str, policies: str, bots: Sequence[str]) -> str:
    vault = settings.vault
    runner = names.safe_path(vault.kv_prefix, key="kv_prefix") + "/"
    beside = names.safe_path(vault.bots_prefix, key="bots_prefix") + "/"
    if runner.startswith(beside) or beside.startswith(runner):
        raise Misconfigured(
            f"[vault] bots_prefix = {vault.bots_prefix!r} and kv_prefix = {vault.kv_prefix!r} "
            "overlap",
            remedy="Keep the dispatcher's own secrets and those of actions in separate paths.",
        )
    transit = names.safe_path(vault.transit_mount, key="transit_mount")
    key = settings.attestation.transit_key
    if key:
        key = names.safe_path(key, key="transit_key")
    return _render(
        "vault/policies/disinto-dispatcher.hcl.j2",
        create_path=f"auth/token/create/{role}",
        role_path=f"auth/token/roles/{role}",
        runner_policies=policies,
        policies_path=f"sys/policies/acl/{policies}",
        names_path=names.kv_path(vault, "metadata"),
        bot_names_path=bot_names_path(settings),
        bot_paths=[names.kv_path(vault, "data", bot, bots=True) for bot in bots],
        transit_sign_path=f"{transit}/sign/{key}" if key else "",
        transit_key_path=f"{transit}/keys/{key}" if key else "",
    )


def bot_names_path(settings: Settings) -> str:
    """The path whose listing says which bots have a token; "" if no run gets one."""
    if not job_classes(settings).bots:
        return ""
    return names.kv_path(settings.vault, "metadata", bots=True)


def page_paths(settings: Settings) -> tuple[str, str]:
    """What the web page may use of the transit engine: the path that derives credentials of desktops, and
    that of the key that signs results; "" for what the settings do not have.

    Raises:
        Misconfigured: a path of the settings is not plain.
    """
    vault, key = settings.vault, settings.attestation.transit_key
    mount = names.safe_path(vault.transit_mount, key="transit_mount")
    derived = vault.fetched[VARIABLE].path if VARIABLE in vault.derived else ""
    return (
        names.safe_path(derived, key=f"derived.{VARIABLE}") if derived else "",
        f"{mount}/keys/{names.safe_path(key, key='transit_key')}" if key else "",
    )


def page_policy(settings: Settings) -> str:
    """The policy of the web page's own token. Raises ``Misconfigured`` as ``page_paths``."""
    derive_path, signing_key_path = page_paths(settings)
    return owner(settings).mark + _render(
        "vault/policies/page.hcl.j2", derive_path=derive_path, signing_key_path=signing_key_path
    )


def page_approle_role(settings: Settings) -> Mapping[str, Any]:
    """The AppRole role of the web page."""
    return _approle_role(names.page_policy(settings.vault))


def token_role(settings: Settings) -> Mapping[str, Any]:
    """The token role that mints grants. No token of it outlives the longest run."""
    grants = settings.grants
    waits_s = grants.provisional_ttl_s + grants.placement_wait_s + grants.margin_s
    return _token_role(
        names.runner_prefix(settings.vault) + "*",
        max_ttl_s=math.ceil(settings.limits.max_run_s) + waits_s,
    )


def _token_role(policies: str, *, max_ttl_s: int) -> Mapping[str, Any]:
    return _json(
        _render("vault/roles/runner-token.json.j2", policies=policies, max_ttl_s=max_ttl_s)
    )


def approle_role(settings: Settings) -> Mapping[str, Any]:
    """The AppRole role of the dispatcher."""
    return _approle_role(names.dispatcher_policy(settings.vault))


def _approle_role(policy: str) -> Mapping[str, Any]:
    return _json(_render("vault/roles/dispatcher-approle.json.j2", policy=policy))


def legacy_policy(settings: Settings, name: str) -> str | None:
    """The policy of this name as an earlier release wrote it with these settings, word for word;
    None for a name that it never used.
    """
    if name == LEGACY.dispatcher:
        return _dispatcher_policy(
            settings, role=LEGACY.token_role, policies=LEGACY.policies, bots=["*"]
        )
    if name == LEGACY.lookup_self:
        return _lookup_self_policy()
    secret = name.removeprefix(LEGACY.prefix).upper()
    if name.startswith(LEGACY.prefix) and names.is_secret_name(secret):
        return _runner_policy(settings.vault, secret)
    return None


def legacy_roles(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Paths of the roles that an earlier release wrote, and their content."""
    return {
        f"auth/token/roles/{LEGACY.token_role}": _token_role(LEGACY.policies, max_ttl_s=0),
        f"auth/{auth_mount(settings.vault, VaultAuth.APPROLE)}/role/{LEGACY.dispatcher}": (
            _approle_role(LEGACY.dispatcher)
        ),
    }


def jwt_role(settings: Settings) -> Mapping[str, Any]:
    """The JWT role that the dispatcher's own job, and no other, logs in with."""
    job = workload_identity(settings).job
    return _jwt_role(settings, job, names.dispatcher_policy(settings.vault))


def page_jwt_role(settings: Settings) -> Mapping[str, Any]:
    """The JWT role that the web page's job, and no other, logs in with."""
    job = workload_identity(settings).page_job
    return _jwt_role(settings, job, names.page_policy(settings.vault))


def _jwt_role(settings: Settings, job: str, policy: str) -> Mapping[str, Any]:
    identity = workload_identity(settings)
    return _json(
        _render(
            "vault/roles/dispatcher-jwt.json.j2",
            policy=policy,
            audience=VAULT_AUDIENCE,
            job=job,
            namespace=identity.namespace,
        )
    )


def jwt_config(settings: Settings, *, jwks_url: str, ca_pem: str) -> Mapping[str, Any]:
    """The configuration of the JWT mount that trusts the engine's keys."""
    return _json(
        _render(
            "vault/roles/nomad-jwt-config.json.j2",
            role=names.jwt_role(settings.vault),
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
        loader=jinja2.FunctionLoader(resources.text),
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
