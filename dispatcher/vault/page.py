"""What ``disinto doctor`` checks of the web page's own rights in Vault. By hvac."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from dispatcher.errors import DisintoError
from dispatcher.model.checks import Check
from dispatcher.settings import Settings
from dispatcher.settings.jobs import job_classes
from dispatcher.vault import names, templates
from dispatcher.vault.hvac_client import hvac_client, listed
from dispatcher.vault.session import Vault

if TYPE_CHECKING:
    import hvac

_APPLY = "Run `disinto apply` with an operator's token in VAULT_TOKEN."
_ANY = frozenset({"create", "read", "update", "delete", "list", "patch", "sudo", "root"})
_NONE = "no-such-name"


def is_page(vault: Vault, settings: Settings) -> bool:
    """Whether we are logged in with the web page's own rights; False if Vault is unavailable."""
    try:
        held = hvac_client(vault).auth.token.lookup_self()["data"].get("policies") or ()
    except DisintoError:
        return False
    return names.page_policy(settings.vault) in held


def check_page_policy(name: str, client: hvac.Client, settings: Settings) -> Check:
    """Whether the web page has a policy of its own, with the dispatcher's token."""
    policy = names.page_policy(settings.vault)
    there = policy in listed(client.sys.list_acl_policies)
    detail = f"its own policy is {policy}" if there else f"there is no policy {policy}"
    return Check(name=name, ok=True, detail=detail, remedy="" if there else _APPLY)


def check_page(client: hvac.Client, settings: Settings) -> Iterator[Check]:
    """What the web page needs of Vault, and what it must not have, with its own token. Never raises."""
    for name, check in (("rights", _rights), ("least rights", _least_rights)):
        title = f"vault: {name} of the web page"
        try:
            yield check(title, client, settings)
        except DisintoError as error:
            yield Check(name=title, ok=False, detail=error.what, remedy=error.remedy or "")


def _rights(name: str, client: hvac.Client, settings: Settings) -> Check:
    derive, signing = templates.page_paths(settings)
    needed = {"auth/token/renew-self": "update"}
    needed |= {derive: "update"} if derive else {}
    needed |= {signing: "read"} if signing else {}
    held = capabilities(client, needed)
    missing = [f"{right} on {path}" for path, right in needed.items() if right not in held[path]]
    detail = "derives credentials of desktops" if derive else "no desktops are configured"
    return Check(
        name=name,
        ok=not missing,
        detail=f"missing: {', '.join(missing)}" if missing else detail,
        remedy=_APPLY if missing else "",
    )


def _least_rights(name: str, client: hvac.Client, settings: Settings) -> Check:
    held = capabilities(client, _unwanted(settings))
    too_much = [path for path, rights in held.items() if rights & _ANY]
    own = names.page_policy(settings.vault)
    return Check(
        name=name,
        ok=not too_much,
        detail=f"the token in use has more permissions than it should on {', '.join(too_much)}"
        if too_much
        else "no secret, no bot, no grant, no signature, no policy, no role",
        remedy=f"Give the page a token with only the policy {own}, and run `disinto apply`, which "
        "writes it."
        if too_much
        else "",
    )


def _unwanted(settings: Settings) -> list[str]:
    """Paths on which the page must have no right at all."""
    vault, key = settings.vault, settings.attestation.transit_key
    role = names.token_role(vault)
    mount = names.safe_path(vault.transit_mount, key="transit_mount")
    derive, _ = templates.page_paths(settings)
    fetched = [secret.path for secret in vault.fetched.values() if secret.path != derive]
    bots = [*sorted(job_classes(settings).bots), _NONE]
    return [
        names.kv_path(vault, "data", _NONE),
        names.kv_path(vault, "metadata"),
        *(names.kv_path(vault, "data", bot, bots=True) for bot in bots),
        *fetched,
        *([f"{mount}/sign/{key}"] if key else ()),
        f"auth/token/create/{role}",
        f"auth/token/roles/{role}",
        "auth/token/create",
        "auth/token/create-orphan",
        "auth/token/revoke-accessor",
        f"sys/policies/acl/{names.page_policy(vault)}",
        "sys/auth",
        "sys/mounts",
    ]


def capabilities(client: hvac.Client, paths: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """What the token in use may do at each path."""
    queried = list(paths)
    held = client.sys.get_capabilities(queried)["data"]
    return {path: frozenset(held.get(path) or ()) for path in queried}
