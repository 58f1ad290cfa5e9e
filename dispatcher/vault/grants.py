"""Grants: one Vault token for one run, minted wrapped, ended by its accessors.

Their calls are those of every run and go without hvac; see ``http``. What OpenBao 2.7.2 does, and
why this module works as it does:

* **Time.** At renewal through a token role the server goes by the *role's*
  ``token_explicit_max_ttl`` and not by the ``explicit_max_ttl`` that the token was created with.
  The role's is what the longest run needs. A shorter run's grant is bounded by who may renew it:
  its own policies do not let it renew itself, so that only ``extend`` moves its end.
* **Unknown policies.** The warning that a policy does not exist is lost inside a wrapped answer.
  So the policies are listed before the grant is minted.
* **Revoking a wrapping token checks nothing.** Its accessor is revoked with 204 also while an
  unwrapping is under way: of 600 races, 44 had both succeed. ``withdraw`` does not rely on it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dispatcher.errors import (
    Dependency,
    Misconfigured,
    PermanentError,
    TemporaryError,
    Unavailable,
)
from dispatcher.model.run import Grant, RunKey, WrappedGrant
from dispatcher.settings import Settings
from dispatcher.vault import errors, names
from dispatcher.vault.health import VaultHealth
from dispatcher.vault.http import Reply
from dispatcher.vault.session import Vault

POLICIES_FRESH_S = 60.0
"""Seconds for which a policy that was listed counts as present. If it is gone nevertheless, the
grant cannot read its secret, and the runner stops before the formula."""


class PolicyMissing(PermanentError):
    """A secret of the run has no policy, so that no grant could read it.

    Attributes:
        secrets: the names.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        plural = "secrets" if len(secrets) > 1 else "secret"
        super().__init__(
            f"Vault has no policy for the {plural} {', '.join(secrets)}",
            remedy="Write it with `disinto secrets put NAME`, or run `disinto apply`.",
        )
        self.secrets = tuple(secrets)


class GrantGone(TemporaryError):
    """The grant ended before it could be extended; a new one may be minted in its place."""


class Grants:
    """The grants of one dispatcher. Thread-safe.

    Every method raises ``Unavailable`` (vault) if the server gives no answer that counts, and
    ``Denied`` (vault) if it refuses the dispatcher's rights.
    """

    def __init__(self, vault: Vault, settings: Settings) -> None:
        self._vault = vault
        self._settings = settings
        self._role = names.token_role(settings.vault)
        self._policies: frozenset[str] = frozenset()
        self._policies_at = float("-inf")
        self._policies_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Grants({self._vault!r})"

    def close(self) -> None:
        """Ends the connection's renewal."""
        self._vault.close()

    def mint(
        self, key: RunKey, secrets: Sequence[str], *, bot: str = "", lifetime_s: int
    ) -> WrappedGrant:
        """Mint the grant of a run: one call, wrapped, and provisional.

        The grant dies after ``[grants] provisional_ttl_s`` unless ``extend`` follows, so that one
        whose claim never stood needs nobody to remember it. The wrapping lives for
        ``[grants] placement_wait_s`` and ``margin_s``.

        Args:
            key: of the run, kept in the token's metadata for audit.
            secrets: names; a grant without any can do nothing but look itself up.
            bot: name of a bot whose token the run gets; "" for none.
            lifetime_s: seconds for which it will be extended.

        Raises:
            PolicyMissing: a secret has no policy.
            PermanentError: a name that no secret can have.
        """
        policies = names.policies_of(self._settings.vault, secrets, bot=bot)
        self._require(policies)
        limits = self._settings.grants
        reply = self._vault.call(
            "POST",
            f"auth/token/create/{self._role}",
            {
                "policies": list(policies),
                "ttl": f"{min(limits.provisional_ttl_s, lifetime_s)}s",
                "explicit_max_ttl": f"{lifetime_s}s",
                "renewable": True,
                "meta": {"action_id": key.action_id, "blob": key.blob},
                "display_name": f"disinto-{key.action_id}",
            },
            wrap_ttl_s=limits.placement_wait_s + limits.margin_s,
        )
        wrap = reply.body.get("wrap_info")
        if not wrap or not wrap.get("wrapped_accessor"):
            self._discard(reply)
            raise PermanentError(
                f"Vault at {self._vault.addr} did not wrap a token of the role {self._role}"
            )
        grant = Grant(
            wrapping_accessor=str(wrap["accessor"]),
            accessor=str(wrap["wrapped_accessor"]),
            policies=policies,
        )
        if reply.warnings:
            self.revoke(grant)
            raise PolicyMissing(sorted(secrets) or [names.lookup_self_policy(self._settings.vault)])
        return WrappedGrant(
            grant=grant, token=str(wrap["token"]), creation_path=str(wrap["creation_path"])
        )

    def extend(self, grant: Grant, *, lifetime_s: int) -> None:
        """Let the grant live ``lifetime_s`` seconds from now. Called once its claim stands.

        Raises:
            GrantGone: it ended before.
            Misconfigured: the server lets no token of the role live that long.
        """
        reply = self._vault.call(
            "POST",
            "auth/token/renew-accessor",
            {"accessor": grant.accessor, "increment": f"{lifetime_s}s"},
            allow=(400, 403, 404),
        )
        if not reply.ok:
            self._refuse_denied(reply, "POST auth/token/renew-accessor")
            raise GrantGone("the grant expired before its claim was recorded, and was not used")
        granted = int((reply.body.get("auth") or {}).get("lease_duration") or 0)
        if granted < lifetime_s - 1:
            raise Misconfigured(
                f"Vault limits a token of the role {self._role} to {granted} s, but the run may "
                f"need {lifetime_s} s",
                remedy="Run `disinto apply`, which sets the role's token_explicit_max_ttl by "
                "[limits] max_run_s; raise the max_lease_ttl of auth/token; or lower the action's "
                "timeout_minutes.",
            )

    def withdraw(self, grant: Grant) -> bool:
        """End a grant and determine whether its run can have started.

        In this order: the grant itself is revoked, then the wrapping token is looked up. If it
        is still unused then, whoever unwraps it later gets a token that was dead before, and the
        runner, which looks itself up before the formula starts, stops there. If it is not, the
        unwrapping came before, perhaps while the grant lived.

        The wrapping token is left as it is, so that a crash may follow: a second call
        returns the same until the wrapping expires. Once a new grant stands in the claim, ``revoke``
        removes what is left of this one.

        Returns:
            True: no formula has started with this grant, and none ever will.
            False: the wrapping token was used, or has expired; the formula may have started.
        """
        self._revoke(grant.accessor)
        wrapping = self._lookup(grant.wrapping_accessor)
        # -1 is written before an unwrapping reads what is wrapped.
        return wrapping is not None and wrapping.get("num_uses") == 1

    def alive(self, grant: Grant) -> bool:
        """Whether the token inside a grant is still good, whoever has it."""
        return self._lookup(grant.accessor) is not None

    def revoke(self, grant: Grant) -> None:
        """End the grant and its wrapping. Idempotent."""
        self._revoke(grant.accessor)
        self._revoke(grant.wrapping_accessor)

    def secret_names(self) -> frozenset[str]:
        """Names of the secrets that actions may name, stored and dynamic; reads no value.

        A name that no action can use (lower case, a directory) is left out.
        """
        path = names.kv_path(self._settings.vault, "metadata")
        listed = self._vault.call("LIST", path, allow=(404,)).data.get("keys") or ()
        return frozenset(names.usable_names(self._settings.vault, listed))

    def health(self) -> VaultHealth:
        """Health of the server and of our login. Never raises."""
        return self._vault.health()

    # -- parts -----------------------------------------------------------------------------

    def _require(self, policies: Sequence[str]) -> None:
        """Raises ``PolicyMissing`` unless the server has all of these policies."""
        fresh = time.monotonic() - self._policies_at < POLICIES_FRESH_S
        if fresh and self._policies.issuperset(policies):
            return
        with self._policies_lock:
            at = time.monotonic()
            listed = self._vault.call("LIST", "sys/policies/acl").data.get("keys") or ()
            self._policies = frozenset(listed)
            self._policies_at = at
        missing = [policy for policy in policies if policy not in self._policies]
        own = names.lookup_self_policy(self._settings.vault)
        if own in missing:
            raise Misconfigured(f"Vault has no policy {own}", remedy="Run `disinto apply`.")
        if missing:
            raise PolicyMissing(names.secrets_of(self._settings.vault, missing))

    def _lookup(self, accessor: str) -> Mapping[str, Any] | None:
        """The server's record of a token; None if there is none."""
        reply = self._vault.call(
            "POST",
            "auth/token/lookup-accessor",
            {"accessor": accessor},
            allow=(400, 403, 404),
        )
        if not reply.ok:
            self._refuse_denied(reply, "POST auth/token/lookup-accessor")
            return None
        return reply.data

    def _revoke(self, accessor: str) -> None:
        """Revoke one token; one that is gone already is fine.

        The server answers 204, or 200 with a warning, or 400 for a token on its way out.
        """
        if not accessor:
            return
        reply = self._vault.call(
            "POST",
            "auth/token/revoke-accessor",
            {"accessor": accessor},
            allow=(400, 403, 404),
        )
        if not reply.ok:
            self._refuse_denied(reply, "POST auth/token/revoke-accessor")

    def _refuse_denied(self, reply: Reply, what: str) -> None:
        """Returns if the answer says that the token is gone.

        That is 400 or 404 with its word, or, for a token that is just being removed, the same
        403 that a missing right gets. Our own capabilities tell the two apart.
        """
        reason = reply.errors.lower()
        if any(phrase in reason for phrase in ("invalid accessor", "bad token", "token not found")):
            return
        if reply.status != 403:
            # Not an answer about the token that we recognise; nothing follows from it.
            raise Unavailable(
                Dependency.VAULT, f"Vault at {self._vault.addr} failed {what} ({reply.errors})"
            )
        path = what.partition(" ")[2]
        held = self._vault.call("POST", "sys/capabilities-self", {"paths": [path]}).data
        if not {"update", "root"} & set(held.get(path) or ()):
            raise errors.denied(self._vault.addr, what)

    def _discard(self, reply: Reply) -> None:
        accessor = str((reply.body.get("auth") or {}).get("accessor") or "")
        self._revoke(accessor)
