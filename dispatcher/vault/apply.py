"""What Vault must hold for a dispatcher: compared with what it holds, then written.

``plan_vault`` and ``plan_jwt`` read and compare; ``apply_changes`` writes. Both need an operator's
token (``Vault.of_operator``). Nothing is deleted unless it is asked for, and nothing that is not
ours is written over or deleted; see ``ownership``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dispatcher.errors import Misconfigured
from dispatcher.settings import Settings, VaultAuth
from dispatcher.vault import names, templates
from dispatcher.vault.login import auth_mount
from dispatcher.vault.ownership import owner, owner_of
from dispatcher.vault.session import Vault

_POLICIES = "sys/policies/acl/"


class ChangeKind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    STALE = "stale"  # left over, and left alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing in Vault, as it is and as it is to be. Holds no secret value.

    Attributes:
        kind: what ``apply_changes`` will do.
        path: in Vault.
        before, after: its text, for a difference; "" where there is none.
        method, body: the request that makes it so.
    """

    kind: ChangeKind
    path: str
    before: str = ""
    after: str = ""
    method: str = "POST"
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def drift(self) -> bool:
        """Whether the server is not as it is to be."""
        return self.kind in (ChangeKind.CREATE, ChangeKind.UPDATE, ChangeKind.DELETE)


class NotOurs(Misconfigured):
    """Something of the name that we would write, or delete, belongs to somebody else."""


def plan_vault(
    vault: Vault, settings: Settings, *, remove_stale: bool = False, adopt: bool = False
) -> list[Change]:
    """Everything but the JWT log-in, in the order in which it is to be written.

    Args:
        vault: logged in as an operator.
        settings: of the dispatcher.
        remove_stale: delete the policies of secrets that are gone, and what earlier releases wrote
            under other names; otherwise they are reported.
        adopt: take over the policies of an installation of our name with another ops repo.

    Raises:
        NotOurs: a policy or role of ours has somebody else's content.
        Misconfigured: a mount exists and is of another kind; a path of the settings is not plain.
        PermanentError: two secrets differ only in case.
    """
    mounts = vault.call("GET", "sys/mounts").data
    kv = _kv_mount(settings, mounts)
    present = _listed(vault, "sys/policies/acl")
    wanted = {
        names.dispatcher_policy(settings.vault): templates.dispatcher_policy(settings),
        names.lookup_self_policy(settings.vault): templates.lookup_self_policy(settings),
    }
    # The server takes the listing of a mount that does not exist for a mistake.
    stored = (
        _listed(vault, names.kv_path(settings.vault, "metadata"))
        if kv.kind is ChangeKind.UNCHANGED
        else []
    )
    names.refuse_case_twins(name for name in stored if not name.endswith("/"))
    for name in filter(names.is_secret_name, stored):
        wanted[names.policy_of(settings.vault, name)] = templates.runner_policy(settings, name)
    changes = [kv]
    changes += [_policy(vault, name, text, present) for name, text in wanted.items()]
    _refuse_foreign(changes, settings, adopt=adopt)
    changes.append(_token_role(vault, settings))
    changes += _transit(vault, settings, mounts)
    if settings.vault.auth is VaultAuth.APPROLE:
        changes += _approle(vault, settings)
    changes += _left_over(vault, settings, set(present) - wanted.keys(), remove=remove_stale)
    changes += _left_over_roles(vault, settings, remove=remove_stale)
    return changes


def plan_jwt(vault: Vault, settings: Settings, *, jwks_url: str = "") -> list[Change]:
    """The log-in of the dispatcher's Nomad job by its workload identity.

    Applying it makes Vault fetch Nomad's keys: Nomad must be up, and Vault must reach it.

    Args:
        vault: logged in as an operator.
        settings: of the dispatcher.
        jwks_url: where Vault finds Nomad's keys; by default below ``[nomad] addr``.
    """
    mount = names.safe_path(auth_mount(settings.vault, VaultAuth.JWT), key="auth_mount")
    ca_pem = ""
    url = jwks_url or f"{settings.nomad.addr.rstrip('/')}/.well-known/jwks.json"
    if settings.nomad.cacert is not None and url.startswith("https://"):
        try:
            ca_pem = settings.nomad.cacert.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise Misconfigured(
                f"the CA certificate {settings.nomad.cacert} of Nomad cannot be read"
            ) from None
    role = names.jwt_role(settings.vault)
    config = templates.jwt_config(settings, jwks_url=url, ca_pem=ca_pem)
    return [
        _auth_mount(vault, mount, "jwt"),
        _role(vault, f"auth/{mount}/config", config),
        _role(vault, f"auth/{mount}/role/{role}", templates.jwt_role(settings)),
    ]


def apply_changes(vault: Vault, changes: Iterable[Change]) -> list[Change]:
    """Write what differs, in order; returns what was written.

    Raises:
        Denied: the token may not.
        Unavailable, Rejected: after some changes were written; planning again shows the rest.
    """
    done = [change for change in changes if change.drift]
    for change in done:
        vault.call(change.method, change.path, change.body or None)
    return done


def plan_policy(vault: Vault, settings: Settings, name: str) -> Change:
    """The policy of one secret, for ``disinto secrets put``. Raises ``NotOurs``."""
    policy = names.policy_of(settings.vault, name)
    present = _listed(vault, "sys/policies/acl")
    change = _policy(vault, policy, templates.runner_policy(settings, name), present)
    _refuse_foreign([change], settings, adopt=False)
    return change


def delete_policy(vault: Vault, settings: Settings, name: str) -> None:
    """Remove the policy of one secret. One that is gone is fine. Raises ``NotOurs``."""
    vault.call("DELETE", plan_policy(vault, settings, name).path, allow=(404,))


# -- parts ---------------------------------------------------------------------------------


def _listed(vault: Vault, path: str) -> list[str]:
    return [str(key) for key in vault.call("LIST", path, allow=(404,)).data.get("keys") or ()]


def _shown(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True) + "\n"


def _policy(vault: Vault, name: str, text: str, present: Iterable[str]) -> Change:
    path = _POLICIES + name
    before = ""
    if name in present:
        before = str(vault.call("GET", path, allow=(404,)).data.get("policy", ""))
    kind = (
        ChangeKind.UNCHANGED
        if before.strip() == text.strip()
        else ChangeKind.UPDATE
        if before
        else ChangeKind.CREATE
    )
    return Change(kind=kind, path=path, before=before, after=text, body={"policy": text})


def _refuse_foreign(changes: Iterable[Change], settings: Settings, *, adopt: bool) -> None:
    """Raises ``NotOurs`` if what stands in the place of one of our policies bears another's mark."""
    ours = owner(settings)
    for change in changes:
        if change.kind is not ChangeKind.UPDATE or not change.path.startswith(_POLICIES):
            continue
        held = owner_of(change.before)
        if held == ours or (adopt and held and held.installation == ours.installation):
            continue
        policy = change.path.removeprefix(_POLICIES)
        if held is None or held.installation != ours.installation:
            whose = "was not written by disinto" if held is None else f"belongs to {held}"
            raise NotOurs(
                f"the policy {policy} {whose}, and is left alone",
                remedy="Set another [vault] installation, or rename that policy.",
            )
        raise NotOurs(
            f"the policy {policy} belongs to {held}, and ours is {ours.ops_repo}; it is left alone",
            remedy="Set another [vault] installation. Only if the remote of this installation has "
            "another address now, run `disinto apply --adopt`.",
        )


def _left_over(
    vault: Vault, settings: Settings, present: Iterable[str], *, remove: bool
) -> Iterator[Change]:
    """Policies that are provably ours, and of no use any more."""
    ours, prefix = owner(settings), names.runner_prefix(settings.vault)
    for name in sorted(present):
        legacy = templates.legacy_policy(settings, name)
        if not name.startswith(prefix) and legacy is None:
            continue
        path = _POLICIES + name
        before = str(vault.call("GET", path, allow=(404,)).data.get("policy", ""))
        if owner_of(before) == ours or (legacy and before.strip() == legacy.strip()):
            yield _stale(path, before, remove=remove)


def _left_over_roles(vault: Vault, settings: Settings, *, remove: bool) -> Iterator[Change]:
    for path, body in templates.legacy_roles(settings).items():
        if path == f"auth/token/roles/{names.token_role(settings.vault)}":
            continue
        held = _role(vault, path, body, optional=True)
        if held.kind is ChangeKind.UNCHANGED:
            yield _stale(path, held.before, remove=remove)


def _stale(path: str, before: str, *, remove: bool) -> Change:
    if not remove:
        return Change(kind=ChangeKind.STALE, path=path, before=before, after=before)
    return Change(kind=ChangeKind.DELETE, path=path, before=before, method="DELETE")


def _token_role(vault: Vault, settings: Settings) -> Change:
    """Raises ``NotOurs`` where the role lets its tokens have others' policies."""
    path = f"auth/token/roles/{names.token_role(settings.vault)}"
    body = templates.token_role(settings)
    held = vault.call("GET", path, allow=(404,)).data.get("allowed_policies_glob") or []
    if held and held not in (body["allowed_policies_glob"], [templates.LEGACY.policies]):
        raise NotOurs(
            f"the token role at {path} is for the policies {', '.join(held)}, and is left alone",
            remedy="Set another [vault] token_role or installation.",
        )
    return _role(vault, path, body)


def _role(vault: Vault, path: str, body: Mapping[str, Any], *, optional: bool = False) -> Change:
    """A role or configuration; only the keys that we write are compared.

    Args:
        optional: one that we may not read counts as absent.
    """
    reply = vault.call("GET", path, allow=(400, 403, 404) if optional else (400, 404))
    after = _shown(body)
    if not reply.ok:
        return Change(kind=ChangeKind.CREATE, path=path, after=after, body=body)
    before = _shown({key: _alike(reply.data.get(key), body[key]) for key in body})
    kind = ChangeKind.UNCHANGED if before == after else ChangeKind.UPDATE
    return Change(kind=kind, path=path, before=before, after=after, body=body)


def _alike(held: Any, wanted: Any) -> Any:
    """The server's null stands for an empty list, text or table; the order of a list is free."""
    if held is None and not wanted and not isinstance(wanted, bool | int):
        return wanted
    if isinstance(held, list) and isinstance(wanted, list) and sorted(held) == sorted(wanted):
        return wanted
    return held.strip() if isinstance(held, str) and held.strip() == wanted else held


def _kv_mount(settings: Settings, mounts: Mapping[str, Any]) -> Change:
    mount = names.safe_path(settings.vault.kv_mount, key="kv_mount")
    return _engine(mount, mounts, {"type": "kv", "options": {"version": "2"}}, key="kv_mount")


def _engine(mount: str, mounts: Mapping[str, Any], body: Mapping[str, Any], *, key: str) -> Change:
    path = f"sys/mounts/{mount}"
    held = mounts.get(f"{mount}/")
    if held is None:
        return Change(kind=ChangeKind.CREATE, path=path, after=_shown(body), body=body)
    version = (held.get("options") or {}).get("version")
    wanted = (body.get("options") or {}).get("version")
    if held.get("type") != body["type"] or (wanted and version != wanted):
        said = f"{held.get('type')} version {version}" if version else str(held.get("type"))
        need = f"{body['type']} version {wanted}" if wanted else str(body["type"])
        raise Misconfigured(
            f"the mount {mount}/ is of type {said}, and [vault] {key} needs {need}",
            remedy=f"Choose another mount in [vault] {key}, or migrate this one.",
        )
    shown = _shown(body)
    return Change(kind=ChangeKind.UNCHANGED, path=path, before=shown, after=shown)


def _auth_mount(vault: Vault, mount: str, kind: str) -> Change:
    path = f"sys/auth/{mount}"
    body = {"type": kind}
    held = vault.call("GET", "sys/auth").data.get(f"{mount}/")
    if held is None:
        return Change(kind=ChangeKind.CREATE, path=path, after=_shown(body), body=body)
    if held.get("type") != kind:
        raise Misconfigured(
            f"the log-in method at auth/{mount} is of type {held.get('type')}, not {kind}",
            remedy="Set [vault] auth_mount.",
        )
    return Change(kind=ChangeKind.UNCHANGED, path=path, before=_shown(body), after=_shown(body))


def _transit(vault: Vault, settings: Settings, mounts: Mapping[str, Any]) -> list[Change]:
    key = settings.attestation.transit_key
    if not key:
        return []
    mount = names.safe_path(settings.vault.transit_mount, key="transit_mount")
    engine = _engine(mount, mounts, {"type": "transit"}, key="transit_mount")
    path = f"{mount}/keys/{names.safe_path(key, key='transit_key')}"
    body = {"type": "ed25519"}
    if engine.kind is ChangeKind.CREATE:
        return [engine, Change(kind=ChangeKind.CREATE, path=path, after=_shown(body), body=body)]
    change = _role(vault, path, body)
    if change.kind is ChangeKind.UPDATE:
        raise Misconfigured(
            f"the transit key at {path} is not of type ed25519",
            remedy="Choose another name in [attestation] transit_key.",
        )
    return [engine, change]


def _approle(vault: Vault, settings: Settings) -> list[Change]:
    mount = names.safe_path(auth_mount(settings.vault, VaultAuth.APPROLE), key="auth_mount")
    engine = _auth_mount(vault, mount, "approle")
    path = f"auth/{mount}/role/{names.approle_role(settings.vault)}"
    body = templates.approle_role(settings)
    if engine.kind is ChangeKind.CREATE:
        return [engine, Change(kind=ChangeKind.CREATE, path=path, after=_shown(body), body=body)]
    return [engine, _role(vault, path, body)]
