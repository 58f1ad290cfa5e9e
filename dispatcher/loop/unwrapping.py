"""Finds out why a runner could not unwrap its grant: somebody else did, or the grant is gone.

Vault gives the runner the same answer for both. The dispatcher has the accessor of the token inside:
if that is alive although no runner of ours unwrapped it, somebody else did. A Vault that was restarted
empty, or restored from a backup, has neither of the two.
"""

from __future__ import annotations

from dataclasses import replace

from dispatcher.errors import Denied, Unavailable
from dispatcher.model.payload import WRAPPING_GONE
from dispatcher.model.run import Claim, Outcome
from dispatcher.vault import Grants


def with_cause(outcome: Outcome, claim: Claim, grants: Grants) -> Outcome:
    """The outcome; if the run could not unwrap its grant, with the cause as far as it is known.

    Call it before the grant is revoked.
    """
    if claim.grant is None or not outcome.error.startswith(WRAPPING_GONE):
        return outcome
    try:
        alive = grants.alive(claim.grant)
    except (Unavailable, Denied) as error:
        why = f"possible interception, or Vault has lost its data; it is unavailable ({error})"
    else:
        why = (
            "possible interception: the grant inside is alive, so somebody else unwrapped it. "
            "Vault's audit log shows who did"
            if alive
            else "Vault does not have the grant inside either. It has expired or was revoked, or "
            "Vault has lost its data (restarted empty, or restored from a backup). The formula did "
            "not start; submit the action again under a new id"
        )
    return replace(outcome, error=f"{WRAPPING_GONE}: {why}")
