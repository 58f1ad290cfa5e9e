"""Any sequence of events on an issue, of runs that end and of crashes: never two open runs of a rule on
an issue, never two successful runs for one state of it, never more than the budgets allow.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.decide.forge_issue import Issue, SubIssue, content_digest, digest_of
from dispatcher.decide.sidecar_rules import Condition, Project, Rule, Sidecars
from dispatcher.decide.sidecars import DAY_S, Decision, Runs, SidecarRun, decide_project, starts
from dispatcher.model.verdicts import Verdict
from tests.support.thorough import tries

FIRST = Rule(
    formula="one",
    labels=("bug",),
    without_labels=("done",),
    add_labels=("done",),
    remove_labels=("again",),
    attempts=2,
    max_concurrent=2,
)
SECOND = Rule(
    formula="two",
    labels=("bug",),
    condition=Condition.SUB_ISSUES_CLOSED,
    cool_down="1h",
    attempts=2,
)
PER_DAY = 2
SIDECARS = Sidecars(
    projects={"app": Project(repository="a/b", bot="c", runs_per_day=PER_DAY)},
    rules={"one": FIRST, "two": SECOND},
)


@dataclass
class World:
    """The forge, and git. A dispatcher keeps nothing beside them."""

    issues: dict[int, Issue] = field(default_factory=dict)
    runs: dict[str, SidecarRun] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    now: float = 1e9

    def look(self, *, crash_after: int | None = None) -> None:
        """One look of a dispatcher, which reads the sub-issues of what it is about to start. It dies
        after it wrote that many actions.
        """
        while unread := {one.issue for one in self._starts() if not one.digest}:
            for number in unread:
                self.issues[number] = replace(self.issues[number], sub_issues=())
        for one in self._starts()[:crash_after]:
            run = SidecarRun(
                rule=one.rule,
                project=one.project,
                issue=one.issue,
                attempt=one.attempt,
                digest=one.digest,
            )
            assert one.action_id == run.action_id
            assert run.action_id not in self.runs
            assert run.action_id not in self.taken
            self.runs[run.action_id] = run
        self.check()

    def _starts(self) -> tuple[Decision, ...]:
        return starts(
            decide_project(
                SIDECARS,
                "app",
                self.issues.values(),
                Runs(tuple(self.runs.values())),
                now=self.now,
                is_used=lambda i: i in self.runs or i in self.taken,
            )
        )

    def check(self) -> None:
        open_runs = Counter((r.issue, r.rule) for r in self.runs.values() if r.open)
        assert all(count == 1 for count in open_runs.values())
        good = [r for r in self.runs.values() if r.verdict is Verdict.SUCCEEDED]
        done = Counter((r.issue, r.rule, r.digest) for r in good)
        assert all(count == 1 for count in done.values()), done
        attempts = Counter((r.issue, r.rule) for r in self.runs.values())
        for (_, rule), count in attempts.items():
            assert count <= SIDECARS.rules[rule].attempts
        for name, rule_ in SIDECARS.rules.items():
            concurrent = sum(r.open for r in self.runs.values() if r.rule == name)
            assert concurrent <= rule_.max_concurrent
        recent = [r for r in self.runs.values() if r.open or r.ended_at > self.now - DAY_S]
        assert len(recent) <= PER_DAY
        for run in good:
            assert run.digest

    def end(self, index: int, verdict: Verdict, outcome: str) -> None:
        open_ones = [run for run in self.runs.values() if run.open]
        if open_ones:
            run = open_ones[index % len(open_ones)]
            self.runs[run.action_id] = replace(
                run, verdict=verdict, outcome=outcome, ended_at=self.now
            )
            rule = SIDECARS.rules[run.rule]
            if run.issue in self.issues and verdict is Verdict.SUCCEEDED:  # as its reporter does
                before = self.issues[run.issue]
                labels = before.labels - set(rule.remove_labels) | set(rule.add_labels)
                after = replace(before, labels=labels)
                settable = SIDECARS.settable
                assert digest_of(before, settable=settable) == digest_of(after, settable=settable)
                self.issues[run.issue] = after


numbers = st.integers(1, 2)
subs = st.none() | st.lists(
    st.builds(SubIssue, number=st.integers(4, 5), closed=st.booleans()), max_size=2
).map(tuple)
edited = st.builds(
    lambda number, text, labels, sub_issues: Issue(
        number=number,
        content=content_digest("t", text),
        labels=frozenset(labels),
        sub_issues=sub_issues,
    ),
    numbers,
    st.sampled_from(["a", "b"]),
    st.sets(st.sampled_from(["bug", "done", "again", "other"]), max_size=4).map(
        lambda labels: labels | {"bug"}
    ),
    subs,
)
events = st.one_of(
    st.tuples(st.just("edit"), edited),
    st.tuples(st.just("close"), numbers),
    st.tuples(st.just("crash"), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from([700.0, 90_000.0, 1e6])),
    st.tuples(
        st.just("end"),
        st.tuples(
            st.integers(0, 5),
            st.sampled_from([Verdict.SUCCEEDED, Verdict.SUCCEEDED, Verdict.FAILED, Verdict.LOST]),
            st.sampled_from(["", "", "gave_up"]),
        ),
    ),
    st.tuples(
        st.just("take"),
        st.builds("{}-app-{}-{}".format, st.sampled_from(["one", "two"]), numbers, numbers),
    ),
)


@settings(max_examples=tries(37, 150), deadline=None)
@given(st.lists(events, min_size=25, max_size=40))
def test_whatever_happens(steps: list[tuple[str, object]]) -> None:
    world = World()
    for number in (1, 2):
        content = content_digest("t", "a")
        world.issues[number] = Issue(number=number, content=content, labels=frozenset({"bug"}))
    for kind, what in steps:
        match kind, what:
            case "edit", Issue():
                world.issues[what.number] = what
            case "close", int():
                world.issues.pop(what, None)
            case "wait", float():
                world.now += what
            case "end", (int() as index, Verdict() as verdict, str() as outcome):
                world.end(index, verdict, outcome)
            case "take", str():
                if what not in world.runs:
                    world.taken.add(what)
            case "crash", int():
                world.look(crash_after=what)
            case _:
                pass
        world.look()
