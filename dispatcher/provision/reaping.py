"""Which things are old enough to be left over, when a list says what is known. Pure."""

from __future__ import annotations

from dispatcher.model.times import rfc3339
from dispatcher.provision.params import BadParams

MARGIN_S = 900.0
"""Seconds by which the clocks of a list's author, of the run and of the provider may differ, and a list may
be late."""


def made_before(listed_at: float, now: float) -> float:
    """The time before which a thing must have been made, by its provider's clock, to be left over.

    A list knows nothing of what was made after it, so that must not be taken. If the author's clock was ahead,
    ``listed_at`` is later than the list. No list is made after the run that reads it begins; so a time that is
    later than that begin shows a wrong clock. What is within the margin changes nothing, since things must be
    older than the margin. An older list by a clock that is ahead by more cannot be recognized: see the limits in
    docs/desktops.md.

    Args:
        listed_at: when the list was made, by its author's clock, in seconds since the epoch.
        now: when the run began, by its own clock.

    Raises:
        BadParams: ``listed_at`` is later than now, by more than the margin.
    """
    if listed_at > now + MARGIN_S:
        raise BadParams(
            f"[params] listed_at {rfc3339(listed_at)} is later than now, {rfc3339(now)}: a clock is wrong, and what "
            "was made after the list would count as left over",
            remedy="Correct the clock of the machine that wrote the action, or of the one that runs it; reap again.",
        )
    return min(listed_at, now) - MARGIN_S
