"""The results that the ledger keeps in tombstones, because somebody changed or removed their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dispatcher.ledger.base import Ledger
from dispatcher.loop.inventory_search import Kept
from dispatcher.model.run import Claim, Phase


def kept_in(claims: Iterable[Claim]) -> Mapping[str, str]:
    """Their texts, by action id."""
    return {
        claim.key.action_id: claim.result
        for claim in claims
        if claim.phase is Phase.TOMBSTONE and claim.result
    }


def kept_by(ledger: Ledger | None) -> Kept | None:
    """Reads what this ledger keeps at each call; None without a ledger."""
    return None if ledger is None else lambda: kept_in(ledger.open_runs())
