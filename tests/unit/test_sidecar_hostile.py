"""What strangers and the forge may do to the watcher: none of it starts a run that nobody wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.listener.hooks import Outcome, PushHook
from dispatcher.model.verdicts import Verdict
from tests.support.issue_place import caller
from tests.support.issue_stage import REPOSITORY, RULES, IssueStage

SECRET = b"a secret of more than sixteen bytes"


@pytest.fixture
def stage(tmp_path: Path) -> IssueStage:
    return IssueStage(tmp_path)


class Hook:
    """The endpoint of ``serve``, and what was sent to it."""

    def __init__(self, stage: IssueStage) -> None:
        self._stage = stage
        self._judge = PushHook(
            secret=SECRET, repository="", branch="main", watched=REPOSITORY.__eq__
        )
        self.heard: list[tuple[dict[str, str], bytes]] = []
        stage.forge.secret = SECRET
        stage.forge.hook = lambda headers, body: self.heard.append((dict(headers), body))

    def send(self, headers: Mapping[str, str], body: bytes) -> Outcome:
        judged = self._judge.judge(headers, body)
        if judged.outcome is Outcome.ISSUES:
            self._stage.watcher.hurry(judged.repository)
        return judged.outcome


def test_events_that_are_replayed_start_nothing(stage: IssueStage) -> None:
    hook = Hook(stage)
    stage.issue("bug")
    assert stage.write() == ["triage-app-1-1"]
    stage.end("triage-app-1-1")
    stage.unlabel(1, "bug")
    stage.passes()
    stage.now += 1e6
    assert len(hook.heard) >= 3
    for _ in range(3):
        for headers, body in hook.heard:  # "labelled" among them, although it is not any more
            assert hook.send(headers, body) is Outcome.ISSUES
            assert stage.wanted() == []
    stage.label(1, "bug")
    assert stage.wanted() == []  # unchanged since it succeeded


def test_events_that_are_forged_do_not_even_hurry(stage: IssueStage) -> None:
    hook = Hook(stage)
    stage.issue("bug")
    stage.passes()
    headers, body = hook.heard[-1]
    before = len(stage.forge.calls)
    unsigned = {k: v for k, v in headers.items() if "Signature" not in k}
    for wrong in (
        unsigned,
        {**unsigned, "X-Forgejo-Signature": ""},
        {**unsigned, "X-Forgejo-Signature": "0" * 64},
        {**headers, "X-Hub-Signature-256": "sha256=" + "0" * 64},
    ):
        assert hook.send(wrong, body) is Outcome.FORGED
    assert hook.send(headers, body.replace(b'"bug"', b'"rce"') + b" ") is Outcome.FORGED
    stage.watcher.work()
    assert len(stage.forge.calls) == before


def test_an_event_about_another_repository_reads_nothing(stage: IssueStage) -> None:
    hook = Hook(stage)
    stage.forge.repository("strange/app")
    caller(stage.forge, "strange")("POST", "/repos/strange/app/issues", {"title": "t"})
    stage.passes()
    before = len(stage.forge.calls)
    assert hook.send(*hook.heard[-1]) is not Outcome.ISSUES
    stage.watcher.work()
    assert len(stage.forge.calls) == before


def test_an_issue_renamed_while_its_run_goes_on_is_looked_at_once_more(stage: IssueStage) -> None:
    stage.issue("bug")
    assert stage.write() == ["triage-app-1-1"]
    for title in ("$(reboot)", "{{7*7}}", "t"):
        stage.edit(1, title=title)
        assert stage.wanted() == []  # one run at a time
    stage.edit(1, title="other")
    stage.end("triage-app-1-1")
    stage.now += 1e6
    assert stage.write() == ["triage-app-1-2"]
    stage.end("triage-app-1-2")
    stage.edit(1, title="t")  # as it was when the first one succeeded
    stage.now += 1e6
    assert stage.wanted() == []


def test_an_issue_renamed_again_and_again_costs_five_runs(stage: IssueStage) -> None:
    stage.issue("bug")
    for attempt in range(1, 6):
        assert stage.write() == [f"triage-app-1-{attempt}"]
        stage.edit(1, title=f"title {attempt}")
        stage.end(f"triage-app-1-{attempt}", Verdict.SUCCEEDED)
        stage.now += 1e6
    stage.edit(1, title="once more")
    assert stage.wanted() == []


def test_an_issue_gone_while_its_run_goes_on(stage: IssueStage) -> None:
    stage.issue("bug")
    stage.write()
    stage.forge.remove(REPOSITORY, 1)  # deleted, or transferred
    assert stage.wanted() == []
    stage.end("triage-app-1-1", Verdict.FAILED)
    stage.now += 1e6
    stage.restart()
    assert stage.wanted() == []


def test_a_repository_that_was_renamed_starts_nothing_and_says_so(stage: IssueStage) -> None:
    stage.issue("bug")
    stage.passes()
    repositories = stage.forge.state.repositories
    moved = replace(repositories.pop(REPOSITORY), name="own/renamed")
    repositories["own/renamed"] = moved
    stage.restart()
    (note,) = stage.passes().notes
    assert stage.wanted() == []
    assert "404" in note.reason


def test_a_label_that_the_forge_does_not_know_applies_to_no_issue(tmp_path: Path) -> None:
    """A filter by it would return all issues."""
    rules = RULES.replace('labels = ["bug"]', 'labels = ["bug", "no-such-label"]')
    stage = IssueStage(tmp_path, rules=rules)
    for label in ("bug", "other", "done"):
        stage.issue(label)
    assert stage.wanted() == []
    assert stage.watcher.state("app").complete


def test_a_comment_and_a_closed_mention_change_nothing(stage: IssueStage) -> None:
    stage.issue("bug")
    stage.write()
    stage.end("triage-app-1-1")
    stage.comment(1, "Decomposed from #1")
    mention = stage.issue(body="see #1, and Decomposed from nothing")
    stage.edit(mention, state="closed")
    stage.now += 1e6
    assert stage.wanted() == []
