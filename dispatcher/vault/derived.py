"""Derived secrets in Vault: whether their keys exist, and deriving one as a person may. See
``dispatcher.model.derived``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dispatcher.errors import DisintoError, Misconfigured
from dispatcher.model.checks import Check
from dispatcher.model.derived import DERIVED_FIELD, derivation_input
from dispatcher.model.run import RunKey
from dispatcher.settings import Settings
from dispatcher.vault import names
from dispatcher.vault.errors import RightMissing
from dispatcher.vault.hvac_client import if_present, listed
from dispatcher.vault.session import Vault

if TYPE_CHECKING:
    import hvac

_APPLY = "Run `disinto apply` with an operator's token in VAULT_TOKEN."


def derive(
    vault: Vault, settings: Settings, name: str, key: RunKey, *, key_version: int = 0
) -> str:
    """Derive a secret of a run again, with the token of a person who may.

    Args:
        vault: logged in as that person.
        name: of the secret, in ``[vault.derived]``.
        key: of the run that got it.
        key_version: of the transit key; 0 for the latest.

    Returns:
        What the run got: ``vault:v<version>:<base64>``.

    Raises:
        Misconfigured: the settings have no such secret.
        Unavailable, Denied, Rejected: as ``Vault.call``.
    """
    if name not in settings.vault.derived:
        raise Misconfigured(
            f"{name} is not in [vault.derived]",
            remedy=f'Add {name} = "<transit key>" to [vault.derived], as on the dispatcher\'s host.',
        )
    path = names.safe_path(settings.vault.fetched[name].path, key=f"derived.{name}")
    body: dict[str, object] = {"input": derivation_input(key)}
    if key_version:
        body["key_version"] = key_version
    return str(vault.call("POST", path, body).data[DERIVED_FIELD])


def check_derived(client: hvac.Client, settings: Settings) -> Iterator[Check]:
    """One check per derived secret. The dispatcher's own token may not read the keys; then only the
    policies are checked. Never raises.
    """
    for name in settings.vault.derived:
        title = f"vault: derived secret {name}"
        try:
            yield _check(client, settings, title, name)
        except DisintoError as error:
            yield Check(name=title, ok=False, detail=error.what, remedy=error.remedy or "")


def _check(client: hvac.Client, settings: Settings, title: str, name: str) -> Check:
    policy = names.derive_policy(settings.vault, name)
    if policy not in listed(client.sys.list_acl_policies):
        return Check(name=title, ok=False, detail=f"there is no policy {policy}", remedy=_APPLY)
    mount = names.safe_path(settings.vault.transit_mount, key="transit_mount")
    path = f"{mount}/keys/{settings.vault.derived[name]}"
    for_people = f"people with the policy {policy} may derive it"
    try:
        key = if_present(client.read, path)
    except RightMissing:
        why = "this token may not read the key"
        return Check(name=title, ok=True, detail=f"{path}, not checked: {why}; {for_people}")
    if key is None:
        return Check(name=title, ok=False, detail=f"there is no key at {path}", remedy=_APPLY)
    if key.get("exportable"):
        return Check(
            name=title,
            ok=False,
            detail=f"the key at {path} is exportable: a copy derives every secret without Vault",
            remedy="Use a key that is not, and create what depends on this one anew.",
        )
    return Check(name=title, ok=True, detail=f"{path} exists; {for_people}")
