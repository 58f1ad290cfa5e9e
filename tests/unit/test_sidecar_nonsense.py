"""A forge that answers nonsense, issues that cannot be read, and rules that change meanwhile: the watcher
goes on, and starts nothing that nobody permitted.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from pydantic import TypeAdapter

from dispatcher.decide.sidecar_rules import parse_sidecars
from dispatcher.devservers.issue_forge_state import Refused
from dispatcher.forge.exchange import Exchange
from dispatcher.sidecar import source, watcher
from dispatcher.sidecar.requests import RunRequest, ask_for, requests_in
from tests.support.issue_place import caller
from tests.support.issue_stage import REPOSITORY, RULES, IssueStage

YEARS_S = 10 * 365 * 86_400.0


@pytest.fixture
def stage(tmp_path: Path) -> IssueStage:
    return IssueStage(tmp_path)


# -- nonsense of the forge


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Date", "Fri, 31 Dec 9999 23:59:59 -2300"),
        ("Date", "Wed, 01 Jan 1930 00:00:00 GMT"),
        ("X-Total-Count", "9" * 5_000),
    ],
)
def test_a_header_that_means_nothing_is_ignored(header: str, value: str) -> None:
    answer = httpx.Response(200, json=[], headers={header: value})
    exchange = Exchange(
        url="http://forge.test",
        token="t",
        cacert=None,
        timeout_s=5,
        token_source="TOKEN",
        transport=httpx.MockTransport(lambda _request: answer),
    )
    page = exchange.page("/x", TypeAdapter(list[int]), {})
    assert page is not None
    assert (page.at, page.total) == (None, None)


def test_an_answer_dated_in_the_future_hides_no_issue(stage: IssueStage) -> None:
    stage.passes()
    clock, stage.forge.clock = stage.forge.clock, lambda: stage.now + YEARS_S
    stage.passes()
    stage.forge.clock = clock
    stage.issue("bug")
    assert stage.wanted() == ["triage-app-1-1"]


def test_an_unexpected_error_is_reported_and_does_not_end_the_watcher(stage: IssueStage) -> None:
    stage.issue("bug")
    answer = stage.forge.answer

    def broken(*_words: object, **_more: object) -> None:
        raise KeyError("nonsense")

    stage.forge.answer = broken  # type: ignore[method-assign,assignment]
    stage.passes()
    assert "KeyError" in stage.watcher.state("app").problem
    stage.forge.answer = answer  # type: ignore[method-assign]
    retried_at_once(stage)
    assert stage.wanted() == ["triage-app-1-1"]


def retried_at_once(stage: IssueStage) -> None:
    """No pause after a failure."""
    for project in stage.watcher._projects.values():
        project.pause_s = project.due_at = 0.0


def fail_on_time_line(stage: IssueStage, number: int, status: int) -> None:
    """Have the forge answer this status to whoever reads the time line of an issue."""
    answer = stage.forge._answer

    def fails(method: str, path: str, *words: object, **more: object) -> object:
        if path.endswith(f"/issues/{number}/timeline"):
            raise Refused(status, "boom")
        return answer(method, path, *words, **more)  # type: ignore[arg-type]

    stage.forge._answer = fails  # type: ignore[method-assign,assignment]


def test_a_token_that_may_not_read_stays_a_problem(stage: IssueStage) -> None:
    fail_on_time_line(stage, stage.issue("bug"), 403)
    for _ in range(3):
        assert stage.wanted() == []
        assert "403" in stage.watcher.state("app").problem
        retried_at_once(stage)


def test_an_issue_that_the_forge_fails_on_holds_up_no_other(stage: IssueStage) -> None:
    failing, _ = stage.issue("bug"), stage.issue("bug")
    fail_on_time_line(stage, failing, 500)
    assert stage.wanted() == ["triage-app-2-1"]
    assert "500" in stage.watcher.state("app").problem
    retried_at_once(stage)
    assert stage.wanted() == ["triage-app-2-1"]
    assert stage.watcher.state("app").problem == ""


def test_a_forge_that_fails_on_all_issues_is_not_asked_about_each(stage: IssueStage) -> None:
    for _ in range(12):
        fail_on_time_line(stage, stage.issue("bug"), 500)
    before = len(stage.forge.calls)
    assert stage.wanted() == []
    asked = [call for call in stage.forge.calls[before:] if call.endswith("/timeline")]
    assert len(asked) == 3


@pytest.mark.parametrize("number", [2**31, 10**10, 2**63, 10**90])
def test_a_number_that_no_forge_gives_starts_nothing(stage: IssueStage, number: int) -> None:
    stage.issue("bug")
    stage.issue("bug")
    issues = stage.forge.state.repositories[REPOSITORY].issues
    issues[number] = issues.pop(1)
    issues[number].number = number
    assert stage.wanted() == ["triage-app-2-1"]
    assert "cannot be read" in stage.watcher.state("app").problem


def test_refused_issues_hold_up_no_newer_one(
    stage: IssueStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the forge is: what was refused gives way until the others have been asked about."""
    stage.rules = RULES.replace("max_concurrent = 3", "max_concurrent = 1")
    stage.restart()
    stage.forge.grant(REPOSITORY, "mal", "write")
    mal = caller(stage.forge, "mal")
    for _ in range(6):
        stage.issue("bug", by=mal)
    stage.forge.grant(REPOSITORY, "mal", "read")
    stage.issue("bug")

    def monotonic() -> float:  # a pass lasts longer than a refusal counts
        return time.monotonic() + 100.0 * len(stage.forge.calls)

    slow = SimpleNamespace(monotonic=monotonic)
    monkeypatch.setattr(watcher, "time", slow)
    monkeypatch.setattr("dispatcher.sidecar.vetting.VALID_S", 1e9)
    monkeypatch.setattr(source, "time", slow)
    for _ in range(8):
        stage.passes()
    assert stage.wanted() == ["triage-app-7-1"]


def test_what_was_refused_is_asked_again(
    stage: IssueStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.forge.grant(REPOSITORY, "sue", "write")
    stage.issue("bug", by=caller(stage.forge, "sue"))
    stage.forge.grant(REPOSITORY, "sue", "read")
    assert stage.wanted() == []
    stage.forge.grant(REPOSITORY, "sue", "write")
    assert stage.wanted() == [], "not at once: the issue has not changed"
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 601.0)
    monkeypatch.setattr(watcher, "time", later)
    monkeypatch.setattr(source, "time", later)
    assert stage.wanted() == ["triage-app-1-1"]


# -- rules that change, requests of operators


def test_a_permission_does_not_outlive_its_rule(stage: IssueStage) -> None:
    stage.forge.grant(REPOSITORY, "mal", "write")
    number = stage.issue("bug")
    stage.label(number, "other", by=caller(stage.forge, "mal"))
    stage.forge.grant(REPOSITORY, "mal", "read")
    assert stage.wanted() == ["triage-app-1-1"]
    changed = RULES.replace('labels = ["bug"]', 'labels = ["other"]')
    stage.sidecars = parse_sidecars(changed.encode(), path="sidecars.toml")
    assert stage.look().actions == ()
    assert stage.wanted() == []
    assert "mal" in str(stage.watcher.state("app").vets)


def test_what_is_known_of_a_repository_is_not_used_for_another(stage: IssueStage) -> None:
    stage.issue("bug")
    assert stage.wanted() == ["triage-app-1-1"]
    stage.forge.repository("own/new", will="write")
    stage.sidecars = parse_sidecars(RULES.replace("own/app", "own/new").encode(), path="s")
    assert stage.look().actions == ()
    assert stage.wanted() == []


def test_two_requests_for_one_issue_start_one_run(stage: IssueStage, tmp_path: Path) -> None:
    for attempt in (2, 1):
        request = RunRequest(
            project="app", issue=1, rule="triage", attempt=attempt, digest="0" * 64
        )
        ask_for(tmp_path, request)
    assert stage.write() == ["triage-app-1-1"]
    assert [each.attempt for each in requests_in(tmp_path).values()] == [1]
    assert stage.write() == []
    assert requests_in(tmp_path) == {}
