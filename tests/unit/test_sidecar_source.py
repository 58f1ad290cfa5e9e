"""From an issue on the forge to the wish for an action."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.decide.forge_issue import content_digest
from dispatcher.decide.sidecar_rules import parse_sidecars
from dispatcher.model.verdicts import Verdict
from dispatcher.sidecar.requests import RunRequest, ask_for, requests_in
from dispatcher.sources import SourceState, WrittenRun
from tests.contract.source import Case, SourceContract
from tests.support.issue_place import caller
from tests.support.issue_stage import REPOSITORY, IssueStage, parsed


@pytest.fixture
def stage(tmp_path: Path) -> IssueStage:
    return IssueStage(tmp_path)


class TestContract(SourceContract):
    @pytest.fixture
    def case(self, stage: IssueStage) -> Case:
        stage.issue("bug")
        stage.issue("bug")
        stage.passes()
        return Case(make=lambda: stage.source, look=stage.seen())

    def test_what_was_deleted_before_it_ran_is_not_wanted_again(self, case: Case) -> None:
        wants = case.make().look(case.look)
        gone = {
            w.action_id: WrittenRun(action=parsed(w), result=None, withdrawn_at=case.look.now)
            for w in wants.actions
        }
        deleted = replace(
            case.look, ids=lambda: gone, written=gone.get, is_used=lambda i: i in gone
        )
        assert wants.actions
        assert not case.make().look(deleted).actions


def test_a_label_becomes_a_run(stage: IssueStage) -> None:
    stage.issue("bug")
    stage.issue("other")
    (wanted,) = stage.passes().actions
    assert wanted.action_id == "triage-app-1-1"
    action = parsed(wanted)
    assert (action.formula, action.secrets, action.mounts) == ("triage", (), ())
    params = dict(action.params)
    assert len(str(params.pop("digest"))) == 64
    assert params == {
        "rule": "triage",
        "project": "app",
        "project_toml": "projects/app.toml",
        "repository": "own/app",
        "issue_number": 1,
    }


def test_a_run_ends_and_the_issue_is_left_alone(stage: IssueStage) -> None:
    number = stage.issue("bug")
    assert stage.write() == ["triage-app-1-1"]
    assert stage.wanted() == []  # it is open
    stage.end("triage-app-1-1")
    stage.comment(number)  # as its reporter does
    stage.label(number, "done")
    stage.now += 1e6
    assert stage.wanted() == []
    stage.restart()
    assert stage.wanted() == []
    stage.edit(number, title="another")
    assert stage.write() == ["triage-app-1-2"]


def test_a_failure_is_retried_at_its_time(stage: IssueStage) -> None:
    stage.issue("bug")
    stage.write()
    stage.end("triage-app-1-1", Verdict.FAILED)
    ended = stage.now
    wants = stage.passes()
    assert not wants.actions
    assert wants.next_at == ended + 1200
    stage.now = ended + 1200
    assert stage.wanted() == ["triage-app-1-2"]


def test_a_label_of_somebody_without_rights_starts_nothing(stage: IssueStage) -> None:
    stage.forge.grant(REPOSITORY, "mallory[bot]", "write")
    mallory = caller(stage.forge, "mallory[bot]")
    stage.issue("bug", by=mallory)
    stage.forge.grant(REPOSITORY, "mallory[bot]", "read")
    assert stage.wanted() == []
    refusals = stage.watcher.state("app").refused(stage.sidecars.rules)
    assert refusals == {(1, "triage"): '"mallory[bot]", who set the label "bug", may not write'}
    # somebody with rights confirms it
    stage.unlabel(1, "bug")
    stage.label(1, "bug")
    assert stage.wanted() == ["triage-app-1-1"]


def test_a_refused_issue_is_not_asked_about_at_each_pass(stage: IssueStage) -> None:
    stage.forge.grant(REPOSITORY, "mallory", "write")
    stage.issue("bug", by=caller(stage.forge, "mallory"))
    stage.forge.grant(REPOSITORY, "mallory", "read")
    stage.passes()
    before = len(stage.forge.calls)
    stage.passes()
    assert len(stage.forge.calls) - before == 1


def test_rights_are_asked_when_the_run_is_about_to_start(stage: IssueStage) -> None:
    stage.issue("bug")
    stage.write()
    stage.end("triage-app-1-1", Verdict.FAILED)
    stage.forge.grant(REPOSITORY, "will", "read")
    stage.now += 1e6
    assert stage.wanted() == []


def test_sub_issues(stage: IssueStage) -> None:
    parent = stage.issue("parent")
    assert stage.wanted() == []
    subs = [stage.issue(body=f"Decomposed from #{parent}") for _ in range(2)]
    assert stage.wanted() == []
    for sub in subs:
        assert stage.wanted() == []
        stage.edit(sub, state="closed")
    assert stage.write() == ["verify-app-1-1"]
    stage.end("verify-app-1-1")
    stage.now += 1e6
    assert stage.wanted() == []
    stage.edit(subs[0], state="open")
    assert stage.wanted() == []
    stage.edit(subs[0], body="it has nothing to do with it")
    assert stage.write() == ["verify-app-1-2"]  # another state: the other one is closed


@pytest.mark.parametrize(
    "body",
    ["Decomposed from #1", "Decomposed from other/app#1", "Decomposed from #999"],
    ids=["itself", "another project", "nothing"],
)
def test_decomposed_from_what_it_is_not(stage: IssueStage, body: str) -> None:
    number = stage.issue("parent")
    stage.edit(number, body=body)
    stage.edit(stage.issue(body="Decomposed from other/app#1"), state="closed")
    assert stage.wanted() == []


def test_decomposed_in_a_circle(stage: IssueStage) -> None:
    first, second = stage.issue("parent"), stage.issue("parent")
    stage.edit(first, body=f"Decomposed from #{second}")
    stage.edit(second, body=f"Decomposed from #{first}")
    assert stage.wanted() == []  # each is an open sub-issue of the other
    stage.edit(second, state="closed")
    assert stage.wanted() == ["verify-app-1-1"]


def test_a_forged_run_uses_up_nothing(stage: IssueStage) -> None:
    stage.issue("bug")
    (wish,) = stage.passes().actions
    stage.taken |= {f"triage-app-1-{n}" for n in range(1, 50)}  # files of others, not ours
    assert stage.wanted() == ["triage-app-1-50"]
    # nor does an action that we wrote for something else, such as a schedule
    action = parsed(wish)
    assert action.source is not None
    stage.taken.clear()
    other = replace(action, source=None)
    stage.runs["triage-app-1-1"] = WrittenRun(action=other, result=None)
    stage.restart()
    assert stage.wanted() == ["triage-app-1-2"]


def test_the_forge_is_down(stage: IssueStage) -> None:
    stage.forge.down = True
    wants = stage.passes()
    assert not wants.actions
    (note,) = wants.notes
    assert (note.name, note.state) == ("app", SourceState.LIMITED)
    assert "503" in note.reason


def test_a_budget_is_visible(tmp_path: Path) -> None:
    rules = 'runs_per_day = 1\n[rules.triage]\nformula = "triage"\nlabels = ["bug"]\n'
    project = '[projects.app]\nrepository = "own/app"\nbot = "reader"\n'
    stage = IssueStage(tmp_path, rules=project + rules)
    stage.issue("bug")
    stage.issue("bug")
    stage.write()
    stage.end("triage-app-1-1")
    (note,) = stage.passes().notes
    assert note.reason == "triage on issue 2: 1 run within 24 hours used up (runs_per_day)"


def test_an_issue_closed_or_gone_starts_nothing(stage: IssueStage) -> None:
    for _ in range(3):
        stage.issue("bug")
    stage.passes()
    stage.edit(1, state="closed")
    stage.forge.remove(REPOSITORY, 2)  # deleted, or transferred
    stage.now += 1e6
    stage.restart()
    assert stage.wanted() == ["triage-app-3-1"]


def test_an_issue_gone_since_the_last_pass_starts_nothing(stage: IssueStage) -> None:
    stage.issue("bug")
    stage.write()
    stage.end("triage-app-1-1", Verdict.FAILED)
    stage.passes()
    stage.forge.remove(REPOSITORY, 1)  # lists of changes do not show that
    stage.now += 1e6
    assert stage.wanted() == []


def test_by_hand(stage: IssueStage, tmp_path: Path) -> None:
    stage.issue("other")
    request = RunRequest(
        project="app", issue=1, rule="triage", attempt=1, digest=content_digest("a", "b")
    )
    ask_for(tmp_path, request)
    (tmp_path / "sidecar-requests" / "junk.json").write_text("[]")
    assert stage.write() == ["triage-app-1-1"]
    assert list(requests_in(tmp_path).values()) == [request]  # until the action is in git
    assert stage.wanted() == []
    assert requests_in(tmp_path) == {}
    # a second one waits for nobody: a run is open
    ask_for(tmp_path, replace(request, attempt=2))
    assert stage.wanted() == []
    assert requests_in(tmp_path) == {}


def test_new_rules_are_followed(stage: IssueStage) -> None:
    stage.issue("other")
    assert stage.wanted() == []
    text = stage.rules.replace('labels = ["bug"]', 'labels = ["other"]')
    stage.sidecars = parse_sidecars(text.encode(), path="sidecars.toml")
    assert stage.wanted() == ["triage-app-1-1"]


def test_a_run_counts_although_somebody_had_its_id_before(stage: IssueStage) -> None:
    stage.theirs |= {"triage-app-1-1", "triage-app-1-2"}
    stage.passes()
    stage.theirs.clear()  # deleted before they ran
    stage.issue("bug")
    assert stage.write() == ["triage-app-1-1"]
    assert stage.wanted() == []


def test_it_names_the_last_end_of_each_rule_on_each_issue_for_a_day(stage: IssueStage) -> None:
    first, second = stage.issue("bug"), stage.issue("bug")
    assert stage.write() == [f"triage-app-{first}-1", f"triage-app-{second}-1"]
    assert stage.look().ended == ()
    stage.end(f"triage-app-{second}-1")
    stage.now += 1
    stage.end(f"triage-app-{first}-1", Verdict.FAILED)
    assert stage.look().ended == (f"triage-app-{second}-1", f"triage-app-{first}-1")
    stage.now += 3600
    assert stage.write() == [f"triage-app-{first}-2"]
    assert stage.look().ended == (f"triage-app-{second}-1", f"triage-app-{first}-1")
    stage.end(f"triage-app-{first}-2")
    stage.restart()
    assert stage.look().ended == (f"triage-app-{second}-1", f"triage-app-{first}-2")
    stage.now += 86_400 - 3600
    assert stage.look().ended == (f"triage-app-{first}-2",)
