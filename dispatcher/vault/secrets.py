"""The secrets of actions, for ``disinto secrets``: written and removed, listed without values.

By hvac, with an operator's token; the dispatcher's own may do none of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dispatcher.errors import InvalidValue, Misconfigured
from dispatcher.model.job_class import FORGE_TOKEN
from dispatcher.model.run import MAX_VARIABLE_BYTES
from dispatcher.model.times import epoch, rfc3339
from dispatcher.settings import Settings
from dispatcher.settings.dynamic import DynamicSettings
from dispatcher.vault import names
from dispatcher.vault.apply import (
    apply_changes,
    bot_keys,
    plan_bot_policies,
    plan_policy,
    secret_keys,
)
from dispatcher.vault.errors import Rejected
from dispatcher.vault.hvac_client import hvac_client, if_present, listed
from dispatcher.vault.session import Vault


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSecret:
    """A secret without its value.

    Attributes:
        name: as stored, or of the section in ``[vault.dynamic]``.
        version: number of the current version, from 1; 0 for a dynamic secret.
        updated_at: when that was written, RFC 3339 in UTC; "" for a dynamic secret.
        deleted: whether the current version is deleted, so that a run that names it fails.
        has_policy: whether a grant can read it.
        path: where an engine of Vault makes it; "" for a stored secret.
        variables: the environment variables that it becomes.
        derived: whether it is one of ``[vault.derived]``.
    """

    name: str
    version: int
    updated_at: str
    deleted: bool
    has_policy: bool
    path: str = ""
    variables: tuple[str, ...] = ()
    derived: bool = False


class Secrets:
    """What is stored below ``[vault] kv_prefix``. Every method raises ``Unavailable`` and ``Denied``."""

    def __init__(self, vault: Vault, settings: Settings) -> None:
        self._vault = vault
        self._client = hvac_client(vault)
        self._kv = self._client.secrets.kv.v2
        self._settings = settings

    def put(self, name: str, value: str) -> int:
        """Write a value and the policy that lets a run read it.

        Returns:
            The number of the version that was written.

        Raises:
            InvalidValue: no secret can have this name, it is that of a dynamic secret, another one
                differs from it only in case, or the value cannot be that of an environment variable.
            Misconfigured: there is no KV v2 mount, or the policy of that name is not ours.
        """
        names.secret_name(name)
        vault = self._settings.vault
        if name in vault.fetched:
            kind = "derived" if name in vault.derived else "dynamic"
            raise InvalidValue(
                f"{name} is a {kind} secret, made by Vault at {vault.fetched[name].path}; nothing is "
                "stored for it",
                remedy=f"Choose another name, or remove [vault.{kind}.{name}] from the settings.",
            )
        _refuse_unusable(name, value)
        names.refuse_case_twins({*self._names(), name})
        policy = plan_policy(self._client, self._settings, name)  # refuses one that is not ours
        version = self._write(name, value)
        apply_changes(self._vault, [policy])
        return version

    def put_bot(self, bot: str, token: str) -> int:
        """Write a bot's token and, if runs may get it by the settings, the policy for that.

        Returns:
            The number of the version that was written.

        Raises:
            InvalidValue: no bot can have this name, or the token cannot be an environment variable.
            Misconfigured: there is no KV v2 mount, or the policy of that name is not ours.
        """
        names.bot_name(bot)
        _refuse_unusable(FORGE_TOKEN, token)
        planned = plan_bot_policies(self._client, self._settings, [bot])
        version = self._write(bot, token, bots=True)
        apply_changes(self._vault, planned)
        return version

    def rm_bot(self, bot: str) -> bool:
        """Remove all versions of a bot's token. False if there was none. The policy stays while the
        settings name the bot.
        """
        names.bot_name(bot)
        existed = bot in self.bots()
        if_present(self._kv.delete_metadata_and_all_versions, **self._secret_path(bot, bots=True))
        return existed

    def bots(self) -> Sequence[str]:
        """Names of the bots with a token."""
        stored = bot_keys(self._client, self._settings)
        return sorted(name for name in stored if not name.endswith("/"))

    def list(self) -> Sequence[StoredSecret]:
        """All secrets by name; one call each, since versions are not in the listing.

        A name that no action can use is left out; ``disinto doctor`` reports it. So is what is stored
        under the name of a dynamic secret.
        """
        policies = set(listed(self._client.sys.list_acl_policies))
        secrets = []
        for name in names.usable_names(self._settings.vault, self._names()):
            has_policy = names.policy_of(self._settings.vault, name) in policies
            fetched = self._settings.vault.fetched.get(name)
            if fetched is not None:
                derived = name in self._settings.vault.derived
                secrets.append(_fetched(name, fetched, has_policy=has_policy, derived=derived))
                continue
            metadata = if_present(self._kv.read_secret_metadata, **self._secret_path(name))
            if metadata is None:  # removed since it was listed
                continue
            version = int(metadata.get("current_version") or 0)
            current = (metadata.get("versions") or {}).get(str(version)) or {}
            secrets.append(
                StoredSecret(
                    name=name,
                    version=version,
                    updated_at=_time(current.get("created_time") or metadata["updated_time"]),
                    deleted=bool(current.get("deletion_time") or current.get("destroyed")),
                    has_policy=has_policy,
                    variables=(name,),
                )
            )
        return secrets

    def rm(self, name: str) -> bool:
        """Remove all versions of a secret, and its policy. False if there was none.

        The policy stays if a dynamic secret has the same name.

        Raises:
            Misconfigured: the policy of that name is not ours.
        """
        names.secret_name(name)
        existed = name in self._names()
        plan_policy(self._client, self._settings, name)  # refuses one that is not ours
        # The policy first: what stops halfway leaves a value that nobody can read.
        if name not in self._settings.vault.fetched:
            policy = names.policy_of(self._settings.vault, name)
            if_present(self._client.sys.delete_acl_policy, policy)
        if_present(self._kv.delete_metadata_and_all_versions, **self._secret_path(name))
        return existed

    def _names(self) -> Sequence[str]:
        return [key for key in secret_keys(self._client, self._settings) if not key.endswith("/")]

    def _secret_path(self, name: str, *, bots: bool = False) -> Mapping[str, str]:
        """Where a secret is, or a bot's token, for hvac."""
        vault = self._settings.vault
        prefix, key = (vault.bots_prefix, "bots_prefix") if bots else (vault.kv_prefix, "kv_prefix")
        return {
            "path": f"{names.safe_path(prefix, key=key)}/{name}",
            "mount_point": names.safe_path(vault.kv_mount, key="kv_mount"),
        }

    def _write(self, name: str, value: str, *, bots: bool = False) -> int:
        """The number of the version that was written. Raises ``Misconfigured``."""
        secret = {names.VALUE_FIELD: value}
        try:
            reply = self._kv.create_or_update_secret(
                secret=secret, **self._secret_path(name, bots=bots)
            )
        except Rejected as rejected:
            if rejected.status != 404:
                raise
            reply = {}
        version = (reply.get("data") or {}).get("version")
        if version is None:
            raise Misconfigured(
                f"Vault has no KV v2 engine at {self._settings.vault.kv_mount}/",
                remedy="Run `disinto apply`, or set [vault] kv_mount.",
            )
        return int(version)


def _fetched(
    name: str, fetched: DynamicSettings, *, has_policy: bool, derived: bool
) -> StoredSecret:
    return StoredSecret(
        name=name,
        version=0,
        updated_at="",
        deleted=False,
        has_policy=has_policy,
        path=fetched.path,
        variables=tuple(fetched.fields),
        derived=derived,
    )


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
