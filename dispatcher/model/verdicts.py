"""The verdicts, one entry each: everything else that names them is derived from it, or compared.

To add one: a member here, then ``make docs``, which renews schemas and tables. The module imports
only what is quickly loaded, because the runner needs it in every job, and the shell at each TAB.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """What there is to know about a verdict.

    Attributes:
        exit_code: of ``disinto dispatch``, and of the result unless the run gave one of its own:
            sysexits(3) if one fits. 0 makes it a success.
        meaning: for people, in one sentence without a full stop.
        headline: title of a notification; ``{action}`` and ``{exit_code}`` are filled in.
        colour: on a terminal; a name that both click and rich know.
        own_code: True if ``disinto dispatch`` exits with the code of the result.
        ran: True if the formula certainly ran, so that its tier's approval must have been given.
        alert: severity of the alert in ``jobs/prometheus`` that fires when a run ends like this,
            or "".
    """

    exit_code: int
    meaning: str
    colour: str
    headline: str
    own_code: bool = False
    ran: bool = False
    alert: str = ""


class Verdict(StrEnum):
    """How a run ended. Closed."""

    exit_code: int
    meaning: str
    colour: str
    headline: str
    own_code: bool
    ran: bool
    alert: str

    def __new__(cls, name: str, *entries: _Entry) -> Self:
        # One entry for each member; mypy takes Verdict("lost"), which has none, for a call of this.
        (entry,) = entries
        member = str.__new__(cls, name)
        member._value_ = name
        member.exit_code = entry.exit_code
        member.meaning = entry.meaning
        member.colour = entry.colour
        member.headline = entry.headline
        member.own_code = entry.own_code
        member.ran = entry.ran
        member.alert = entry.alert
        return member

    SUCCEEDED = (
        "succeeded",
        _Entry(
            exit_code=0,
            meaning="the formula ended with 0",
            colour="green",
            headline="{action} succeeded",
            own_code=True,
            ran=True,
        ),
    )
    FAILED = (
        "failed",
        _Entry(
            exit_code=1,
            meaning="the formula ended with another code, or by a signal",
            colour="red",
            headline="{action} failed with exit code {exit_code}",
            own_code=True,
            ran=True,
        ),
    )
    TIMED_OUT = (
        "timed_out",
        _Entry(
            exit_code=124,  # as timeout(1)
            meaning="killed at its timeout",
            colour="yellow",
            headline="{action} reached its timeout and was stopped",
            ran=True,
        ),
    )
    CANCELLED = (
        "cancelled",
        _Entry(
            exit_code=130,  # as a shell after an interrupt
            meaning="stopped by a person, or kept from starting",
            colour="yellow",
            headline="{action} was cancelled",
        ),
    )
    LOST = (
        "lost",
        _Entry(
            exit_code=71,
            meaning="the formula may have started, and its outcome is unknown; never retried",
            colour="red",
            headline="{action} is lost: it may have started, and its outcome is unknown",
            alert="critical",
        ),
    )
    UNPLACEABLE = (
        "unplaceable",
        _Entry(
            exit_code=69,
            meaning="the engine did not place it in time",
            colour="yellow",
            headline="{action} could not be placed in time",
            alert="warning",
        ),
    )
    REFUSED = (
        "refused",
        _Entry(
            exit_code=77,
            meaning="refused by a gate, finally",
            colour="yellow",
            headline="{action} was refused",
        ),
    )
    INVALID = (
        "invalid",
        _Entry(
            exit_code=65,
            meaning="the action file, or a name in it, is invalid",
            colour="yellow",
            headline="{action} is invalid and never runs",
        ),
    )
    ERROR = (
        "error",
        _Entry(
            exit_code=70,
            meaning="the formula never started, because its set-up failed",
            colour="red",
            headline="{action} could not be started",
            alert="warning",
        ),
    )
    SUPERSEDED = (
        "superseded",
        _Entry(
            exit_code=83,
            meaning="a newer action of its lock took its place before it started",
            colour="yellow",
            headline="{action} was superseded by a newer action",
        ),
    )
    EXPIRED = (
        "expired",
        _Entry(
            exit_code=84,
            meaning="it had not started when its time was over",
            colour="yellow",
            headline="{action} expired before it started",
        ),
    )

    @property
    def success(self) -> bool:
        """True if the run did what it was for. Goes with exit code 0, and only with it."""
        return self.exit_code == 0
