"""What all effects share: the components, the lead, and the dependencies that are backing off.

Effects run on threads of the pool, do not touch the loop's state, and return what the ledger now
holds. The caller handles the exceptions: ``Unavailable`` and ``Denied`` mean *later*, ``Conflict``
means *read the ledger again*.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dispatcher.errors import Denied, Dependency, TemporaryError, Unavailable
from dispatcher.ledger.base import Lease
from dispatcher.loop.components import Components
from dispatcher.loop.fence import Fence
from dispatcher.model.run import Claim

REMEMBERED = 10_000
"""Maximum number of ids that an effect keeps state about."""


class LeadLost(TemporaryError):
    """Another process may lead by now; nothing more may be written by this one."""


def system_time() -> float:
    """Seconds since the epoch, by the clock as it is when this is called."""
    return time.time()


@dataclass(frozen=True, kw_only=True)
class Acting:
    """The components, as a leader may use them.

    Attributes:
        fence: keeps the rules from changing while a claim is made under them.
        resting: names the dependencies that are backing off; called before calls that can wait.
        note: called with a failure that did not stop its step.
        clock: seconds since the epoch, by which it is decided again whether an action may start now.
    """

    components: Components
    lease: Lease
    fence: Fence = field(default_factory=Fence)
    resting: Callable[[], Collection[Dependency]] = frozenset
    note: Callable[[Exception], None] = lambda _error: None
    clock: Callable[[], float] = system_time

    def led(self) -> None:
        """Check the lead, before each write: a process that lost it must not act.

        Raises:
            LeadLost: the lead is no longer held.
        """
        if not self.lease.held():
            raise LeadLost("this dispatcher is no longer the leader")

    def audit(self, event: str, claim: Claim, **facts: object) -> None:
        """Record an event of a claim in the audit log."""
        self.components.audit.append(
            event, action=claim.key.action_id, blob=claim.key.blob, commit=claim.commit, **facts
        )

    def try_revoke(self, claim: Claim) -> bool:
        """Revoke a claim's grant; True once it is revoked. A vault that is down must not hold up the
        verdict.
        """
        if claim.grant is None:
            return True
        if Dependency.VAULT in self.resting():
            return False
        try:
            self.components.grants.revoke(claim.grant)
        except (Unavailable, Denied) as error:
            self.note(error)
            return False
        return True
