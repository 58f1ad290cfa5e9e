"""Which rule starts a run for which issue, and why another does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.decide.forge_issue import (
    Issue,
    SubIssue,
    content_digest,
    digest_of,
    parents_of,
)
from dispatcher.decide.sidecar_rules import Condition, Project, Rule, Sidecars
from dispatcher.decide.sidecars import (
    Decision,
    Runs,
    SidecarRun,
    Why,
    cool_down_s,
    decide_by_hand,
    decide_project,
    next_decision_at,
)
from dispatcher.model.names import is_id
from dispatcher.model.verdicts import Verdict

NOW = 1_800_000_000.0
TRIAGE = Rule(
    formula="triage",
    labels=("bug-report",),
    without_labels=("blocked",),
    add_labels=("in-progress",),
    remove_labels=("in-triage",),
    max_concurrent=3,
)


def sidecars(rule: Rule = TRIAGE, *, runs_per_day: int = 20) -> Sidecars:
    app = Project(repository="acme/app", bot="reader", runs_per_day=runs_per_day)
    return Sidecars(projects={"app": app}, rules={"triage": rule})


def issue(number: int = 7, *labels: str, subs: tuple[SubIssue, ...] | None = ()) -> Issue:
    return Issue(
        number=number,
        content=content_digest("title", f"body of {number}"),
        labels=frozenset(labels or ("bug-report",)),
        sub_issues=subs,
    )


def digest(of: Issue, rule: Rule = TRIAGE) -> str:
    return digest_of(of, settable=rule.settable)


def run(
    of: Issue,
    verdict: Verdict | None = Verdict.SUCCEEDED,
    *,
    attempt: int = 1,
    outcome: str = "",
    ended: float = NOW - 1e6,
) -> SidecarRun:
    return SidecarRun(
        rule="triage",
        project="app",
        issue=of.number,
        attempt=attempt,
        digest=digest(of),
        verdict=verdict,
        outcome=outcome,
        ended_at=ended if verdict else 0.0,
    )


def decided(
    *issues: Issue,
    runs: tuple[SidecarRun, ...] = (),
    rules: Sidecars | None = None,
    used: frozenset[str] = frozenset(),
    refused: dict[tuple[int, str], str] | None = None,
) -> list[Decision]:
    return list(
        decide_project(
            rules or sidecars(),
            "app",
            issues,
            Runs(runs),
            now=NOW,
            is_used=lambda i: i in used or i in {r.action_id for r in runs},
            refused=refused or {},
        )
    )


def only(*issues: Issue, **more: object) -> Decision:
    (one,) = decided(*issues, **more)  # type: ignore[arg-type]
    return one


def test_an_issue_with_the_labels_starts_a_run() -> None:
    one = only(issue())
    assert one.why is Why.START
    assert one.action_id == "triage-app-7-1"
    assert is_id(one.action_id)
    assert one.digest == digest(issue())


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("bug",), 'no label "bug-report"'),
        (("bug-report", "blocked"), 'has the label "blocked"'),
        (("Bug-Report",), 'no label "bug-report"'),
    ],
)
def test_labels(labels: tuple[str, ...], words: str) -> None:
    one = only(issue(7, *labels))
    assert (one.why, one.reason) == (Why.LABELS, words)


@pytest.mark.parametrize(
    ("subs", "why"),
    [
        (None, Why.UNREAD),
        ((), Why.CONDITION),
        ((SubIssue(number=8, closed=False),), Why.CONDITION),
        ((SubIssue(number=8, closed=True), SubIssue(number=9, closed=False)), Why.CONDITION),
        ((SubIssue(number=8, closed=True), SubIssue(number=9, closed=True)), Why.START),
    ],
)
def test_sub_issues(subs: tuple[SubIssue, ...] | None, why: Why) -> None:
    rules = sidecars(replace(TRIAGE, condition=Condition.SUB_ISSUES_CLOSED))
    assert only(issue(subs=subs), rules=rules).why is why


def test_one_open_run_at_a_time() -> None:
    one = only(issue(), runs=(run(issue(), None),))
    assert one.why is Why.OPEN
    assert "triage-app-7-1" in one.reason


def test_an_issue_that_did_not_change_is_left_alone() -> None:
    assert only(issue(), runs=(run(issue()),)).why is Why.UNCHANGED
    # what rules may set does not count
    changed = issue(7, "bug-report", "in-progress", "in-triage")
    assert only(changed, runs=(run(issue()),)).why is Why.UNCHANGED


@pytest.mark.parametrize(
    "changed",
    [
        replace(issue(), content=content_digest("title", "another body")),
        replace(issue(), content=content_digest("another title", "body of 7")),
        issue(7, "bug-report", "urgent"),
        issue(subs=(SubIssue(number=8, closed=False),)),
    ],
)
def test_an_issue_that_changed_is_looked_at_again(changed: Issue) -> None:
    one = only(changed, runs=(run(issue()),))
    assert (one.why, one.attempt) == (Why.START, 2)
    # and when it is as it was then, that is known already
    both = (run(issue()), run(changed, attempt=2, ended=NOW - 9e5))
    assert only(issue(), runs=both).why is Why.UNCHANGED


def test_a_closed_sub_issue_is_a_change() -> None:
    was, now = (issue(subs=(SubIssue(number=8, closed=c),)) for c in (False, True))
    assert only(now, runs=(run(was),)).why is Why.START


def test_without_the_sub_issues_it_is_unknown_whether_it_changed() -> None:
    unread = issue(subs=None)
    assert only(unread).why is Why.START
    assert only(unread).digest == ""
    assert only(unread, runs=(run(issue()),)).why is Why.UNREAD


@pytest.mark.parametrize(
    ("verdict", "outcome"), [(Verdict.SUCCEEDED, "gave_up"), (Verdict.CANCELLED, "")]
)
def test_what_gave_up_is_not_retried_until_the_issue_changes(
    verdict: Verdict, outcome: str
) -> None:
    runs = (run(issue(), verdict, outcome=outcome),)
    assert only(issue(), runs=runs).why is Why.GAVE_UP
    assert only(issue(7, "bug-report", "urgent"), runs=runs).why is Why.START


def test_the_cool_down_doubles_with_each_failure_in_a_row() -> None:
    runs = [run(issue(), Verdict.SUCCEEDED, ended=NOW - 5000)]
    pauses = [cool_down_s(TRIAGE, runs)]
    for attempt in range(2, 5):
        runs.append(run(issue(), Verdict.LOST, attempt=attempt))
        pauses.append(cool_down_s(TRIAGE, runs))
    assert pauses == [600, 1200, 2400, 4800]
    assert cool_down_s(TRIAGE, [run(issue(), Verdict.FAILED)] * 900) == 30 * 86_400


@pytest.mark.parametrize(("ago", "why"), [(1199, Why.COOL_DOWN), (1200, Why.START)])
def test_a_failure_is_retried_after_the_cool_down(ago: float, why: Why) -> None:
    one = only(issue(), runs=(run(issue(), Verdict.FAILED, ended=NOW - ago),))
    assert one.why is why
    if why is Why.COOL_DOWN:
        assert one.again_at == NOW + 1
        assert next_decision_at([one]) == NOW + 1


def test_attempts_of_an_issue_are_limited() -> None:
    runs = tuple(run(issue(), Verdict.FAILED, attempt=n) for n in range(1, 6))
    one = only(issue(7, "bug-report", "urgent"), runs=runs)
    assert one.why is Why.ATTEMPTS
    assert one.again_at is None


def test_runs_of_a_project_are_limited_by_day() -> None:
    old, recent = (
        run(issue(n), attempt=1, ended=at) for n, at in ((1, NOW - 86_401), (2, NOW - 9))
    )
    rules = sidecars(runs_per_day=2)
    made = decided(issue(3), issue(4), runs=(old, recent), rules=rules)
    assert [d.why for d in made] == [Why.START, Why.RUNS_PER_DAY]
    full = only(issue(3), runs=(recent,), rules=sidecars(runs_per_day=1))
    assert full.again_at == NOW - 9 + 86_400
    assert only(issue(3), rules=sidecars(runs_per_day=0)).why is Why.RUNS_PER_DAY


def test_runs_of_a_rule_are_limited() -> None:
    rules = sidecars(replace(TRIAGE, max_concurrent=2))
    made = decided(issue(9), issue(3), issue(5), runs=(run(issue(1), None),), rules=rules)
    assert [(d.issue, d.why) for d in made] == [
        (3, Why.START),
        (5, Why.CONCURRENT),
        (9, Why.CONCURRENT),
    ]


def test_a_refused_issue_takes_nobodys_place() -> None:
    rules = sidecars(replace(TRIAGE, max_concurrent=1))
    made = decided(issue(3), issue(5), rules=rules, refused={(3, "triage"): "mallory set it"})
    assert [(d.issue, d.why) for d in made] == [(3, Why.REFUSED), (5, Why.START)]


def test_an_id_that_somebody_took_is_skipped() -> None:
    one = only(issue(), used=frozenset({"triage-app-7-1", "triage-app-7-2"}))
    assert one.attempt == 3


def test_by_hand_only_an_open_run_is_in_the_way() -> None:
    wish = Decision(
        project="app", issue=7, rule="triage", why=Why.START, digest=digest(issue()), attempt=2
    )
    assert decide_by_hand(wish, Runs((run(issue()),))) == wish
    assert decide_by_hand(wish, Runs((run(issue(), None),))).why is Why.OPEN


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ("Decomposed from #12", (12,)),
        ("x\nDecomposed from #12.\nDecomposed from #13, Decomposed from #12", (12, 13)),
        ("Decomposed from acme/app#12", ()),
        ("Decomposed from #012", ()),
        ("Decomposed from #12x", ()),
        ("Decomposed from #99999999999", ()),
        ("decomposed from #12", ()),
        ("UnDecomposed from #12", ()),
        (" ".join(f"Decomposed from #{n}" for n in range(1, 100)), tuple(range(1, 21))),
        ("Decomposed from #1 " * 100_000, (1,)),
    ],
)
def test_parents(body: str, numbers: tuple[int, ...]) -> None:
    assert parents_of(body) == numbers


def test_a_digest_of_any_text() -> None:
    texts = ["", "\x00", "\ud800", "é", "e\u0301", "a" * 5_000_000]
    assert len({content_digest(a, b) for a in texts[:5] for b in texts}) == 30
    odd = replace(issue(), labels=frozenset({"\ud800", "\x00", "\u202e"}))
    assert len(digest(odd)) == 64
