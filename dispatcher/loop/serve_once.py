"""The end of ``serve --once``: all is done, or a failure persists."""

from __future__ import annotations

from dispatcher.decide.steps import Plan
from dispatcher.errors import DisintoError, TemporaryError, Unavailable
from dispatcher.loop.term import Term

ONCE_TRIES = 6
"""Attempts in a row after which ``once`` gives up; with the pauses between them about 15 s."""


def is_done(term: Term, plan: Plan) -> bool:
    """Whether nothing is in flight and nothing can be started. If only the sources have still to be
    asked, they are asked without their usual pause.
    """
    at_work = (
        plan.steps
        or term.steps.busy
        or term.pollers
        or term.steps.answer_reports
        or term.steps.reports
        or term.steps.retries
        or term.view.unread
        or term.cancels.unread
        or term.heads.pending
        or term.steps.arrivals.pending
        or term.claims.has_open()
        or term.inventory.pending
    )
    settled = term.heads.followed and term.lead.confirmed and not term.claims.stale
    if at_work or not settled or term.outages.outages():
        return False
    term.sources.hasten()
    return not term.sources.pending


def give_up(term: Term) -> None:
    """Raise a failure that persists, because ``once`` must not wait forever.

    Raises:
        DisintoError: what failed ``ONCE_TRIES`` times in a row.
    """
    for dependency, outage in term.outages.outages().items():
        if outage.tries >= ONCE_TRIES:
            raise Unavailable(
                dependency,
                f"{outage.error.rstrip('.')}. Tried {outage.tries} times; gave up",
                remedy="The next 'disinto serve' takes up what is left",
            )
    # A formulas directory that is missing does not come back by itself.
    error = (
        term.pollers.hopeless(1)
        or term.steps.retries.hopeless(ONCE_TRIES)
        or term.vetting.retries.hopeless(ONCE_TRIES)
    )
    if isinstance(error, DisintoError):
        raise error
    if error is not None:
        raise TemporaryError(f"a step failed {ONCE_TRIES} times in a row: {error}") from error
