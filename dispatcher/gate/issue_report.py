"""Reports on an issue how its sidecars ended: one comment per rule, edited in place, and labels.

The labels are changed first, then the comment is written: a comment that shows an attempt proves that
all of that attempt is done. So it can be reported again at any time, by any dispatcher, and a late
report of an earlier attempt changes nothing. Labels that were set before a crash are asked for again,
which changes nothing either.

Only results of actions that carry our own signature are reported. What a run put into its outputs and
log is untrusted: see ``dispatcher.decide.sidecar_outcome`` and ``dispatcher.gate.markdown``.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.decide.sidecar_outcome import (
    Changes,
    Dropped,
    Subject,
    changes_of,
    outcome_of,
    subject_of,
)
from dispatcher.decide.sidecar_rules import Rule, Sidecars
from dispatcher.decide.sidecars import BUDGETS, Decision, Why, run_id
from dispatcher.errors import DisintoError, PermanentError, TemporaryError
from dispatcher.forge import ForgeRefused
from dispatcher.forge.exchange import AnswerTooLarge, TooLarge
from dispatcher.forge.issue_board import BoardIssue, Label
from dispatcher.forge.records import Comment
from dispatcher.gate.ended import Ended, report_each
from dispatcher.gate.issue_audience import VisibleRepository, all_read_ops_repo
from dispatcher.gate.markdown import indented, inert, render
from dispatcher.gate.own_comments import CommentBoard, OwnComments
from dispatcher.gate.sourced import Files, Written
from dispatcher.model.action import MAX_ACTION_BYTES, InvalidAction, parse_action
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH, RESULT_ENDING
from dispatcher.model.result import LOGS_LIMIT, Result
from dispatcher.model.times import took

BUDGET_MARK = "<!-- disinto: budget -->"
"""Begins the part of a comment about a budget that is used up."""

WORD_LIMIT = 300
"""Characters of a label or reason that a comment shows, at most."""

PER_DAY_LIMIT = 10
"""Issues of a project on which a used-up budget of runs per day is reported, the oldest."""

REMEMBERED = 10_000

_MARKER = re.compile(r"^<!-- disinto: sidecar ([a-z0-9_-]+) attempt ([0-9]{1,9}) -->", re.MULTILINE)
"""At the beginning of a line: lines of a log are indented."""


class IssueGone(PermanentError):
    """The issue does not exist any more, or is none of the project's any more."""


class Board(CommentBoard, VisibleRepository, Protocol):
    """The part of ``dispatcher.forge.issue_board.IssueBoard`` that reports need."""

    def issue(self, number: int) -> BoardIssue | None: ...
    def labels(self) -> Mapping[str, Label]: ...
    def add_label(self, number: int, label: int) -> None: ...
    def remove_label(self, number: int, label: int) -> None: ...


class IssueReporter:
    """Reports results of sidecars, and budgets that are used up, while its dispatcher leads.
    Thread-safe; one at a time, so that a comment is never created twice.

    Args:
        board: opens the board of a repository; called once for each.
        files: the ops repo, for the actions by their blob.
        written: our signature.
        sidecars: the file in force.
        ops_repository: owner/name of the ops repo on the forge; "" if it is not there.
        ops_web_url: its address for people, without a slash at the end; "" if it has none.
    """

    def __init__(
        self,
        board: Callable[[str], Board],
        *,
        files: Files,
        written: Written,
        sidecars: Callable[[], Sidecars],
        ops_repository: str,
        ops_web_url: str,
    ) -> None:
        self._open, self._files, self._written = board, files, written
        self._sidecars = sidecars
        self._ops_repository, self._ops_web_url = ops_repository, ops_web_url
        self._lock = threading.Lock()
        self._lead: _Lead | None = None
        self._boards: dict[str, tuple[Board, OwnComments]] = {}
        self._budgets: OrderedDict[tuple[str, int, str], str] = OrderedDict()

    def forget(self) -> None:
        """Drop the cache: another dispatcher may have reported since."""
        with self._lock:
            self._budgets.clear()

    def lead(self, led: Callable[[], None]) -> None:
        """Report from now on: this dispatcher leads.

        Args:
            led: called before each write; raises ``TemporaryError`` if it does not lead any more.
        """
        self._lead = _Lead(
            check=led
        )  # not under the lock: a forge that hangs must not hold up the loop

    def rest(self) -> None:
        """Report nothing until this dispatcher leads again. Does not wait for a report in progress,
        whose next write fails.
        """
        self._lead = None

    def _checked_lead(self) -> Callable[[], None]:
        """A check before each write of one report. It holds for this time of leading alone: once another
        dispatcher has led, what this report has read is out of date.
        """
        lead = self._lead

        def check() -> None:
            if lead is None or self._lead is not lead:
                raise TemporaryError("this dispatcher does not lead")
            lead.check()

        return check

    # --- results --------------------------------------------------------------------------------

    def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
        """Report how sidecars ended; other actions are passed over.

        Returns:
            Why an action could not be reported, by its id; retry ``Unavailable`` and ``Denied``. Other
            errors are final, such as an issue that is gone.
        """
        with self._lock:
            return report_each(ended, self._report)[0]

    def _report(self, ended: Ended) -> None:
        subject = self._subject(ended.result)
        if subject is None:
            return
        check_lead = self._checked_lead()
        self._check_project(subject)
        board, own = self._board(subject.repository)
        issue = _issue(board, subject)
        mine = own.find(subject.issue, lambda body: _attempt(body, subject.rule) is not None)
        if mine is not None and self._shows(mine, subject, ended):
            return  # reported before, perhaps by another dispatcher
        rule = self._sidecars().rules_of(subject.project).get(subject.rule)
        known = board.labels() if "labels" in ended.result.outputs else {}
        changes = changes_of(
            ended.result,
            rule,
            present=frozenset(issue.label_ids),
            known={name: label.scope for name, label in known.items()},
            closed=issue.state != "open",
        )
        check_lead()
        _change(board, issue, changes, known)
        body = self._body(ended, subject, rule, changes, board)
        check_lead()
        _put(board, mine, subject.issue, body)
        # The new text has no budget in it: the next decision adds one that is used up.
        self._budgets.pop((subject.project, subject.issue, subject.rule), None)

    def _subject(self, result: Result) -> Subject | None:
        """What an action of ours is about; None if it is no sidecar's, or not ours."""
        if not result.blob:
            return None
        data = self._files.read([result.blob], limit=MAX_ACTION_BYTES).get(result.blob)
        if not isinstance(data, bytes):
            return None
        path = f"{ACTIONS_PATH}/{result.id}{ACTION_ENDING}"
        action = parse_action(data, path=path, stem=result.id)
        if isinstance(action, InvalidAction):
            return None
        subject = subject_of(action)
        if subject is None or not self._written.wrote(data, action_id=result.id):
            return None
        return subject

    def _shows(self, mine: Comment, subject: Subject, ended: Ended) -> bool:
        """Whether a comment of ours proves that this attempt is reported. Whoever may write issues can edit
        its marker: that of an attempt which has no result in the ops repo proves nothing.
        """
        shown = _attempt(mine.body, subject.rule) or 0
        if shown <= subject.attempt:
            return shown == subject.attempt
        later = run_id(subject.rule, subject.project, subject.issue, shown) + RESULT_ENDING
        directories = {ACTIONS_PATH, ended.path.rpartition("/")[0]}
        return any(self._files.blob_at(ended.commit, f"{d}/{later}") for d in directories)

    def _check_project(self, subject: Subject) -> None:
        """Refuse to write anywhere but in the repositories that the operator names now."""
        project = self._sidecars().projects.get(subject.project)
        if project is None or project.repository.lower() != subject.repository.lower():
            raise IssueGone(
                f"{subject.repository}#{subject.issue} belongs to no project of the sidecars file"
            )

    def _body(
        self, ended: Ended, subject: Subject, rule: Rule | None, changes: Changes, board: Board
    ) -> str:
        result = ended.result
        tail, hidden = "", False
        if rule is not None and rule.log_tail:
            tail = indented(result.logs, lines=rule.log_tail, characters=LOGS_LIMIT)
            if tail and not all_read_ops_repo(board, self._ops()):
                tail, hidden = "", True
        return render(
            "actions/issue_comment.md.j2",
            marker=_marker(subject.rule, subject.attempt),
            rule=subject.rule,
            attempt=subject.attempt,
            verdict=result.verdict.value,
            outcome=outcome_of(result.outputs),
            duration="" if result.duration_s is None else took(result.duration_s),
            link=self._link(ended),
            added=[inert(label, WORD_LIMIT) for label in changes.add],
            removed=[inert(label, WORD_LIMIT) for label in changes.remove],
            dropped=[_in_words(each) for each in changes.dropped],
            tail=tail,
            hidden=hidden,
        )

    def _link(self, ended: Ended) -> str:
        if self._ops_web_url:
            return f"[result]({ended.link(self._ops_web_url)})"
        return f"result: `{ended.path}`"

    def _ops(self) -> Board | None:
        return self._board(self._ops_repository)[0] if self._ops_repository else None

    def _board(self, repository: str) -> tuple[Board, OwnComments]:
        if repository not in self._boards:
            board = self._open(repository)
            self._boards[repository] = board, OwnComments(board)
        return self._boards[repository]

    # --- budgets --------------------------------------------------------------------------------

    def report_budgets(self, decisions: Iterable[Decision]) -> Mapping[str, DisintoError]:
        """Report each budget that is used up, once on its issue, if this dispatcher leads. The same
        decision again costs no call.

        Returns:
            Why some could not be reported, by what they are about; they are reported with the next
            decisions.
        """
        failures: dict[str, DisintoError] = {}
        if self._lead is None:
            return failures
        with self._lock:
            for decision in _to_report(decisions):
                key = (decision.project, decision.issue, decision.rule)
                if self._budgets.get(key) == decision.reason:
                    continue
                try:
                    self._report_budget(decision)
                except PermanentError as error:
                    failures["/".join(map(str, key))] = error
                except DisintoError as error:
                    failures["/".join(map(str, key))] = error
                    break  # the forge is down, or rejects the token
                self._budgets[key] = decision.reason
                if len(self._budgets) > REMEMBERED:
                    self._budgets.popitem(last=False)
        return failures

    def _report_budget(self, decision: Decision) -> None:
        project = self._sidecars().projects.get(decision.project)
        if project is None:
            return
        check_lead = self._checked_lead()
        board, own = self._board(project.repository)
        rule = decision.rule
        mine = own.find(decision.issue, lambda body: _attempt(body, rule) is not None)
        report = mine.body.replace("\r\n", "\n") if mine else f"{_marker(rule, 0)}\n`{rule}`\n"
        text = inert(decision.reason, WORD_LIMIT)
        part = f"\n{BUDGET_MARK}\nNo further run is started: {text}.\n"
        check_lead()
        _put(board, mine, decision.issue, report.split(f"\n{BUDGET_MARK}")[0] + part)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Lead:
    """One time of leading."""

    check: Callable[[], None]


def _to_report(decisions: Iterable[Decision]) -> Iterator[Decision]:
    """Those about budgets; of a project's budget per day the first few, because one that is used up may
    concern each of thousands of issues.
    """
    per_project: dict[str, int] = {}
    for decision in decisions:
        if decision.why not in BUDGETS:
            continue
        if decision.why is Why.RUNS_PER_DAY:
            count = per_project[decision.project] = per_project.get(decision.project, 0) + 1
            if count > PER_DAY_LIMIT:
                continue
        yield decision


def _issue(board: Board, subject: Subject) -> BoardIssue:
    """The issue as it is now.

    Raises:
        IssueGone: it was deleted, or moved elsewhere.
        TooLarge: it cannot be read, today or later.
        Unavailable: the repository cannot be read, so that this proves nothing.
    """
    try:
        issue = board.issue(subject.issue)
    except AnswerTooLarge as error:
        raise TooLarge(error.what) from error
    if issue is None:
        board.info()
        raise IssueGone(f"{subject.repository}#{subject.issue} does not exist any more")
    return issue


def _change(board: Board, issue: BoardIssue, changes: Changes, known: Mapping[str, Label]) -> None:
    """Make the changes. Adds before it removes, so that the issue is never without both, and exclusive
    labels last, because they remove others.
    """
    missing = [label for label in changes.add if label not in issue.label_ids]
    for label in sorted(missing, key=lambda name: known[name].exclusive):
        board.add_label(issue.number, known[label].id)
    for label in changes.remove:
        if label in issue.label_ids:
            board.remove_label(issue.number, issue.label_ids[label])


def _put(board: Board, mine: Comment | None, number: int, body: str) -> None:
    if mine is None:
        board.add_comment(number, body)
    elif mine.body.replace("\r\n", "\n").strip() != body.strip():
        try:
            board.edit_comment(mine.id, body)
        except ForgeRefused as refused:
            if refused.status != 404:
                raise
            board.add_comment(number, body)  # somebody deleted it meanwhile


def _marker(rule: str, attempt: int) -> str:
    return f"<!-- disinto: sidecar {rule} attempt {attempt} -->"


def _attempt(body: str, rule: str) -> int | None:
    """The attempt that a comment reports; None if it is not this rule's. 0 for one that only reports a
    budget.
    """
    match = _MARKER.search(body)
    return int(match[2]) if match and match[1] == rule else None


def _in_words(dropped: Dropped) -> str:
    if not dropped.label:
        return dropped.why
    return f"{inert(dropped.label, WORD_LIMIT)} ({dropped.why})"
