"""Compares Vault with what a dispatcher needs there, then writes the difference.

``plan_vault`` and ``plan_jwt`` read and compare; ``apply_changes`` writes. Both need an operator's
token (``Vault.of_operator``) and use hvac. Nothing is deleted unless requested, and nothing that
is not ours is overwritten or deleted; see ``ownership``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dispatcher.errors import Misconfigured
from dispatcher.settings import Settings, VaultAuth
from dispatcher.settings.jobs import job_classes
from dispatcher.settings.workload_identity import workload_identity
from dispatcher.vault import names, templates
from dispatcher.vault.errors import Rejected, RightMissing
from dispatcher.vault.hvac_client import hvac_client, if_present, listed
from dispatcher.vault.login import auth_mount
from dispatcher.vault.ownership import owner, owner_of
from dispatcher.vault.session import Vault

if TYPE_CHECKING:
    import hvac

_POLICIES = "sys/policies/acl/"


class ChangeKind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    STALE = "stale"  # left over, and left alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One object in Vault, with its current and its intended content. Contains no secret value.

    Attributes:
        kind: what ``apply_changes`` will do.
        path: in Vault.
        before, after: its text, for a difference; "" if there is none.
        body: written to the path if it is to be created or updated.
    """

    kind: ChangeKind
    path: str
    before: str = ""
    after: str = ""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def drift(self) -> bool:
        """Whether the server differs from the intended content."""
        return self.kind in (ChangeKind.CREATE, ChangeKind.UPDATE, ChangeKind.DELETE)


class NotOurs(Misconfigured):
    """An object of the name that we would write, or delete, belongs to somebody else."""


def plan_vault(
    vault: Vault, settings: Settings, *, remove_stale: bool = False, adopt: bool = False
) -> list[Change]:
    """All changes but the JWT login, in the order in which to write them.

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
    client = hvac_client(vault)
    mounts = client.sys.list_mounted_secrets_engines()["data"]
    kv = _kv_mount(settings, mounts)
    present = listed(client.sys.list_acl_policies)
    policies = {
        names.dispatcher_policy(settings.vault): templates.dispatcher_policy(settings),
        names.lookup_self_policy(settings.vault): templates.lookup_self_policy(settings),
        names.page_policy(settings.vault): templates.page_policy(settings),
    }
    # The server rejects the listing of a mount that does not exist.
    stored = secret_keys(client, settings) if kv.kind is ChangeKind.UNCHANGED else ()
    names.refuse_case_twins(name for name in stored if not name.endswith("/"))
    for name in names.usable_names(settings.vault, stored):
        policies[names.policy_of(settings.vault, name)] = templates.runner_policy(settings, name)
    policies |= bot_policies(settings)
    policies |= derive_policies(settings)
    changes = [kv]
    changes += [_policy(client, name, text, present) for name, text in policies.items()]
    _refuse_foreign(changes, settings, adopt=adopt)
    changes.append(_token_role(client, settings))
    changes += _transit(client, settings, mounts)
    if settings.vault.auth is VaultAuth.APPROLE:
        changes += _approle(client, settings)
    changes += _left_over(client, settings, set(present) - policies.keys(), remove=remove_stale)
    changes += _left_over_roles(client, settings, remove=remove_stale)
    return changes


def plan_jwt(vault: Vault, settings: Settings, *, jwks_url: str = "") -> list[Change]:
    """The login of the dispatcher's own job by its workload identity.

    Applying it makes Vault fetch the engine's keys: it must be running and reachable from Vault.

    Args:
        vault: logged in as an operator.
        settings: of the dispatcher.
        jwks_url: where Vault finds the engine's keys; by default where the engine serves them.
    """
    mount = names.safe_path(auth_mount(settings.vault, VaultAuth.JWT), key="auth_mount")
    ca_pem = ""
    identity = workload_identity(settings)
    url = jwks_url or identity.jwks_url
    if identity.cacert is not None and url.startswith("https://"):
        try:
            ca_pem = identity.cacert.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise Misconfigured(
                f"the CA certificate {identity.cacert} of the engine cannot be read"
            ) from None
    client = hvac_client(vault)
    role = names.jwt_role(settings.vault)
    config = templates.jwt_config(settings, jwks_url=url, ca_pem=ca_pem)
    return [
        _auth_mount(client, mount, "jwt"),
        _role(client, f"auth/{mount}/config", config),
        _role(client, f"auth/{mount}/role/{role}", templates.jwt_role(settings)),
        _role(
            client,
            f"auth/{mount}/role/{names.page_policy(settings.vault)}",
            templates.page_jwt_role(settings),
        ),
    ]


def apply_changes(vault: Vault, changes: Iterable[Change]) -> list[Change]:
    """Write what differs, in order; returns what was written.

    Raises:
        Denied: the token may not.
        Unavailable, Rejected: after some changes were written; planning again shows the rest.
    """
    client = hvac_client(vault)
    done = [change for change in changes if change.drift]
    for change in done:
        if change.kind is ChangeKind.DELETE:
            client.delete(change.path)
        else:
            client.write_data(change.path, data=change.body)
    return done


def plan_policy(client: hvac.Client, settings: Settings, name: str) -> Change:
    """The policy of one secret, for ``disinto secrets put``. Raises ``NotOurs``."""
    policy = names.policy_of(settings.vault, name)
    present = listed(client.sys.list_acl_policies)
    change = _policy(client, policy, templates.runner_policy(settings, name), present)
    _refuse_foreign([change], settings, adopt=False)
    return change


def plan_bot_policies(client: hvac.Client, settings: Settings, bots: Iterable[str]) -> list[Change]:
    """The policies of those of these bots that runs may get. Raises ``NotOurs``."""
    texts = bot_policies(settings)
    used = [bot for bot in bots if bot in job_classes(settings).bots]
    present = listed(client.sys.list_acl_policies)
    policies = [names.bot_policy(settings.vault, bot) for bot in used]
    changes = [_policy(client, policy, texts[policy], present) for policy in policies]
    _refuse_foreign(changes, settings, adopt=False)
    return changes


def bot_policies(settings: Settings) -> Mapping[str, str]:
    """The policies of the bots that runs may get, by name; whether their tokens are stored or not."""
    return {
        names.bot_policy(settings.vault, bot): templates.bot_policy(settings, bot)
        for bot in sorted(job_classes(settings).bots)
    }


def derive_policies(settings: Settings) -> Mapping[str, str]:
    """The policies of people who may derive secrets of runs again, by name."""
    return {
        names.derive_policy(settings.vault, name): templates.derive_policy(settings, name)
        for name in sorted(settings.vault.derived)
    }


def secret_keys(client: hvac.Client, settings: Settings) -> Sequence[str]:
    """Names below ``[vault] kv_prefix``; those of directories end in a slash."""
    return listed(
        client.secrets.kv.v2.list_secrets,
        path=names.safe_path(settings.vault.kv_prefix, key="kv_prefix"),
        mount_point=names.safe_path(settings.vault.kv_mount, key="kv_mount"),
    )


def bot_keys(client: hvac.Client, settings: Settings) -> Sequence[str]:
    """Names below ``[vault] bots_prefix``."""
    return listed(
        client.secrets.kv.v2.list_secrets,
        path=names.safe_path(settings.vault.bots_prefix, key="bots_prefix"),
        mount_point=names.safe_path(settings.vault.kv_mount, key="kv_mount"),
    )


def policy_text(client: hvac.Client, name: str) -> str:
    """The text of a policy; "" if there is none of this name."""
    return str((if_present(client.sys.read_acl_policy, name) or {}).get("policy", ""))


def role_data(client: hvac.Client, path: str) -> Mapping[str, Any] | None:
    """A role or a configuration; None if there is none, perhaps because its mount is missing."""
    try:
        return if_present(client.read, path)
    except Rejected as rejected:
        if rejected.status == 400:  # a JWT mount without configuration
            return None
        raise


# -- parts ---------------------------------------------------------------------------------


def _shown(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True) + "\n"


def _policy(client: hvac.Client, name: str, text: str, present: Iterable[str]) -> Change:
    before = policy_text(client, name) if name in present else ""
    kind = (
        ChangeKind.UNCHANGED
        if before.strip() == text.strip()
        else ChangeKind.UPDATE
        if before
        else ChangeKind.CREATE
    )
    return Change(
        kind=kind, path=_POLICIES + name, before=before, after=text, body={"policy": text}
    )


def _refuse_foreign(changes: Iterable[Change], settings: Settings, *, adopt: bool) -> None:
    """Raises ``NotOurs`` if one of our policies carries another's mark on the server."""
    marker = owner(settings)
    for change in changes:
        if change.kind is not ChangeKind.UPDATE or not change.path.startswith(_POLICIES):
            continue
        held = owner_of(change.before)
        if held == marker or (adopt and held and held.installation == marker.installation):
            continue
        policy = change.path.removeprefix(_POLICIES)
        if held is None or held.installation != marker.installation:
            whose = "was not written by disinto" if held is None else f"belongs to {held}"
            raise NotOurs(
                f"the policy {policy} {whose}, and is left unchanged",
                remedy="Set another [vault] installation, or rename that policy.",
            )
        raise NotOurs(
            f"the policy {policy} belongs to {held}, and ours is {marker.ops_repo}; it is left "
            "unchanged",
            remedy="Set another [vault] installation. Only if the remote of this installation has "
            "another address now, run `disinto apply --adopt`.",
        )


def _left_over(
    client: hvac.Client, settings: Settings, present: Iterable[str], *, remove: bool
) -> Iterator[Change]:
    """Policies that are provably ours, and no longer used."""
    marker = owner(settings)
    prefixes = (names.runner_prefix(settings.vault), names.derive_prefix(settings.vault))
    for name in sorted(present):
        legacy = templates.legacy_policy(settings, name)
        if not name.startswith(prefixes) and legacy is None:
            continue
        before = policy_text(client, name)
        if owner_of(before) == marker or (legacy and before.strip() == legacy.strip()):
            yield _stale(_POLICIES + name, before, remove=remove)


def _left_over_roles(client: hvac.Client, settings: Settings, *, remove: bool) -> Iterator[Change]:
    for path, body in templates.legacy_roles(settings).items():
        if path == f"auth/token/roles/{names.token_role(settings.vault)}":
            continue
        try:
            held = _role(client, path, body)
        except RightMissing:  # what we may not read is not ours to report
            continue
        if held.kind is ChangeKind.UNCHANGED:
            yield _stale(path, held.before, remove=remove)


def _stale(path: str, before: str, *, remove: bool) -> Change:
    if not remove:
        return Change(kind=ChangeKind.STALE, path=path, before=before, after=before)
    return Change(kind=ChangeKind.DELETE, path=path, before=before)


def _token_role(client: hvac.Client, settings: Settings) -> Change:
    """Raises ``NotOurs`` if the role lets its tokens have others' policies."""
    role = names.token_role(settings.vault)
    path = f"auth/token/roles/{role}"
    body = templates.token_role(settings)
    held = (if_present(client.auth.token.read_role, role) or {}).get("allowed_policies_glob") or []
    if held and held not in (body["allowed_policies_glob"], [templates.LEGACY.policies]):
        raise NotOurs(
            f"the token role at {path} is for the policies {', '.join(held)}, and is left "
            "unchanged",
            remedy="Set another [vault] token_role or installation.",
        )
    return _role(client, path, body)


def _role(client: hvac.Client, path: str, body: Mapping[str, Any]) -> Change:
    """A role or a configuration; only the keys that we write are compared."""
    held = role_data(client, path)
    after = _shown(body)
    if held is None:
        return Change(kind=ChangeKind.CREATE, path=path, after=after, body=body)
    before = _shown({key: _alike(held.get(key), body[key]) for key in body})
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
    kv_version = (body.get("options") or {}).get("version")
    if held.get("type") != body["type"] or (kv_version and version != kv_version):
        actual = f"{held.get('type')} version {version}" if version else str(held.get("type"))
        need = f"{body['type']} version {kv_version}" if kv_version else str(body["type"])
        raise Misconfigured(
            f"the mount {mount}/ is of type {actual}, and [vault] {key} needs {need}",
            remedy=f"Choose another mount in [vault] {key}, or migrate this one.",
        )
    shown = _shown(body)
    return Change(kind=ChangeKind.UNCHANGED, path=path, before=shown, after=shown)


def _auth_mount(client: hvac.Client, mount: str, kind: str) -> Change:
    path = f"sys/auth/{mount}"
    body = {"type": kind}
    held = client.sys.list_auth_methods()["data"].get(f"{mount}/")
    if held is None:
        return Change(kind=ChangeKind.CREATE, path=path, after=_shown(body), body=body)
    if held.get("type") != kind:
        raise Misconfigured(
            f"the auth method at auth/{mount} is of type {held.get('type')}, not {kind}",
            remedy="Set [vault] auth_mount.",
        )
    return Change(kind=ChangeKind.UNCHANGED, path=path, before=_shown(body), after=_shown(body))


def _transit(client: hvac.Client, settings: Settings, mounts: Mapping[str, Any]) -> list[Change]:
    """The transit keys, and their engine: the one that signs results, and those that derive secrets."""
    signing = settings.attestation.transit_key
    if not signing and not settings.vault.derived:
        return []
    mount = names.safe_path(settings.vault.transit_mount, key="transit_mount")
    engine = _engine(mount, mounts, {"type": "transit"}, key="transit_mount")
    keys = {
        f"{mount}/keys/{names.safe_path(key, key='derived')}": (
            "[vault] derived",
            {"type": "aes256-gcm96"},
        )
        for key in sorted(set(settings.vault.derived.values()))
    }
    if signing:
        path = f"{mount}/keys/{names.safe_path(signing, key='transit_key')}"
        keys[path] = ("[attestation] transit_key", {"type": "ed25519"})
    changes = [engine]
    for path, (setting, body) in keys.items():
        if engine.kind is ChangeKind.CREATE:
            new = Change(kind=ChangeKind.CREATE, path=path, after=_shown(body), body=body)
            changes.append(new)
            continue
        change = _role(client, path, body)
        if change.kind is ChangeKind.UPDATE:
            raise Misconfigured(
                f"the transit key at {path} is not of type {body['type']}",
                remedy=f"Choose another name in {setting}.",
            )
        changes.append(change)
    return changes


def _approle(client: hvac.Client, settings: Settings) -> list[Change]:
    mount = names.safe_path(auth_mount(settings.vault, VaultAuth.APPROLE), key="auth_mount")
    engine = _auth_mount(client, mount, "approle")
    roles = {
        f"auth/{mount}/role/{names.approle_role(settings.vault)}": templates.approle_role(settings),
        f"auth/{mount}/role/{names.page_policy(settings.vault)}": (
            templates.page_approle_role(settings)
        ),
    }
    new = engine.kind is ChangeKind.CREATE
    return [engine, *(_new(p, b) if new else _role(client, p, b) for p, b in roles.items())]


def _new(path: str, body: Mapping[str, Any]) -> Change:
    return Change(kind=ChangeKind.CREATE, path=path, after=_shown(body), body=body)
