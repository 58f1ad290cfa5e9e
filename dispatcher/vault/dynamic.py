"""Whether the dynamic secrets of the settings can be made, as far as a token may see that. By hvac.

The dispatcher's own token may read neither mounts nor roles of these engines, and is given no right
to: an operator's can. What may not be read is no failure, and is reported as not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dispatcher.errors import DisintoError
from dispatcher.model.checks import Check
from dispatcher.settings import Settings
from dispatcher.settings.dynamic import DynamicSettings
from dispatcher.vault.apply import secret_keys
from dispatcher.vault.errors import RightMissing
from dispatcher.vault.hvac_client import if_present

if TYPE_CHECKING:
    import hvac

_ROLES = {
    "creds": "roles",
    "static-creds": "static-roles",
    "issue": "roles",
    "sign": "roles",
}
"""Where engines keep the role of a credential, by the operation in ``<mount>/<operation>/<role>``."""


def check_dynamic(client: hvac.Client, settings: Settings) -> Iterator[Check]:
    """One check per dynamic secret, and one for stored secrets that they hide. Never raises."""
    for name, secret in settings.vault.dynamic.items():
        title = f"vault: dynamic secret {name}"
        try:
            yield _check(client, title, secret)
        except DisintoError as error:
            yield Check(name=title, ok=False, detail=error.what, remedy=error.remedy or "")
    if settings.vault.dynamic:
        try:
            yield from _hidden(client, settings)
        except DisintoError as error:
            title = "vault: dynamic secrets"
            yield Check(name=title, ok=False, detail=error.what, remedy=error.remedy or "")


def role_path(path: str) -> str:
    """Where the role of a credential's path is configured; "" if the path has another shape."""
    before, _, role = path.rpartition("/")
    mount, _, operation = before.rpartition("/")
    return f"{mount}/{_ROLES[operation]}/{role}" if mount and operation in _ROLES else ""


def _check(client: hvac.Client, title: str, secret: DynamicSettings) -> Check:
    role = role_path(secret.path)
    if not role:
        why = "not known where its role is"
        return Check(name=title, ok=True, detail=f"{secret.path}, not checked: {why}")
    held = _read(client, role)
    if held is None:
        why = "this token may not read the role"
        return Check(name=title, ok=True, detail=f"{secret.path}, not checked: {why}")
    if not held:
        return Check(
            name=title,
            ok=False,
            detail=f"{secret.path} cannot be had: there is nothing at {role}",
            remedy="Set up mount and role in Vault, or correct path in [vault.dynamic].",
        )
    if secret.require_lease and held.get("generate_lease") is False:
        return Check(
            name=title,
            ok=False,
            detail=f"the role at {role} makes certificates without a lease, which outlive the run",
            remedy="Set generate_lease=true on the role, or require_lease = false in the settings.",
        )
    return Check(name=title, ok=True, detail=f"{secret.path}, and its role exists")


def _read(client: hvac.Client, path: str) -> dict[str, object] | None:
    """What is there, {} for nothing, None if this token may not see it."""
    try:
        found = if_present(client.read, path)
    except RightMissing:
        return None
    return dict(found) if found else {}


def _hidden(client: hvac.Client, settings: Settings) -> Iterator[Check]:
    both = sorted(settings.vault.dynamic.keys() & set(secret_keys(client, settings)))
    if both:
        yield Check(
            name="vault: dynamic secrets",
            ok=True,
            detail=f"also stored, and the stored value is never used: {', '.join(both)}",
            remedy="Remove it with `disinto secrets rm NAME`, or rename [vault.dynamic.NAME].",
        )
