"""Which rule starts a run for which issue, and why another does not. Pure.

Everything is decided from the rules, the issues as the forge shows them, the time, and the runs that git
proves: actions that this dispatcher wrote, with results that it signed. So a crash, a new machine or a
change of leader makes no difference. Whoever may push can use up attempts only by withdrawing actions of
ours before they run: that is what deleting a waiting action means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from dispatcher.decide.forge_issue import Issue, SubIssue, digest_of
from dispatcher.decide.sidecar_rules import MAX_COOL_DOWN_S, Rule, Sidecars
from dispatcher.model.times import rfc3339, took
from dispatcher.model.verdicts import Verdict
from dispatcher.toml.source import quoted

DAY_S = 86_400.0

GAVE_UP = "gave_up"
"""The value of ``outcome`` in a run's outputs with which it asks not to be retried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarRun:
    """A run of a rule: an action that this dispatcher wrote, and its result if it signed one.

    Attributes:
        digest: of what its rule looked at.
        verdict: None for an open run.
        outcome: the value of ``outcome`` in its outputs, or "".
        ended_at: seconds since the epoch; 0.0 for an open run.
    """

    rule: str
    project: str
    issue: int
    attempt: int
    digest: str
    verdict: Verdict | None = None
    outcome: str = ""
    ended_at: float = 0.0

    @property
    def open(self) -> bool:
        """Whether it has no result."""
        return self.verdict is None

    @property
    def given_up(self) -> bool:
        """Whether it is not to be retried until the issue changes."""
        return self.outcome == GAVE_UP or self.verdict is Verdict.CANCELLED

    @property
    def action_id(self) -> str:
        """Of its action."""
        return run_id(self.rule, self.project, self.issue, self.attempt)


def run_id(rule: str, project: str, issue: int, attempt: int) -> str:
    """The id of a run's action."""
    return f"{rule}-{project}-{issue}-{attempt}"


class Why(StrEnum):
    """What was decided about one rule and one issue. Closed."""

    START = "start"
    LABELS = "labels"  # it lacks a required one, or has an excluded one
    CONDITION = "condition"
    UNREAD = "unread"  # its sub-issues are not known yet
    OPEN = "open"  # a run is open
    UNCHANGED = "unchanged"  # since a successful run
    GAVE_UP = "gave_up"  # and the issue has not changed since
    COOL_DOWN = "cool_down"
    ATTEMPTS = "attempts"  # all used
    RUNS_PER_DAY = "runs_per_day"  # all used
    REFUSED = "refused"  # whoever set the label may not
    CONCURRENT = "concurrent"  # as many runs of the rule as may be


BUDGETS = frozenset({Why.ATTEMPTS, Why.RUNS_PER_DAY})
"""Limits that somebody should notice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A decision about one rule and one issue.

    Attributes:
        why: see ``Why``.
        reason: in words, a clause without a full stop.
        digest: of what the rule looks at; "" if that does not matter, or is not known yet.
        attempt: of the run to start; 0 if none is to be started.
        again_at: when another decision is possible although nothing changes, seconds since the
            epoch; None if never.
    """

    project: str
    issue: int
    rule: str
    why: Why
    reason: str = ""
    digest: str = ""
    attempt: int = 0
    again_at: float | None = None

    @property
    def action_id(self) -> str:
        """Of the run to start."""
        return run_id(self.rule, self.project, self.issue, self.attempt)


@dataclass(frozen=True)
class Runs:
    """Runs of all rules, by project, issue and rule."""

    runs: tuple[SidecarRun, ...] = ()
    _by_issue: dict[tuple[str, int, str], list[SidecarRun]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _by_project: dict[str, list[SidecarRun]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for run in sorted(self.runs, key=lambda run: (run.ended_at or float("inf"), run.attempt)):
            key = (run.project, run.issue, run.rule)
            self._by_issue.setdefault(key, []).append(run)
            self._by_project.setdefault(run.project, []).append(run)

    def of(self, project: str, issue: int, rule: str) -> Sequence[SidecarRun]:
        """Those of one rule on one issue: in the order of their end, open ones last."""
        return self._by_issue.get((project, issue, rule), ())

    def open_of(self, project: str, rule: str) -> int:
        """Number of open runs of a rule in a project."""
        return sum(r.open for r in self._by_project.get(project, ()) if r.rule == rule)

    def today(self, project: str, now: float) -> list[SidecarRun]:
        """Those of a project that are open, or ended within the last 24 hours."""
        runs = self._by_project.get(project, ())
        return [run for run in runs if run.open or run.ended_at > now - DAY_S]


def last_ended(runs: Runs, *, now: float) -> tuple[str, ...]:
    """Ids of the runs whose end an issue is to show: of each rule on each issue the last that ended, if
    that was within the last 24 hours; oldest first.
    """
    last: dict[tuple[str, int, str], SidecarRun] = {}
    for run in runs.runs:
        key = (run.project, run.issue, run.rule)
        if not run.open and (key not in last or run.attempt > last[key].attempt):
            last[key] = run
    recent = [run for run in last.values() if run.ended_at > now - DAY_S]
    return tuple(run.action_id for run in sorted(recent, key=lambda run: run.ended_at))


def relevant(sidecars: Sidecars, project: str, labels: frozenset[str]) -> bool:
    """Whether some rule of a project may apply to an issue with these labels."""
    return any(
        labels.issuperset(rule.labels) and labels.isdisjoint(rule.without_labels)
        for rule in sidecars.rules_of(project).values()
    )


def decide_project(
    sidecars: Sidecars,
    project: str,
    issues: Iterable[Issue],
    runs: Runs,
    *,
    now: float,
    is_used: Callable[[str], bool] = lambda _id: False,
    refused: Mapping[tuple[int, str], str] = MappingProxyType({}),
) -> Iterator[Decision]:
    """Decide about each rule of a project and each of its open issues, oldest issue first.

    Args:
        refused: why the forge's records forbid a run, by issue and rule.
        now: seconds since the epoch.
        is_used: whether an action of this id exists, or existed, whoever wrote it.
    """
    rules = sidecars.rules_of(project)
    budget = _Budget(sidecars, project, runs, now=now)
    settable = sidecars.settable
    for issue in sorted(issues, key=lambda issue: issue.number):
        for name, rule in rules.items():
            made = _decide(project, issue, name, rule, settable=settable, runs=runs, now=now)
            if made.why in (Why.START, Why.UNREAD) and (issue.number, name) in refused:
                made = _other(made, Why.REFUSED, refused[issue.number, name])
            if made.why is Why.START:
                made = budget.spend(made, is_used)
            yield made


def decide_by_hand(wish: Decision, runs: Runs) -> Decision:
    """Decide about a run that an operator asks for: labels, condition, cool-down and budgets do not
    count, but no rule has two open runs on one issue.

    Args:
        wish: its project, issue, rule, digest and attempt.
    """
    before = runs.of(wish.project, wish.issue, wish.rule)
    if before and before[-1].open:
        return _other(wish, Why.OPEN, f"{before[-1].action_id} is open")
    return wish


def next_attempt(
    project: str, issue: int, rule: str, runs: Runs, is_used: Callable[[str], bool]
) -> int:
    """The first attempt whose id is free: an id that somebody else took is skipped."""
    attempt = max((run.attempt for run in runs.of(project, issue, rule)), default=0) + 1
    while is_used(run_id(rule, project, issue, attempt)):
        attempt += 1
    return attempt


class _Budget:
    """What a project and its rules may still start."""

    def __init__(self, sidecars: Sidecars, project: str, runs: Runs, *, now: float) -> None:
        self._runs = runs
        self._rules = sidecars.rules_of(project)
        self._per_day = sidecars.projects[project].runs_per_day
        self._today = runs.today(project, now)
        self._left = self._per_day - len(self._today)
        self._open = {name: runs.open_of(project, name) for name in self._rules}

    def spend(self, made: Decision, is_used: Callable[[str], bool]) -> Decision:
        """The same decision with its attempt, or another if a maximum is reached."""
        most = self._rules[made.rule].max_concurrent
        if self._open[made.rule] >= most:
            what = f"{_runs(most)} of {made.rule} open in {made.project} (max_concurrent)"
            return _other(made, Why.CONCURRENT, what)
        if self._left <= 0:
            what = f"{_runs(self._per_day)} within 24 hours used up (runs_per_day)"
            return _other(made, Why.RUNS_PER_DAY, what, again_at=self._free_at())
        self._open[made.rule] += 1
        self._left -= 1
        attempt = next_attempt(made.project, made.issue, made.rule, self._runs, is_used)
        return Decision(
            project=made.project,
            issue=made.issue,
            rule=made.rule,
            why=Why.START,
            digest=made.digest,
            attempt=attempt,
        )

    def _free_at(self) -> float | None:
        ended = sorted(run.ended_at for run in self._today if not run.open)
        beyond = len(self._today) - self._per_day
        return ended[beyond] + DAY_S if 0 <= beyond < len(ended) else None


def _decide(
    project: str,
    issue: Issue,
    name: str,
    rule: Rule,
    *,
    settable: frozenset[str],
    runs: Runs,
    now: float,
) -> Decision:
    base = Decision(project=project, issue=issue.number, rule=name, why=Why.START)
    if wrong := _label_problem(rule, issue.labels):
        return _other(base, Why.LABELS, wrong)
    before = runs.of(project, issue.number, name)
    if before and before[-1].open:
        return _other(base, Why.OPEN, f"{before[-1].action_id} is open")
    if issue.sub_issues is None and (before or rule.condition):
        return _other(base, Why.UNREAD, "its sub-issues have not been read yet")
    if rule.condition and (wrong := _sub_issue_problem(issue.sub_issues or ())):
        return _other(base, Why.CONDITION, wrong)
    digest = digest_of(issue, settable=settable)
    base = Decision(project=project, issue=issue.number, rule=name, why=Why.START, digest=digest)
    return _against(base, rule, before, now=now) or base


def _against(
    base: Decision, rule: Rule, before: Sequence[SidecarRun], *, now: float
) -> Decision | None:
    """What earlier runs have against another one; None if nothing."""
    if not before:
        return None
    last = before[-1]
    for run in before:
        if run.digest != base.digest:
            continue
        if run.verdict is Verdict.SUCCEEDED and run.outcome != GAVE_UP:
            what = f"unchanged since {run.action_id} succeeded"
            return _other(base, Why.UNCHANGED, what)
        if run.given_up:
            how = "gave up" if run.outcome == GAVE_UP else "was cancelled"
            return _other(base, Why.GAVE_UP, f"unchanged since {run.action_id} {how}")
    if len(before) >= rule.attempts:
        return _other(base, Why.ATTEMPTS, f"{_runs(rule.attempts)} used up (attempts)")
    pause_s = cool_down_s(rule, before)
    again_at = last.ended_at + pause_s
    if now < again_at:
        how = "succeeded" if last.verdict is Verdict.SUCCEEDED else f"ended as {last.verdict}"
        what = f"{last.action_id} {how}; cool-down of {took(pause_s)} until {rfc3339(again_at)}"
        return _other(base, Why.COOL_DOWN, what, again_at=again_at)
    return None


def cool_down_s(rule: Rule, before: Sequence[SidecarRun]) -> float:
    """Seconds between the last of these runs and the next: it doubles with each failure in a row."""
    failures = 0
    for run in reversed(before):
        if run.verdict is Verdict.SUCCEEDED:
            break
        failures += 1
    return float(min(MAX_COOL_DOWN_S, rule.cool_down_s * 2 ** min(failures, 32)))


def _label_problem(rule: Rule, labels: frozenset[str]) -> str:
    for label in rule.labels:
        if label not in labels:
            return f"no label {quoted(label)}"
    for label in rule.without_labels:
        if label in labels:
            return f"has the label {quoted(label)}"
    return ""


def _sub_issue_problem(subs: Sequence[SubIssue]) -> str:
    if not subs:
        return "no issue is decomposed from it"
    left = [sub.number for sub in subs if not sub.closed]
    if not left:
        return ""
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return f"its sub-issue #{left[0]}{more} is open"


def _other(base: Decision, why: Why, reason: str, *, again_at: float | None = None) -> Decision:
    return Decision(
        project=base.project,
        issue=base.issue,
        rule=base.rule,
        why=why,
        reason=reason,
        digest=base.digest,
        again_at=again_at,
    )


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def next_decision_at(decisions: Iterable[Decision]) -> float | None:
    """When another decision becomes possible although nothing changes."""
    return min((d.again_at for d in decisions if d.again_at is not None), default=None)


def starts(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    """Those that start a run."""
    return tuple(d for d in decisions if d.why is Why.START)


def params_of(sidecars: Sidecars, made: Decision, *, repository: str) -> Mapping[str, str | int]:
    """The ``[params]`` of a run's action. Nothing of the issue's text is among them."""
    return {
        "rule": made.rule,
        "project": made.project,
        "project_toml": sidecars.file_of(made.project),
        "repository": repository,
        "issue_number": made.issue,
        "digest": made.digest,
    }
