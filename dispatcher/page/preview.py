"""An action as it would be sent: its file, its tier, and the approval that it will wait for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dispatcher.model.approval_need import who
from dispatcher.operate.submission import approval_missing, need_of_submission, needs_approval
from dispatcher.operate.submission_client import SubmissionClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """An action as it would be sent.

    Attributes:
        toml: its file.
        reason: why it has that tier.
        approval: what it will wait for; "" if it starts by itself.
        approvers: who may approve it; "" if nobody needs to.
    """

    id: str
    formula: str
    toml: str
    tier: str
    reason: str
    approval: str
    approvers: str


def preview(client: SubmissionClient, file: Path, data: bytes) -> Preview:
    """Check an action, and send nothing.

    Raises:
        InvalidInput, NotFound, AlreadyThere, Unavailable, Denied: see ``SubmissionClient.check``.
    """
    checked = client.check(file, data=data)
    needed = needs_approval(checked)
    return Preview(
        id=checked.action.id,
        formula=checked.action.formula,
        toml=data.decode("utf-8"),
        tier=checked.tier.tier,
        reason=checked.tier.reason,
        approval=approval_missing(checked, client.settings),
        approvers=who(need_of_submission(checked), client.approvers) if needed else "",
    )
