"""Notices: what people are notified of, and when. Plain data; see ``dispatcher.notify``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from dispatcher.model.verdicts import Verdict


class Condition(StrEnum):
    """What a notification is about: the values of ``on`` in ``[[notify]]``. Closed.

    Each verdict is a condition of the same name, derived from its entry. To add another: a member
    here, whoever makes its notices (``dispatcher.notify``), then ``make docs``.

    Attributes:
        headline: a notice's title; ``{action}``, ``{exit_code}`` and ``{dependency}`` are filled in.
        meaning: when it is met, for people.
    """

    headline: str
    meaning: str

    def __new__(cls, name: str, headline: str = "", meaning: str = "") -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.headline = headline
        member.meaning = meaning
        return member

    WAITS_FOR_APPROVAL = (
        "waits_for_approval",
        "{action} waits for approval",
        "an action waits for approval; once for each content of its file",
    )
    vars().update({each.name: (each.value, each.headline, each.meaning) for each in Verdict})
    EMERGENCY = (
        "emergency",
        "{action} starts in a freeze, as an emergency",
        "an action with `emergency` starts although a freeze is in force",
    )
    FOREIGN_RESULT = (
        "foreign_result",
        "a result of {action} in git is not signed by this dispatcher",
        "a file in the place of a result is not signed by this dispatcher",
    )
    DEPENDENCY_DOWN = (
        "dependency_down",
        "{dependency} is down",
        "remote, Vault, engine, ledger or forge has been down for a minute",
    )
    DEPENDENCY_UP = (
        "dependency_up",
        "{dependency} is up again",
        "after that, no call to it has failed for a minute",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One event, ready to be sent: without secrets and control characters, and of limited length.

    Attributes:
        id: stable, so that a receiver can recognise a repetition: the same event has the same id
            after a restart and at another dispatcher of the same ops repo. Hexadecimal.
        condition: what it is about; "" in a summary of what was not sent.
        at: when it happened, seconds since the epoch.
        repository: the ops repo's name.
        title: one line.
        detail: why, in words, or "". May have several lines.
        output: the end of the formula's redacted output, or "".
        action, blob, formula, tier, verdict: of the action; "" if there is none, or where it is
            not known.
        exit_code: of the result; None if there is none.
    """

    id: str
    condition: Condition | None
    at: float
    repository: str
    title: str
    detail: str = ""
    output: str = ""
    action: str = ""
    blob: str = ""
    formula: str = ""
    tier: str = ""
    verdict: str = ""
    exit_code: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Notice:
        """The reverse of ``to_json``.

        Raises:
            ValueError, TypeError, KeyError: the data is something else.
        """
        values = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        condition = values.get("condition")
        return cls(**{**values, "condition": Condition(condition) if condition else None})
