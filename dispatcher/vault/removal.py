"""Removal of what ``disinto apply`` wrote to Vault.

Only what is provably ours: policies that bear our mark, and the roles that hand them out. Mounts,
secrets and the transit key stay: they contain people's data, and the key that results are verified
with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dispatcher.settings import Settings, VaultAuth
from dispatcher.vault import names
from dispatcher.vault.apply import Change, ChangeKind, policy_text, role_data
from dispatcher.vault.hvac_client import hvac_client, if_present, listed
from dispatcher.vault.login import auth_mount
from dispatcher.vault.ownership import owner, owner_of
from dispatcher.vault.session import Vault

if TYPE_CHECKING:
    import hvac

_POLICIES = "sys/policies/acl/"


def plan_removal(vault: Vault, settings: Settings) -> list[Change]:
    """Deletions, in their order: roles first, so that nothing new is minted, then policies.

    Args:
        vault: logged in as an operator.
        settings: of the installation that is removed.

    Raises:
        Denied: the token lacks a right to read.
        Unavailable: Vault gives no usable answer.
    """
    client = hvac_client(vault)
    return [*_roles(client, settings), *_policies(client, settings)]


def _roles(client: hvac.Client, settings: Settings) -> Iterator[Change]:
    prefix = names.runner_prefix(settings.vault)
    role = names.token_role(settings.vault)
    globs = (if_present(client.auth.token.read_role, role) or {}).get("allowed_policies_glob") or []
    if globs and all(str(glob).startswith(prefix) for glob in globs):
        path = f"auth/token/roles/{role}"
        yield _deletion(path, f"allowed_policies_glob = {', '.join(map(str, globs))}\n")
    own, page = names.dispatcher_policy(settings.vault), names.page_policy(settings.vault)
    for kind, name, policy in (
        (VaultAuth.APPROLE, names.approle_role(settings.vault), own),
        (VaultAuth.JWT, names.jwt_role(settings.vault), own),
        (VaultAuth.APPROLE, page, page),
        (VaultAuth.JWT, page, page),
    ):
        if settings.vault.auth is not kind:
            continue
        path = f"auth/{names.safe_path(auth_mount(settings.vault, kind), key='auth_mount')}/role/{name}"
        policies = (role_data(client, path) or {}).get("token_policies") or []
        if policies == [policy]:
            yield _deletion(path, f"token_policies = {', '.join(policies)}\n")


def _policies(client: hvac.Client, settings: Settings) -> Iterator[Change]:
    own = {names.dispatcher_policy(settings.vault), names.page_policy(settings.vault)}
    for name in sorted(listed(client.sys.list_acl_policies)):
        if name not in own and not name.startswith(names.runner_prefix(settings.vault)):
            continue
        text = policy_text(client, name)
        if owner_of(text) == owner(settings):
            yield _deletion(_POLICIES + name, text)


def _deletion(path: str, before: str) -> Change:
    return Change(kind=ChangeKind.DELETE, path=path, before=before)
