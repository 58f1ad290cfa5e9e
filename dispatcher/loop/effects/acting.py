"""What every effect acts through: the components, the lead, and what must not be asked now.

Effects run on threads of the pool, touch nothing of the loop's state, and return what the ledger now
holds. Whoever calls one handles the exceptions: ``Unavailable`` and ``Denied`` mean *later*,
``Conflict`` means *read the ledger again*.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dispatcher.errors import Denied, Dependency, TemporaryError, Unavailable
from dispatcher.ledger.base import Lease
from dispatcher.loop.components import Components
from dispatcher.loop.fence import Fence
from dispatcher.model.run import Claim

REMEMBERED = 10_000
"""Ids that an effect remembers something about."""


class LeadLost(TemporaryError):
    """Another process may lead by now; nothing more may be written by this one."""


@dataclass(frozen=True, kw_only=True)
class Acting:
    """The components, as a leader may use them.

    Attributes:
        fence: holds the rules still while a claim is made by them.
        resting: asked before a call that may be put off; names what must not be asked now.
        note: called with a failure that did not stop its step.
    """

    components: Components
    lease: Lease
    fence: Fence = field(default_factory=Fence)
    resting: Callable[[], Collection[Dependency]] = frozenset
    note: Callable[[Exception], None] = lambda _error: None

    def led(self) -> None:
        """Checked before each write: a leader that lost the lead must not act.

        Raises:
            LeadLost: the lead is not held any more.
        """
        if not self.lease.held():
            raise LeadLost("this dispatcher is no longer the leader")

    def audit(self, event: str, claim: Claim, **facts: object) -> None:
        """Put on record what happened to a claim."""
        self.components.audit.append(
            event, action=claim.key.action_id, blob=claim.key.blob, commit=claim.commit, **facts
        )

    def try_revoke(self, claim: Claim) -> bool:
        """True once the grant is dead; a vault that is down must not hold up the verdict."""
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
