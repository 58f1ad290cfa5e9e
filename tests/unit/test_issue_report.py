"""What an issue is told of its sidecars: once, whatever crashes in between, and nothing untrusted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from dispatcher.decide.forge_issue import Issue
from dispatcher.decide.sidecar_rules import parse_sidecars
from dispatcher.decide.sidecars import Decision, Runs, SidecarRun, Why, decide_project, starts
from dispatcher.errors import PermanentError, Unavailable
from dispatcher.forge.records import Comment
from dispatcher.gate.ended import UNAVAILABLE_LIMIT
from dispatcher.gate.issue_report import PER_DAY_LIMIT, IssueGone, IssueReporter
from dispatcher.model.verdicts import Verdict
from tests.fakes.issue_board import (
    ME,
    OPS_URL,
    OTHER,
    SIDECARS,
    Crash,
    FakeActions,
    FakeIssueBoard,
    IssueScene,
)
from tests.support.issue_place import board_of
from tests.support.issue_stage import REPOSITORY, RULES, IssueStage

REPRODUCED = {"outcome": "reproduced", "labels": {"add": ["in-triage"], "remove": ["new"]}}


@pytest.fixture
def scene() -> IssueScene:
    return IssueScene()


def test_a_run_ends_in_labels_and_one_comment(scene: IssueScene) -> None:
    ended = scene.actions.ended(outputs=REPRODUCED)
    assert scene.reporter().report_ended([ended]) == {}
    assert scene.board.writes == ["+in-triage", "-new", "add"]
    row = (
        "| `reproduce` | 1 | succeeded | reproduced | 12.3 s | "
        f"[result]({OPS_URL}/src/commit/{'c' * 40}/vault/actions/reproduce-app-7-1.result.json) |"
    )
    assert row in scene.bodies[0].splitlines()
    assert "two" not in scene.bodies[0]  # no log unless the rule asks for it


def test_a_report_again_writes_nothing(scene: IssueScene) -> None:
    ended = scene.actions.ended(outputs=REPRODUCED)
    for _ in range(3):
        assert scene.reporter().report_ended([ended]) == {}
    assert scene.board.writes == ["+in-triage", "-new", "add"]


def test_a_crash_at_any_call_leads_to_the_same_end() -> None:
    whole = IssueScene()
    whole.reporter().report_ended([whole.actions.ended(outputs=REPRODUCED)])
    for call in range(1, whole.board.calls + 1):
        scene = IssueScene()
        ended = scene.actions.ended(outputs=REPRODUCED)
        scene.board.crash_at = call
        with pytest.raises(Crash):
            scene.reporter().report_ended([ended])
        assert scene.reporter().report_ended([ended]) == {}
        assert scene.board.writes == ["+in-triage", "-new", "add"], f"crash before call {call}"
        assert scene.bodies == whole.bodies


def test_a_label_that_somebody_removed_after_the_report_stays_removed(scene: IssueScene) -> None:
    ended = scene.actions.ended(outputs=REPRODUCED)
    scene.reporter().report_ended([ended])
    assert scene.board.labels_of is not None
    scene.board.labels_of.remove("in-triage")
    scene.reporter().report_ended([ended])  # the outbox could not be emptied
    assert "in-triage" not in scene.board.labels_of


def test_the_next_attempt_edits_the_comment_and_a_late_report_changes_nothing(
    scene: IssueScene,
) -> None:
    first = scene.actions.ended(verdict=Verdict.FAILED)
    second = scene.actions.ended(attempt=2, outputs=REPRODUCED)
    scene.reporter().report_ended([first, second])
    assert scene.board.writes == ["add", "+in-triage", "-new", "edit"]
    scene.reporter().report_ended([first])
    assert "| `reproduce` | 2 | succeeded |" in scene.bodies[0]
    assert len(scene.bodies) == 1


def test_each_rule_has_a_comment_of_its_own(scene: IssueScene) -> None:
    scene.reporter().report_ended([scene.actions.ended(), scene.actions.ended(rule="tell")])
    assert len(scene.bodies) == 2


def test_what_the_rule_does_not_allow_is_dropped_and_named(scene: IssueScene) -> None:
    labels = {"add": ["in-triage", "admin", "new", "rejected"], "remove": ["bug-report", "new"]}
    scene.board.known = ("bug-report", "new", "in-triage", "admin")
    scene.reporter().report_ended([scene.actions.ended(outputs={"labels": labels})])
    assert scene.board.writes == ["+in-triage", "add"]
    body = scene.bodies[0]
    assert "Dropped: admin (the rule does not allow adding it)." in body
    assert "Dropped: bug-report (the rule does not allow removing it)." in body
    assert "Dropped: new (it was to be both added and removed)." in body
    assert "Dropped: rejected (the repository has no such label)." in body


@pytest.mark.parametrize(
    "labels",
    [
        "in-triage",
        ["in-triage"],
        {"add": "in-triage"},
        {"add": [1]},
        {"add": [["in-triage"]]},
        {"add": ["x" * 201]},
        {"add": [""]},
        {"add": [f"l{n}" for n in range(21)]},
        {"add": ["in-triage"], "set": []},
    ],
)
def test_labels_of_another_shape_are_dropped_as_a_whole(scene: IssueScene, labels: object) -> None:
    scene.reporter().report_ended([scene.actions.ended(outputs={"labels": labels})])
    assert scene.board.writes == ["add"]
    assert "Dropped: " in scene.bodies[0]


def test_a_failed_run_changes_no_label(scene: IssueScene) -> None:
    ended = scene.actions.ended(verdict=Verdict.FAILED, outputs=REPRODUCED)
    scene.reporter().report_ended([ended])
    assert scene.board.writes == ["add"]
    assert "in-triage (the run did not succeed)" in scene.bodies[0]


def test_an_issue_that_is_closed_meanwhile_keeps_its_labels(scene: IssueScene) -> None:
    scene.board.closed = True
    scene.reporter().report_ended([scene.actions.ended(outputs=REPRODUCED)])
    assert scene.board.writes == ["add"]
    assert "the issue is closed" in scene.bodies[0]


def test_a_label_removed_during_the_run_keeps_the_others(scene: IssueScene) -> None:
    scene.board.labels_of = {"new"}
    scene.reporter().report_ended([scene.actions.ended(outputs=REPRODUCED)])
    assert scene.board.writes == ["add"]
    assert "labels were changed meanwhile" in scene.bodies[0]


def test_a_rule_or_project_taken_away_meanwhile(scene: IssueScene) -> None:
    ended = scene.actions.ended(outputs=REPRODUCED)
    text = SIDECARS.replace("[rules.reproduce]", "[rules.other]")
    scene.sidecars = parse_sidecars(text.encode(), path="sidecars.toml")
    scene.reporter().report_ended([ended])
    assert scene.board.writes == ["add"]
    text = SIDECARS.replace("acme/app", "acme/elsewhere")
    scene.sidecars = parse_sidecars(text.encode(), path="sidecars.toml")
    assert isinstance(scene.reporter().report_ended([ended])[ended.result.id], IssueGone)


def test_an_issue_that_is_gone_is_final_and_a_forge_that_is_down_is_not(scene: IssueScene) -> None:
    ended = scene.actions.ended()
    scene.board.labels_of = None
    assert isinstance(scene.reporter().report_ended([ended])[ended.result.id], IssueGone)
    scene.board.down = True
    assert isinstance(scene.reporter().report_ended([ended])[ended.result.id], Unavailable)


def test_a_forge_that_is_down_is_called_for_a_few_only(scene: IssueScene) -> None:
    scene.board.down = True
    many = [scene.actions.ended(attempt=n) for n in range(1, 20)]
    assert len(scene.reporter().report_ended(many)) == len(many)
    assert scene.board.calls == UNAVAILABLE_LIMIT


def test_other_actions_and_forged_ones_are_passed_over(scene: IssueScene) -> None:
    schedule = scene.actions.ended(kind="schedule")
    forged = scene.actions.ended(attempt=2, outputs=REPRODUCED)
    scene.actions.forged.add(forged.result.id)
    unknown = scene.actions.ended(attempt=3).result.model_copy(update={"blob": "f" * 40})
    gone = scene.actions.ended(attempt=4)
    ended = [schedule, forged, type(gone)(result=unknown, commit=gone.commit, path=gone.path)]
    assert scene.reporter().report_ended(ended) == {}
    assert scene.board.calls == 0


def test_somebody_elses_marker_is_not_our_comment(scene: IssueScene) -> None:
    marker = "<!-- disinto: sidecar reproduce attempt 9 -->"
    scene.board.said[1] = Comment(id=1, user=OTHER, body=marker)
    scene.board.said[2] = Comment(id=2, user=ME, body=f"look: {marker}")
    scene.reporter().report_ended([scene.actions.ended(outputs=REPRODUCED)])
    assert scene.board.writes == ["+in-triage", "-new", "add"]


def test_a_comment_deleted_while_it_is_edited_is_written_again(scene: IssueScene) -> None:
    class Deleting(FakeIssueBoard):
        def edit_comment(self, comment: int, body: str) -> Comment:
            self.said.pop(comment)
            return super().edit_comment(comment, body)

    scene.board = Deleting()
    scene.reporter().report_ended([scene.actions.ended(), scene.actions.ended(attempt=2)])
    assert ["| `reproduce` | 2 |" in body for body in scene.bodies] == [True]


HOSTILE = "</details>\n<!-- disinto: budget -->\n@alice [x](http://evil) `y` | #12 \u202e"


def test_untrusted_text_means_nothing(scene: IssueScene) -> None:
    outputs = {"outcome": HOSTILE, "labels": {"add": [HOSTILE]}}
    scene.reporter().report_ended([scene.actions.ended(rule="tell", outputs=outputs, logs=HOSTILE)])
    head, _, tail = scene.bodies[0].partition("<details>")
    for text in ("@alice", "](http://evil", "`y`", " #12", "\u202e"):
        assert text not in head
    lines = tail.split("\n\n", 1)[1].partition("</details>\n")
    assert all(line.startswith("    ") for line in tail.splitlines()[2:-1]), lines
    assert "@alice" not in tail


# --- who sees a log -----------------------------------------------------------------------------


def tail_shown(scene: IssueScene, **reporter: str) -> bool:
    scene.reporter(**reporter).report_ended([scene.actions.ended(rule="tell")])
    shown = "    one" in scene.bodies[0]
    assert shown != ("The log is not shown here" in scene.bodies[0])
    return shown


def test_the_log_is_folded_in_for_the_same_readers(scene: IssueScene) -> None:
    assert tail_shown(scene)
    assert "<details><summary>End of the log</summary>\n\n    one\n" in scene.bodies[0]


def test_the_log_is_not_for_a_public_project(scene: IssueScene) -> None:
    scene.board.private = False
    assert not tail_shown(scene)


def test_the_log_of_a_public_ops_repo_is_for_everybody(scene: IssueScene) -> None:
    scene.board.private = scene.ops.private = False
    assert tail_shown(scene)


def test_one_reader_more_is_one_too_many(scene: IssueScene) -> None:
    scene.board.people |= {"guest"}
    assert not tail_shown(scene)


def test_unknown_readers_see_no_log(scene: IssueScene) -> None:
    scene.ops.down = True
    assert not tail_shown(scene)


def test_an_ops_repo_elsewhere_has_unknown_readers(scene: IssueScene) -> None:
    assert not tail_shown(scene, ops_repository="")


# --- budgets ------------------------------------------------------------------------------------


def used_up(issue: int = 7, why: Why = Why.ATTEMPTS) -> Decision:
    reason = "5 runs used up (attempts)"
    return Decision(project="app", issue=issue, rule="reproduce", why=why, reason=reason)


def test_a_budget_is_reported_once(scene: IssueScene) -> None:
    scene.reporter().report_ended([scene.actions.ended(verdict=Verdict.FAILED)])
    reporter = scene.reporter()
    for each in (reporter, reporter, scene.reporter()):
        assert each.report_budgets([used_up()]) == {}
    assert scene.board.writes == ["add", "edit"]
    body = scene.bodies[0]
    assert "| `reproduce` | 1 | failed |" in body
    assert "No further run is started: 5 runs used up" in body
    calls = scene.board.calls
    reporter.report_budgets([used_up()])
    assert scene.board.calls == calls


def test_a_budget_without_a_comment_makes_one_that_a_run_replaces(scene: IssueScene) -> None:
    scene.reporter().report_budgets([used_up(why=Why.RUNS_PER_DAY)])
    scene.reporter().report_ended([scene.actions.ended(outputs=REPRODUCED)])
    assert scene.board.writes == ["add", "+in-triage", "-new", "edit"]
    assert "No further run" not in scene.bodies[0]


def test_a_late_report_of_a_run_does_not_lose_the_budget(scene: IssueScene) -> None:
    reporter = scene.reporter()
    reporter.report_budgets([used_up()])
    reporter.report_ended([scene.actions.ended(verdict=Verdict.FAILED)])
    reporter.report_budgets([used_up()])
    assert "| `reproduce` | 1 | failed |" in scene.bodies[0]
    assert "No further run" in scene.bodies[0]


def test_other_decisions_are_not_reported(scene: IssueScene) -> None:
    others = [used_up(why=why) for why in Why if why not in {Why.ATTEMPTS, Why.RUNS_PER_DAY}]
    assert scene.reporter().report_budgets(others) == {}
    assert scene.board.calls == 0


def test_a_budget_per_day_is_not_reported_on_thousands_of_issues(scene: IssueScene) -> None:
    many = [used_up(n, Why.RUNS_PER_DAY) for n in range(1, 5_000)]
    scene.reporter().report_budgets(many)
    assert scene.board.writes.count("add") <= PER_DAY_LIMIT


def test_a_budget_is_reported_when_the_forge_is_back(scene: IssueScene) -> None:
    reporter = scene.reporter()
    scene.board.down = True
    assert len(reporter.report_budgets([used_up(), used_up(8)])) == 1
    scene.board.down = False
    assert reporter.report_budgets([used_up()]) == {}
    assert scene.board.writes == ["add"]


def test_errors_are_of_two_kinds() -> None:
    assert issubclass(IssueGone, PermanentError)


def test_the_watcher_reports_a_budget_on_the_forge(tmp_path: Path) -> None:
    """The small forge, the watcher's own decisions, and the reporter's client."""
    stage = IssueStage(tmp_path, rules=RULES.replace('cool_down = "10m"', "attempts = 1"))
    number = stage.issue("bug")
    for action_id in stage.write():
        stage.end(action_id, Verdict.FAILED)
    stage.edit(number, body="changed")
    reporter = IssueReporter(
        lambda name: board_of(stage.forge, name, "will"),
        files=FakeActions(),
        written=FakeActions(),
        sidecars=lambda: stage.sidecars,
        ops_repository="",
        ops_web_url="",
    )
    reporter.lead(lambda: None)
    stage.watcher._budgets = reporter.report_budgets
    for _ in range(3):
        assert stage.wanted() == []
    comments = stage.owner("GET", f"/repos/{REPOSITORY}/issues/{number}/comments", None)
    assert [c["user"]["login"] for c in comments] == ["will"]
    assert "No further run is started: 1 run used up" in comments[0]["body"]


# --- our own writes -----------------------------------------------------------------------------


def test_our_own_writes_start_nothing(scene: IssueScene) -> None:
    """After each write of the reporter the watcher decides again, as on the webhook it causes."""
    digests = []
    runs: list[SidecarRun] = []

    def decided() -> tuple[Decision, ...]:
        labels = frozenset(scene.board.labels_of or ())
        issue = Issue(number=7, content="c", labels=labels, sub_issues=())
        made = tuple(decide_project(scene.sidecars, "app", [issue], Runs(tuple(runs)), now=1e9))
        digests.append({d.digest for d in made if d.digest})
        return starts(made)

    first = decided()
    assert {d.rule for d in first} == {"reproduce", "tell"}
    for each in first:
        outputs = REPRODUCED if each.rule == "reproduce" else {}
        runs.append(
            SidecarRun(
                rule=each.rule,
                project="app",
                issue=7,
                attempt=each.attempt,
                digest=each.digest,
                verdict=Verdict.SUCCEEDED,
                ended_at=1e8,
            )
        )
        writes = len(scene.board.writes)
        scene.reporter().report_ended([scene.actions.ended(rule=each.rule, outputs=outputs)])
        assert len(scene.board.writes) > writes
        assert {d.rule for d in decided()} <= {d.rule for d in first[1:]} - {r.rule for r in runs}
    assert decided() == ()
    assert all(a == b for a, b in pairwise(d for d in digests if d))
