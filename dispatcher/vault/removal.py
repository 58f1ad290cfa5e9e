"""What ``disinto apply`` wrote to Vault, found again so that it can be removed.

Only what is provably ours: policies that bear our mark, and the roles that hand them out. Mounts,
secrets and the transit key stay: they hold what people put there, and what results are verified with.
"""

from __future__ import annotations

from collections.abc import Iterator

from dispatcher.settings import Settings, VaultAuth
from dispatcher.vault import names
from dispatcher.vault.apply import Change, ChangeKind
from dispatcher.vault.login import auth_mount
from dispatcher.vault.ownership import owner, owner_of
from dispatcher.vault.session import Vault

_POLICIES = "sys/policies/acl/"


def plan_removal(vault: Vault, settings: Settings) -> list[Change]:
    """Deletions, in their order: roles first, so that nothing new is minted, then policies.

    Args:
        vault: logged in as an operator.
        settings: of the installation that is removed.

    Raises:
        Denied: the token may not look.
        Unavailable: Vault cannot be asked.
    """
    return [*_roles(vault, settings), *_policies(vault, settings)]


def _roles(vault: Vault, settings: Settings) -> Iterator[Change]:
    ours = names.runner_prefix(settings.vault)
    path = f"auth/token/roles/{names.token_role(settings.vault)}"
    globs = vault.call("GET", path, allow=(404,)).data.get("allowed_policies_glob") or []
    if globs and all(str(glob).startswith(ours) for glob in globs):
        yield _deletion(path, f"allowed_policies_glob = {', '.join(map(str, globs))}\n")
    for kind, name in (
        (VaultAuth.APPROLE, names.approle_role(settings.vault)),
        (VaultAuth.JWT, names.jwt_role(settings.vault)),
    ):
        if settings.vault.auth is not kind:
            continue
        path = f"auth/{names.safe_path(auth_mount(settings.vault, kind), key='auth_mount')}/role/{name}"
        policies = vault.call("GET", path, allow=(400, 404)).data.get("token_policies") or []
        if policies == [names.dispatcher_policy(settings.vault)]:
            yield _deletion(path, f"token_policies = {', '.join(policies)}\n")


def _policies(vault: Vault, settings: Settings) -> Iterator[Change]:
    listed = vault.call("LIST", _POLICIES.rstrip("/"), allow=(404,)).data.get("keys") or ()
    own = names.dispatcher_policy(settings.vault)
    for name in sorted(map(str, listed)):
        if name != own and not name.startswith(names.runner_prefix(settings.vault)):
            continue
        text = str(vault.call("GET", _POLICIES + name, allow=(404,)).data.get("policy", ""))
        if owner_of(text) == owner(settings):
            yield _deletion(_POLICIES + name, text)


def _deletion(path: str, before: str) -> Change:
    return Change(kind=ChangeKind.DELETE, path=path, before=before, method="DELETE")
