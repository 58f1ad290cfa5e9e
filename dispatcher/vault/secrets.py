"""The secrets of actions, for ``disinto secrets``: written and removed, listed without values.

With an operator's token; the dispatcher's own may do none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.errors import InvalidValue, Misconfigured
from dispatcher.model.run import MAX_VARIABLE_BYTES
from dispatcher.model.times import epoch, rfc3339
from dispatcher.settings import Settings
from dispatcher.vault import names
from dispatcher.vault.apply import apply_changes, delete_policy, plan_policy
from dispatcher.vault.session import Vault


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSecret:
    """What is known of a secret without reading it.

    Attributes:
        name: as stored.
        version: number of the current version, from 1.
        updated_at: when that was written, RFC 3339 in UTC.
        deleted: whether the current version is deleted, so that a run that names it fails.
        has_policy: whether a grant can read it.
    """

    name: str
    version: int
    updated_at: str
    deleted: bool
    has_policy: bool


class Secrets:
    """The folder ``[vault] kv_prefix``. Every method raises ``Unavailable`` and ``Denied``."""

    def __init__(self, vault: Vault, settings: Settings) -> None:
        self._vault = vault
        self._settings = settings

    def put(self, name: str, value: str) -> int:
        """Write a value and the policy that lets a run read it.

        Returns:
            The number of the version that was written.

        Raises:
            InvalidValue: no secret can have this name, another one differs from it only in
                case, or the value cannot be that of an environment variable.
            Misconfigured: there is no KV v2 mount, or the policy of that name is not ours.
        """
        names.secret_name(name)
        _refuse_unusable(name, value)
        names.refuse_case_twins({*self._names(), name})
        policy = plan_policy(self._vault, self._settings, name)  # refuses one that is not ours
        path = names.kv_path(self._settings.vault, "data", name)
        reply = self._vault.call("POST", path, {"data": {names.VALUE_FIELD: value}}, allow=(404,))
        if not reply.ok or "version" not in reply.data:
            raise Misconfigured(
                f"Vault has no KV v2 engine at {self._settings.vault.kv_mount}/",
                remedy="Run `disinto apply`, or set [vault] kv_mount.",
            )
        apply_changes(self._vault, [policy])
        return int(reply.data["version"])

    def list(self) -> Sequence[StoredSecret]:
        """All secrets by name; one call each, since versions are not in the listing.

        A name that no action can use is left out; ``disinto doctor`` reports it.
        """
        policies = set(self._vault.call("LIST", "sys/policies/acl").data.get("keys") or ())
        found = []
        for name in sorted(filter(names.is_secret_name, self._names())):
            path = names.kv_path(self._settings.vault, "metadata", name)
            reply = self._vault.call("GET", path, allow=(404,))
            if not reply.ok:  # removed since it was listed
                continue
            version = int(reply.data.get("current_version") or 0)
            current = (reply.data.get("versions") or {}).get(str(version)) or {}
            found.append(
                StoredSecret(
                    name=name,
                    version=version,
                    updated_at=_time(current.get("created_time") or reply.data["updated_time"]),
                    deleted=bool(current.get("deletion_time") or current.get("destroyed")),
                    has_policy=names.policy_of(self._settings.vault, name) in policies,
                )
            )
        return found

    def rm(self, name: str) -> bool:
        """Remove all versions of a secret, and its policy. False where there was none.

        Raises:
            Misconfigured: the policy of that name is not ours.
        """
        names.secret_name(name)
        existed = name in self._names()
        # The policy first: what stops halfway leaves a value that nobody can read.
        delete_policy(self._vault, self._settings, name)
        path = names.kv_path(self._settings.vault, "metadata", name)
        self._vault.call("DELETE", path, allow=(404,))
        return existed

    def _names(self) -> Sequence[str]:
        path = names.kv_path(self._settings.vault, "metadata")
        keys = self._vault.call("LIST", path, allow=(404,)).data.get("keys") or ()
        return [str(key) for key in keys if not str(key).endswith("/")]


def _refuse_unusable(name: str, value: str) -> None:
    """Raises ``InvalidValue`` unless the value can be that of an environment variable."""
    limit = MAX_VARIABLE_BYTES - len(name) - len("=\0")
    size = len(value.encode("utf-8", "surrogateescape"))
    if not value.strip():
        wrong = "is empty"
    elif "\0" in value:
        wrong = "contains a NUL byte"
    elif size > limit:
        wrong = f"has {size:,} bytes, more than the {limit:,} that fit beside its name"
    else:
        return
    raise InvalidValue(
        f"the value of {name} {wrong}",
        remedy="It becomes an environment variable of the formula; Linux allows "
        f"{MAX_VARIABLE_BYTES // 1024} KiB for one.",
    )


def _time(stated: str) -> str:
    """Vault's time, which has nanoseconds, as all our times are written."""
    return rfc3339(epoch(stated))
