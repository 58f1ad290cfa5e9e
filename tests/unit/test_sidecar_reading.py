"""Issues as strangers make them: huge, odd, many, and changing while they are read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.forge.issues import IssuePage, IssuesApi
from dispatcher.sidecar.reading import ProjectIssues
from tests.support.issue_place import caller, reads_of

NAME = "own/app"


@pytest.fixture
def forge() -> IssueForge:
    now = iter(range(1_800_000_000, 1_900_000_000))
    made = IssueForge(clock=lambda: float(next(now)))
    made.repository(NAME)
    return made


def watched(forge: IssueForge, label: str = "bug") -> ProjectIssues:
    return ProjectIssues(
        reads=reads_of(forge, NAME, "own"),
        relevant=lambda labels: label in labels,
        clock=lambda: 2_000_000_000.0,  # ahead of the forge's, whose times count
    )


def opened(forge: IssueForge, *labels: str, title: str = "t", body: str = "b") -> int:
    call = caller(forge, "own")
    made = call("POST", f"/repos/{NAME}/issues", {"title": title, "body": body})
    for label in labels:
        known = call("GET", f"/repos/{NAME}/labels?limit=50", None)
        ids = [each["id"] for each in known if each["name"] == label]
        ids = ids or [call("POST", f"/repos/{NAME}/labels", {"name": label})["id"]]
        call("POST", f"/repos/{NAME}/issues/{made['number']}/labels", {"labels": ids})
    return int(made["number"])


def test_ten_thousand_issues(forge: IssueForge) -> None:
    forge.fill(NAME, 9_900)
    forge.fill(NAME, 100, "bug")
    issues = watched(forge)
    issues.read()
    assert len(issues.issues) == 100  # the others are not kept
    assert len(forge.calls) == 200
    caller(forge, "own")("PATCH", f"/repos/{NAME}/issues/9950", {"title": "new"})
    before = len(forge.calls)
    assert issues.read()
    assert len(forge.calls) - before == 1
    assert not issues.read()
    assert len(forge.calls) - before == 2


def test_large_issues_are_read_in_small_pages(forge: IssueForge) -> None:
    for _ in range(3):
        opened(forge, "bug", body="x" * 5_000_000)
    opened(forge, "bug", body="x" * 9_000_000)
    opened(forge, "bug")
    issues = watched(forge)
    issues.read()
    assert set(issues.issues) == {1, 2, 3, 5}
    assert issues.unread == 1
    assert issues.complete
    assert sum(len(issue.content) for issue in issues.issues.values()) == 4 * 64


def test_a_large_sub_issue(forge: IssueForge) -> None:
    parent = opened(forge, "bug")
    for size in (5_000_000, 5_000_000, 10):
        opened(forge, body=f"Decomposed from #{parent} " + "x" * size)
    issues = watched(forge)
    issues.read()
    assert [sub.number for sub in issues.time_line(parent).sub_issues] == [2, 3, 4]


@pytest.mark.parametrize(
    "label", ["\x00", "\ud800", "\u202egub", "a,b", "'; rm -rf /", "{{7*7}}", "x" * 5_000, "🐛"]
)
def test_labels_of_any_bytes(forge: IssueForge, label: str) -> None:
    opened(forge, "bug", label)
    issues = watched(forge)
    issues.read()
    (issue,) = issues.issues.values()
    assert len(issue.labels) == 2


def test_too_many_labels(forge: IssueForge) -> None:
    forge.fill(NAME, 1, "bug", *(f"label-{n}" for n in range(300)))
    issues = watched(forge)
    issues.read()
    assert issues.issues == {}


def test_pull_requests_are_not_issues(forge: IssueForge) -> None:
    opened(forge, "bug")
    forge.state.repositories[NAME].issues[1].pull = True
    issues = watched(forge)
    issues.read()
    assert issues.issues == {}
    assert issues.refresh(1) is None
    # nor is one a sub-issue
    parent, child = opened(forge, "bug"), opened(forge, body="Decomposed from #2")
    forge.state.repositories[NAME].issues[child].pull = True
    issues.read()
    assert issues.time_line(parent).sub_issues == ()


def test_issues_closed_while_pages_are_read_hide_no_other(forge: IssueForge) -> None:
    forge.fill(NAME, 300, "bug")
    close = caller(forge, "own")

    def after(page: int) -> None:
        for number in range(300 - 40 * page + 39, 300 - 40 * page - 1, -1):
            close("PATCH", f"/repos/{NAME}/issues/{number}", {"state": "closed"})

    issues = watched(forge)
    issues.reads = _Disturbed(issues.reads, after)  # type: ignore[arg-type, assignment]
    issues.read()
    issues.read()
    still = {i.number for i in forge.state.repositories[NAME].issues.values() if i.state == "open"}
    assert set(issues.issues) == still


class _Disturbed:
    """Does something after each of the first three pages of open issues."""

    def __init__(self, reads: IssuesApi, after: Callable[[int], None]) -> None:
        self._reads, self._after, self._pages = reads, after, 0

    def page(self, number: int, *, state: str, since: float | None = None) -> IssuePage:
        page = self._reads.page(number, state=state, since=since)
        self._pages += 1
        if state == "open" and self._pages <= 3:
            self._after(self._pages)
        return page


def test_the_forge_fails_in_the_middle(forge: IssueForge) -> None:
    forge.fill(NAME, 120, "bug")
    issues = watched(forge)
    reads = issues.reads
    issues.reads = _Failing(reads)  # type: ignore[arg-type, assignment]
    with pytest.raises(RuntimeError):
        issues.read()
    assert not issues.complete
    issues.reads = reads
    issues.read()
    assert len(issues.issues) == 120


class _Failing:
    def __init__(self, reads: IssuesApi) -> None:
        self._reads = reads

    def page(self, number: int, *, state: str, since: float | None = None) -> IssuePage:
        if number == 2:
            raise RuntimeError("gone")
        return self._reads.page(number, state=state, since=since)
