"""Asks the forge whether whoever set an issue's labels may write.

A name proves nothing, and rights may have been withdrawn since: so the forge is asked for the rights, when
the run is about to be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.decide.forge_issue import Issue
from dispatcher.decide.sidecar_rules import Rule
from dispatcher.decide.sidecars import Decision
from dispatcher.forge.exchange import AnswerTooLarge, TooLarge
from dispatcher.sidecar.reading import ProjectIssues
from dispatcher.toml.source import quoted

MAY_WRITE = frozenset({"write", "admin", "owner"})

VALID_S = 60.0
"""Seconds that a permission counts."""

REFUSED_S = 600.0
"""Seconds after which the forge is asked again although the issue has not changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vet:
    """What the forge says about a run that a rule wants.

    Attributes:
        issue: as it was then.
        attempt: that was to start; a permission is for this one alone.
        refusal: why it must not start; "" if it may.
        at: when the forge was asked, monotonic seconds.
    """

    issue: Issue
    attempt: int
    refusal: str
    at: float

    def counts(self, issue: Issue, now: float) -> bool:
        """Whether it still holds for this issue."""
        return self.issue == issue and now - self.at < (REFUSED_S if self.refusal else VALID_S)


def vet(issues: ProjectIssues, made: Decision, rule: Rule, *, now: float) -> Vet | None:
    """Read an issue and its time line, and ask for the rights of whoever set the labels.

    Args:
        made: starts a run.
        now: monotonic seconds.

    Returns:
        None if the issue is gone, or no rule may apply to it any more.

    Raises:
        Unavailable, Denied: the forge.
    """
    number, attempt = made.issue, made.attempt
    known = issues.issues.get(number)
    try:
        if issues.refresh(number) is None:
            return None
        setters = issues.time_line(number).setters
    except (AnswerTooLarge, TooLarge) as error:
        if known is None:
            return None
        return Vet(issue=known, attempt=attempt, refusal=error.what, at=now)
    refusal = _refusal(issues, rule, setters)
    return Vet(issue=issues.issues[number], attempt=attempt, refusal=refusal, at=now)


def _refusal(issues: ProjectIssues, rule: Rule, setters: Mapping[str, str]) -> str:
    permissions: dict[str, str] = {}
    for label in rule.labels:
        login = setters.get(label)
        if login is None:
            return f"the forge does not say who set the label {quoted(label)}"
        if not login:
            return f"the account that set the label {quoted(label)} is gone"
        if login not in permissions:
            permissions[login] = issues.reads.permission(login)
        if permissions[login] not in MAY_WRITE:
            return f"{quoted(login)}, who set the label {quoted(label)}, may not write"
    return ""
