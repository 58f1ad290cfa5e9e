"""Attacks on reports: by a run that is misled, by whoever may comment, and by whoever may write issues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from dispatcher.decide.sidecar_rules import parse_sidecars
from dispatcher.decide.sidecars import Decision, Why
from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.errors import PermanentError, TemporaryError
from dispatcher.forge import exchange
from dispatcher.forge.records import Comment, User
from dispatcher.gate.issue_audience import all_read_ops_repo
from dispatcher.gate.issue_report import IssueReporter
from dispatcher.gate.markdown import cell, inert
from tests.fakes import issue_board
from tests.fakes.issue_board import ME, SIDECARS, FakeActions, FakeIssueBoard, IssueScene
from tests.support.issue_place import board_of, caller

SECRET = "a line of the private log"


@pytest.fixture
def scene() -> IssueScene:
    return IssueScene()


# --- what a run says ----------------------------------------------------------------------------


def test_a_label_that_nobody_knows_carries_no_text(scene: IssueScene) -> None:
    unknown = [f"{n} {SECRET}" for n in range(15)]
    labels = {"add": [*unknown, "bug-report"], "remove": [SECRET, "in-triage"]}
    scene.reporter().report_ended([scene.actions.ended(outputs={"labels": labels})])
    assert SECRET not in scene.bodies[0]
    assert "Dropped: 16 labels that neither the rule nor the repository has." in scene.bodies[0]
    assert "Dropped: bug-report (the rule does not allow adding it)." in scene.bodies[0]
    assert "Dropped: in-triage (the rule does not allow removing it)." in scene.bodies[0]


@pytest.mark.parametrize("outcome", [SECRET, "www.evil.example/x", "x" * 41, "Fixed", "f\n"])
def test_an_outcome_that_is_no_short_word_is_not_shown(scene: IssueScene, outcome: str) -> None:
    scene.reporter().report_ended([scene.actions.ended(outputs={"outcome": outcome})])
    assert "| succeeded | not shown |" in scene.bodies[0]


@pytest.mark.parametrize(
    ("present", "labels"),
    [
        ({"new"}, {"add": ["rejected"], "remove": ["bug-report"]}),
        ({"new"}, {"add": ["rejected", "bug-report"]}),
        ({"bug-report", "in-triage"}, {"add": ["rejected"], "remove": ["in-triage"]}),
    ],
)
def test_a_label_that_the_run_may_not_change_is_none_of_its_changes(
    scene: IssueScene, present: set[str], labels: dict[str, list[str]]
) -> None:
    scene.board.labels_of = present
    scene.reporter().report_ended([scene.actions.ended(outputs={"labels": labels})])
    assert scene.board.writes == ["add"]
    assert "labels were changed meanwhile" in scene.bodies[0]


def test_a_label_that_a_person_removed_before_ours_were_added_was_not_removed_by_us(
    scene: IssueScene,
) -> None:
    text = SIDECARS.replace('remove_labels = ["new"]', 'remove_labels = ["bug-report"]')
    scene.sidecars = parse_sidecars(text.encode(), path="sidecars.toml")
    scene.board.labels_of = {"new"}
    labels = {"add": ["rejected"], "remove": ["bug-report"]}
    scene.reporter().report_ended([scene.actions.ended(outputs={"labels": labels})])
    assert scene.board.writes == ["add"]
    assert "labels were changed meanwhile" in scene.bodies[0]


def test_an_exclusive_label_takes_no_other_with_it(scene: IssueScene) -> None:
    """Adding s/b to an issue removes s/a, if they are exclusive."""
    text = SIDECARS.replace('["in-triage", "rejected"]', '["s/b", "s/c"]')
    scene.sidecars = parse_sidecars(text.encode(), path="sidecars.toml")
    scene.board.known = ("bug-report", "new", "s/a", "s/b", "s/c")
    scene.board.exclusive = {"s/a", "s/b", "s/c"}
    scene.board.labels_of = {"bug-report", "s/a"}
    ended = scene.actions.ended(outputs={"labels": {"add": ["s/b"]}})
    scene.reporter().report_ended([ended])
    assert scene.board.writes == ["add"]
    assert "Dropped: s/b (it is exclusive and would replace another label)." in scene.bodies[0]
    scene.board.labels_of = {"bug-report"}
    both = scene.actions.ended(attempt=2, outputs={"labels": {"add": ["s/b", "s/c"]}})
    one = scene.actions.ended(attempt=3, outputs={"labels": {"add": ["s/b"]}})
    scene.reporter().report_ended([both, one])
    assert scene.board.writes == ["add", "edit", "+s/b", "edit"]


def test_an_exclusive_label_may_replace_one_that_the_run_may_remove(scene: IssueScene) -> None:
    text = SIDECARS.replace('["in-triage", "rejected"]', '["s/b"]').replace('["new"]', '["s/a"]')
    scene.sidecars = parse_sidecars(text.encode(), path="sidecars.toml")
    scene.board.known = ("bug-report", "new", "s/a", "s/b")
    scene.board.exclusive = {"s/a", "s/b"}
    scene.board.labels_of = {"bug-report", "s/a"}
    labels = {"add": ["s/b"], "remove": ["s/a"]}
    scene.reporter().report_ended([scene.actions.ended(outputs={"labels": labels})])
    assert scene.board.labels_of == {"bug-report", "s/b"}
    assert "Dropped" not in scene.bodies[0]


@pytest.mark.parametrize("text", ["@victim", "a@b.example", "#1", "o/r#1", "!2", ":smile:"])
def test_a_forge_finds_no_reference_in_inert_text(text: str) -> None:
    """It looks at the text that is left when entities are resolved."""
    shown = inert(text, 200).replace("&#64;", "@").replace("&#35;", "#")
    shown = shown.replace("&#33;", "!").replace("&#58;", ":")
    for sign in "@#!:":
        assert shown.count(sign) == shown.count(f"{sign}\u200b")


def test_inert_text_has_no_address(scene: IssueScene) -> None:
    for text in ("https://evil.example", "mailto:x", "www.evil.example", "WWW.evil.example"):
        assert text not in inert(text, 200).replace("&#58;", ":")
    assert "@victim" not in cell("@victim").replace("&#64;", "@")


# --- what others write --------------------------------------------------------------------------


@dataclass
class Poisoned:
    """Issues of a forge, on some of which a stranger wrote more comments than one answer holds."""

    forge: IssueForge
    reporter: IssueReporter
    actions: FakeActions

    def comments(self, number: int) -> list[str]:
        issue = self.forge.state.repositories["acme/app"].issues[number]
        return [c["body"] for c in issue.comments if c["user"]["login"] == "bot"]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Poisoned:
    monkeypatch.setattr(exchange, "MAX_ANSWER_BYTES", 20_000)
    forge = IssueForge()
    forge.repository("acme/app", bot="write")
    owner, stranger = caller(forge, "acme"), caller(forge, "strange")
    for name in ("bug-report", "in-triage"):
        owner("POST", "/repos/acme/app/labels", {"name": name})
    for number in range(1, 6):
        owner("POST", "/repos/acme/app/issues", {"title": "t", "body": "b"})
        for size in (9_000, 30_000, 9_000) if number <= 3 else ():
            path = f"/repos/acme/app/issues/{number}/comments"
            stranger("POST", path, {"body": "x" * size})
    owner("POST", "/repos/acme/app/issues", {"title": "t", "body": "b" * 30_000})
    actions, sidecars = FakeActions(), parse_sidecars(SIDECARS.encode(), path="s")
    board = board_of(forge, "acme/app", "bot")
    reporter = IssueReporter(
        lambda repository: board,
        files=actions,
        written=actions,
        sidecars=lambda: sidecars,
        ops_repository="",
        ops_web_url="",
    )
    reporter.lead(lambda: None)
    return Poisoned(forge, reporter, actions)


def test_large_comments_of_a_stranger_suppress_no_report(poisoned: Poisoned) -> None:
    for attempt in (1, 2):
        ended = [poisoned.actions.ended(issue=n, attempt=attempt) for n in range(1, 6)]
        assert poisoned.reporter.report_ended(ended) == {}
    for number in range(1, 6):
        (body,) = poisoned.comments(number)
        assert "| `reproduce` | 2 |" in body


def test_large_comments_of_a_stranger_suppress_no_budget(poisoned: Poisoned) -> None:
    used_up = Decision(project="app", issue=1, rule="reproduce", why=Why.ATTEMPTS, reason="all")
    decisions = [replace(used_up, issue=n) for n in range(1, 6)]
    assert poisoned.reporter.report_budgets(decisions) == {}
    assert [len(poisoned.comments(n)) for n in range(1, 6)] == [1] * 5


def test_an_issue_that_is_too_large_is_final(poisoned: Poisoned) -> None:
    ended = poisoned.actions.ended(issue=6)
    (error,) = poisoned.reporter.report_ended([ended]).values()
    assert isinstance(error, PermanentError)


def edited(scene: IssueScene, old: str, new: str) -> None:
    """Somebody with write access edits our comment."""
    body = scene.board.said[1].body
    assert old in body
    scene.board.said[1] = Comment(id=1, user=ME, body=body.replace(old, new, 1))


def test_a_marker_of_an_attempt_that_has_not_ended_suppresses_nothing(scene: IssueScene) -> None:
    reporter = scene.reporter()
    reporter.report_ended([scene.actions.ended()])
    edited(scene, "attempt 1 -->", "attempt 999999999 -->")
    reporter.report_ended([scene.actions.ended(attempt=2)])
    assert "| `reproduce` | 2 |" in scene.bodies[0]
    assert len(scene.bodies) == 1


def test_text_before_our_marker_makes_no_second_comment(scene: IssueScene) -> None:
    reporter = scene.reporter()
    reporter.report_ended([scene.actions.ended()])
    edited(scene, "<!--", "A note.\r\n\r\n<!--")
    reporter.report_ended([scene.actions.ended(attempt=2)])
    assert len(scene.bodies) == 1


def test_a_marker_in_a_log_is_not_one(scene: IssueScene) -> None:
    fake = "<!-- disinto: sidecar reproduce attempt 1 -->"
    scene.reporter().report_ended([scene.actions.ended(rule="tell", logs=f"{fake}\n")])
    assert fake in scene.bodies[0]
    scene.reporter().report_ended([scene.actions.ended()])
    assert len(scene.bodies) == 2


# --- who we are ---------------------------------------------------------------------------------


def test_our_account_is_renamed(scene: IssueScene, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = scene.reporter()
    reporter.report_ended([scene.actions.ended()])
    renamed = User(id=ME.id, login="disinto-bot")
    monkeypatch.setattr(issue_board, "ME", renamed)
    for attempt in (2, 3):
        (comment,) = scene.board.said.values()
        scene.board.said[comment.id] = comment.model_copy(update={"user": renamed})
        reporter.report_ended([scene.actions.ended(attempt=attempt)])
        assert len(scene.bodies) == 1


def test_a_lead_lost_and_regained_during_a_report_is_another_one(scene: IssueScene) -> None:
    """Meanwhile the other dispatcher has reported: what was read before does not count."""

    class Meanwhile(FakeIssueBoard):
        def comments(self, number: int) -> Sequence[Comment]:
            read = super().comments(number)
            if not self.writes:
                self.writes.append("meanwhile")
                first.rest()
                assert second.report_ended([ended]) == {}
                first.lead(lambda: None)
            return read

    scene.board = Meanwhile()
    ended = scene.actions.ended()
    first, second = scene.reporter(), scene.reporter()
    (error,) = first.report_ended([ended]).values()
    assert isinstance(error, TemporaryError)
    assert scene.board.writes == ["meanwhile", "add"]


def test_a_team_that_reads_only_issues_of_the_ops_repo_sees_no_log() -> None:
    class OfATeam(FakeIssueBoard):
        def readers(self) -> frozenset[str]:
            return frozenset({"acme", "#9"})

    board = OfATeam()
    assert not all_read_ops_repo(board, board)
    assert all_read_ops_repo(FakeIssueBoard(), FakeIssueBoard())
