"""After an action was sent, for ``dispatch`` and ``again``: report it, and follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dispatcher.cli import console
from dispatcher.cli.following import follow as follow_action
from dispatcher.errors import Exit

if TYPE_CHECKING:
    from dispatcher.cli.options import Sending
    from dispatcher.cli.session import Session
    from dispatcher.operate.submission_client import Sent, SubmissionClient


def after_sending(
    session: Session,
    client: SubmissionClient,
    sent: Sent,
    wanted: Sending,
) -> int:
    """Report what was sent, and follow it if that is wanted and makes sense; the exit code."""
    follow, wait_merge, as_json = wanted.follow, wanted.wait_merge, wanted.as_json
    console.note(sent.summary)
    unmerged = sent.request is not None and not wait_merge
    if follow and not unmerged and not sent.stuck:
        about = {key: value for key, value in _known(sent).items() if value is not None}
        return follow_action(
            session, client, sent.action_id, wait_merge=wait_merge, as_json=as_json, known=about
        )
    if follow and unmerged:
        console.note(
            f"{sent.action_id} has not run: 'disinto watch --wait-merge {sent.action_id}' follows "
            "it until it ends"
        )
    if as_json:
        console.emit(_plain(sent))
    # Sending alone is complete; a run that was requested is not, nor is an action that nobody can
    # approve.
    return Exit.TEMPFAIL if follow or sent.stuck else Exit.OK


def _plain(sent: Sent) -> dict[str, Any]:
    """The submission, as the record of its action."""
    from dispatcher.status.action_record import undecided

    record = undecided(sent.action_id).to_json()
    about = {"state": sent.state, "reason": sent.summary, "tier": sent.tier, **_known(sent)}
    return {**record, **about, "followed": False}


def _known(sent: Sent) -> dict[str, Any]:
    """Facts only the sender has: the commit that brought it, and its pull request."""
    request = sent.request
    return {
        "commit": sent.commit or None,
        "request": {"number": request.number, "url": request.url} if request else None,
    }
