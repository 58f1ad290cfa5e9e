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
"""Seconds after which the forge is asked again although the issue has not changed. Until it has answered,
the refusal counts: otherwise those that were refused would keep newer issues waiting.
"""

FAILED_S = 60.0
"""The same, if the forge gave no usable answer about the issue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vet:
    """What the forge says about a run that a rule wants.

    Attributes:
        issue, rule: as they were then.
        attempt: that was to start; a permission is for this one alone.
        refusal: why it must not start; "" if it may.
        at: when the forge was asked, monotonic seconds.
        valid_s: seconds until it is to be asked again.
    """

    issue: Issue
    rule: Rule
    attempt: int
    refusal: str
    at: float
    valid_s: float = REFUSED_S

    def refuses(self, issue: Issue, rule: Rule) -> bool:
        """Whether it forbids a run."""
        return bool(self.refusal) and self.issue == issue and self.rule == rule

    def permits(self, issue: Issue, rule: Rule, attempt: int, now: float) -> bool:
        """Whether it allows this attempt. ``now``: monotonic seconds."""
        same = self.issue == issue and self.rule == rule and self.attempt == attempt
        return same and not self.refusal and not self.stale(now)

    def stale(self, now: float) -> bool:
        """Whether the forge is to be asked again. ``now``: monotonic seconds."""
        return now - self.at >= self.valid_s


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
        return Vet(issue=known, rule=rule, attempt=attempt, refusal=error.what, at=now)
    refusal = _refusal(issues, rule, setters)
    return Vet(
        issue=issues.issues[number],
        rule=rule,
        attempt=attempt,
        refusal=refusal,
        at=now,
        valid_s=REFUSED_S if refusal else VALID_S,
    )


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
