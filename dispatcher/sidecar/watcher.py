"""A thread that watches the issues of all projects, so that no call of the forge holds up the loop.

For each project in turn: read what changed, decide, read the sub-issues that the decisions depend on, and
ask for the rights of whoever set the labels of what is to start. What it knows then is for the source to
take; it writes nothing.

An issue about which the forge gives no usable answer is refused for a while, so that it holds up no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from dispatcher.decide.forge_issue import Issue
from dispatcher.decide.sidecar_rules import Rule, Sidecars
from dispatcher.decide.sidecars import Decision, Runs, Why, decide_project, relevant
from dispatcher.errors import Denied, DisintoError, reason_of
from dispatcher.forge.exchange import TooLarge
from dispatcher.forge.sized import SIZES
from dispatcher.sidecar.reading import MAX_PAGES, IssueReads, ProjectIssues
from dispatcher.sidecar.vetting import FAILED_S, Vet, vet

MAX_TIME_LINES = 50
"""Time lines of issues that one pass reads; the rest is left to the next."""

MAX_VETS = 20
"""Runs that one pass asks the forge about; see ``MAX_TIME_LINES``."""

MAX_FAILURES = 2
"""Issues of one pass that the forge may fail on; with more it counts as unavailable."""

MAX_PROBLEM = 300
"""Characters of an unexpected error that are shown."""

PAUSES_S = (1.0, 60.0)
"""First and longest pause after the forge could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectState:
    """What is known of a project.

    Attributes:
        repository: that was read; "" if none was.
        issues: open issues that rules may apply to, by number.
        vets: what the forge said about runs, by issue and rule.
        complete: whether all open issues were read.
        problem: why not all is known, in words; "" if all is.
    """

    repository: str = ""
    issues: Mapping[int, Issue] = field(default_factory=dict)
    vets: Mapping[tuple[int, str], Vet] = field(default_factory=dict)
    complete: bool = False
    problem: str = ""

    def refused(self, rules: Mapping[str, Rule]) -> dict[tuple[int, str], str]:
        """The refusals that count under these rules, by issue and rule."""
        return {
            (number, name): vetted.refusal
            for (number, name), vetted in self.vets.items()
            if (issue := self.issues.get(number)) and (rule := rules.get(name))
            if vetted.refuses(issue, rule)
        }

    def permitted(self, made: Decision, rule: Rule, now: float) -> bool:
        """Whether the forge's permission for a run of this rule counts. ``now``: monotonic seconds."""
        vetted, issue = self.vets.get((made.issue, made.rule)), self.issues.get(made.issue)
        if vetted is None or issue is None:
            return False
        return vetted.permits(issue, rule, made.attempt, now)


@dataclass
class _Project:
    repository: str
    relevant: Callable[[frozenset[str]], bool]
    issues: ProjectIssues | None = None
    vets: dict[tuple[int, str], Vet] = field(default_factory=dict)
    state: ProjectState = field(default_factory=ProjectState)
    due_at: float = 0.0
    pause_s: float = 0.0


class Watcher:
    """Watches issues on a thread of its own. Its methods may be called from any thread.

    Args:
        reads: opens the issues of a repository. Called on the thread; may raise ``DisintoError``.
        changed: called when the source should be asked again. Must not block.
        budgets: called on the thread with the decisions of each pass; reports budgets that are used
            up. Must not raise.
        poll_interval_s: seconds between two passes of a project.
        every_issue: whether to keep issues that no rule applies to as well.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        reads: Callable[[str], IssueReads],
        *,
        changed: Callable[[], None],
        budgets: Callable[[Sequence[Decision]], object] = len,
        poll_interval_s: float,
        every_issue: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reads, self._changed, self._every_s = reads, changed, poll_interval_s
        self._budgets = budgets
        self._clock, self._every_issue = clock, every_issue
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._stopping = False
        self._sidecars = Sidecars()
        self._followed: Sidecars | None = None
        self._runs: Runs | None = None
        self._is_used: Callable[[str], bool] = lambda _id: False
        self._projects: dict[str, _Project] = {}
        self._hurried: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._thread = threading.Thread(target=self._work, name="sidecar-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the call in progress; does not wait for it."""
        self._stopping = True
        self._awake.set()

    def hurry(self, repository: str = "") -> None:
        """Have the project of a repository read at once, or all. Never blocks for long."""
        with self._lock:
            for name, project in self._sidecars.projects.items():
                if not repository or project.repository.lower() == repository.lower():
                    self._hurried.add(name)
        self._awake.set()

    def learn(self, sidecars: Sidecars, runs: Runs, is_used: Callable[[str], bool]) -> None:
        """Take the rules in force and the runs there were, by which it decides what to ask.

        Args:
            is_used: whether an id is taken; may be called on the thread.
        """
        with self._lock:
            if sidecars != self._sidecars or self._runs is None:
                self._hurried |= sidecars.projects.keys()
            self._sidecars, self._runs, self._is_used = sidecars, runs, is_used
        self._awake.set()

    def want(self, project: str) -> None:
        """Have the forge asked about what a project wants to start."""
        with self._lock:
            self._hurried.add(project)
        self._awake.set()

    def state(self, project: str) -> ProjectState:
        """What is known of a project."""
        with self._lock:
            entry = self._projects.get(project)
            return entry.state if entry else ProjectState()

    def work(self) -> float:
        """Do what is due; returns the seconds until there is more. For the thread, and for tests."""
        with self._lock:
            sidecars, runs, hurried = self._sidecars, self._runs, self._hurried
            self._hurried = set()
        if runs is None:
            return self._every_s
        self._follow(sidecars)
        for name, project in list(self._projects.items()):
            if self._stopping:
                break
            now = time.monotonic()
            if now >= project.due_at or (name in hurried and not project.pause_s):
                self._pass(sidecars, name, project, runs)
        next_at = min((p.due_at for p in self._projects.values()), default=time.monotonic() + 60.0)
        return max(0.0, next_at - time.monotonic())

    def _work(self) -> None:
        wait_s = 0.0
        while not self._stopping:
            self._awake.wait(wait_s)
            self._awake.clear()
            if not self._stopping:
                wait_s = self.work()

    def _follow(self, sidecars: Sidecars) -> None:
        """Watch the projects of the rules in force. Under other rules all is read again."""
        if sidecars is self._followed:
            return
        self._followed = sidecars
        with self._lock:
            self._projects = {
                name: _Project(
                    repository=project.repository,
                    relevant=_any if self._every_issue else partial(relevant, sidecars, name),
                )
                for name, project in sidecars.projects.items()
            }

    def _pass(self, sidecars: Sidecars, name: str, project: _Project, runs: Runs) -> None:
        before, problem = project.state, ""
        try:
            if project.issues is None:
                project.issues = ProjectIssues(
                    reads=self._reads(project.repository),
                    relevant=project.relevant,
                    clock=self._clock,
                )
            project.issues.read()
            for number in project.issues.take_touched():
                project.vets = {k: each for k, each in project.vets.items() if k[0] != number}
            more = self._ask(sidecars, name, project, project.issues, runs)
            self._budgets(self._decisions(sidecars, name, project, project.issues, runs))
        except Exception as error:  # noqa: BLE001 - one project's; it must not end the thread
            first, longest = PAUSES_S
            project.pause_s = min(longest, project.pause_s * 2 or first)
            project.due_at, problem = time.monotonic() + project.pause_s, _problem_of(error)
        else:
            project.pause_s = 0.0
            project.due_at = time.monotonic() + (0.0 if more else self._every_s)
        state = _state_of(project, problem)
        with self._lock:
            project.state = state
        if state != before:
            self._changed()

    def _ask(
        self, sidecars: Sidecars, name: str, project: _Project, issues: ProjectIssues, runs: Runs
    ) -> bool:
        """Read what decisions depend on, twice if need be: what was refused leaves its place to
        another. Returns whether something is left for the next pass.
        """
        failures: list[Exception] = []
        for _ in range(2):
            lines, asks, again = self._open_questions(sidecars, name, project, issues, runs)
            quiet = not lines and not asks
            for made in lines[:MAX_TIME_LINES]:
                self._try(self._read_line, sidecars, project, issues, made, failures=failures)
            for made in (again if quiet else asks)[:MAX_VETS]:
                self._try(self._vet, sidecars, project, issues, made, failures=failures)
            more = len(lines) > MAX_TIME_LINES or len(asks) > MAX_VETS
            if more or (quiet and not again):
                break
        else:
            more = True
        if failures:
            raise failures[0]
        return more

    @staticmethod
    def _try(
        call: Callable[[Sidecars, _Project, ProjectIssues, Decision], None],
        sidecars: Sidecars,
        project: _Project,
        issues: ProjectIssues,
        made: Decision,
        *,
        failures: list[Exception],
    ) -> None:
        """Ask about one issue. One that the forge fails on is refused for a while; the pass goes on, and
        fails at its end.
        """
        try:
            call(sidecars, project, issues, made)
        except Denied:
            raise  # the token's failure, and not this issue's
        except Exception as error:
            _unanswered(sidecars, project, issues, made, error)
            failures.append(error)
            if len(failures) > MAX_FAILURES:
                raise

    def _open_questions(
        self, sidecars: Sidecars, name: str, project: _Project, issues: ProjectIssues, runs: Runs
    ) -> tuple[list[Decision], list[Decision], list[Decision]]:
        """Where sub-issues are missing, where a permission is, and what was refused long ago."""
        now = time.monotonic()
        state = ProjectState(issues=issues.issues, vets=project.vets)
        decisions = self._decisions(sidecars, name, project, issues, runs)
        lines = [made for made in decisions if made.why is Why.UNREAD]
        asks = [
            made
            for made in decisions
            if made.why is Why.START and not state.permitted(made, sidecars.rules[made.rule], now)
        ]
        again = [
            made
            for made in decisions
            if made.why is Why.REFUSED and state.vets[made.issue, made.rule].stale(now)
        ]
        return lines, asks, again

    def _decisions(
        self, sidecars: Sidecars, name: str, project: _Project, issues: ProjectIssues, runs: Runs
    ) -> list[Decision]:
        state = ProjectState(issues=issues.issues, vets=project.vets)
        return list(
            decide_project(
                sidecars,
                name,
                issues.issues.values(),
                runs,
                now=self._clock(),
                is_used=self._is_used,
                refused=state.refused(sidecars.rules),
            )
        )

    @staticmethod
    def _read_line(
        sidecars: Sidecars, project: _Project, issues: ProjectIssues, made: Decision
    ) -> None:
        issue = issues.issues.get(made.issue)
        if issue is None or issue.sub_issues is not None:
            return  # another rule had it read
        try:
            issues.time_line(made.issue)
        except TooLarge as error:
            project.vets[made.issue, made.rule] = Vet(
                issue=issue,
                rule=sidecars.rules[made.rule],
                attempt=0,
                refusal=error.what,
                at=time.monotonic(),
            )

    @staticmethod
    def _vet(sidecars: Sidecars, project: _Project, issues: ProjectIssues, made: Decision) -> None:
        rule = sidecars.rules[made.rule]
        vetted = vet(issues, made, rule, now=time.monotonic())
        if vetted is not None:
            project.vets[made.issue, made.rule] = vetted


def _unanswered(
    sidecars: Sidecars, project: _Project, issues: ProjectIssues, made: Decision, error: Exception
) -> None:
    """Refuse an issue for a while about which the forge gave no usable answer."""
    issue = issues.issues.get(made.issue)
    if issue is not None:
        project.vets[made.issue, made.rule] = Vet(
            issue=issue,
            rule=sidecars.rules[made.rule],
            attempt=0,
            refusal=_problem_of(error),
            at=time.monotonic(),
            valid_s=FAILED_S,
        )


def _problem_of(error: Exception) -> str:
    if isinstance(error, DisintoError):
        return error.what
    return f"unexpected {type(error).__name__}: {reason_of(error)}"[:MAX_PROBLEM]


def _any(_labels: frozenset[str]) -> bool:
    return True


def _state_of(project: _Project, problem: str) -> ProjectState:
    issues = project.issues
    if issues is None:
        return ProjectState(repository=project.repository, problem=problem)
    project.vets = {key: each for key, each in project.vets.items() if key[0] in issues.issues}
    gaps = [
        *(
            [f"more than {MAX_PAGES * SIZES[0]:,} open issues; the oldest are ignored"]
            * issues.too_many
        ),
        *([f"{issues.unread} issues cannot be read (size or number)"] * bool(issues.unread)),
    ]
    return ProjectState(
        repository=project.repository,
        issues=dict(issues.issues),
        vets=dict(project.vets),
        complete=issues.complete,
        problem=problem or "; ".join(gaps),
    )
