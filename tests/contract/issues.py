"""What a forge keeps to about issues. Give the fixture ``place``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from dispatcher.errors import Denied
from dispatcher.forge import exchange
from dispatcher.forge.issue_board import IssueBoard
from dispatcher.forge.issues import IssuesApi

Call = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class IssuePlace:
    """A repository without issues.

    Attributes:
        name: ``owner/name``; ``other`` is another repository of the same owner.
        reads: its issues, read by its owner; ``stranger_reads`` by somebody without rights.
        board: its issues, as the writer reports on them.
        owner, writer, stranger: call the API as these accounts: method, path, body.
        logins: of the three.
        later: has at least a second pass.
    """

    name: str
    other: str
    reads: IssuesApi
    stranger_reads: IssuesApi
    board: IssueBoard
    owner: Call
    writer: Call
    stranger: Call
    logins: tuple[str, str, str]
    later: Callable[[], None]

    def label(self, name: str, **more: object) -> int:
        """Make a label; its id."""
        fields = {"name": name, "color": "#ff0000", **more}
        return int(self.owner("POST", f"/repos/{self.name}/labels", fields)["id"])

    def issue(self, call: Call, title: str = "t", body: str = "b", **more: object) -> int:
        """Open an issue; its number."""
        fields = {"title": title, "body": body, **more}
        return int(call("POST", f"/repos/{self.name}/issues", fields)["number"])

    def edit(self, call: Call, number: int, **fields: object) -> None:
        call("PATCH", f"/repos/{self.name}/issues/{number}", fields)

    def set(self, call: Call, number: int, label: int) -> None:
        call("POST", f"/repos/{self.name}/issues/{number}/labels", {"labels": [label]})

    def unset(self, call: Call, number: int, label: int) -> None:
        call("DELETE", f"/repos/{self.name}/issues/{number}/labels/{label}", None)

    def updated(self) -> float:
        """When the issues were last changed, by the forge's clock."""
        listed = self.owner("GET", f"/repos/{self.name}/issues?state=all", None)
        return max(datetime.fromisoformat(issue["updated_at"]).timestamp() for issue in listed)


class IssuesContract:
    """Subclass in a module whose name begins with ``test_``."""

    @pytest.fixture
    def place(self) -> IssuePlace:
        raise NotImplementedError

    def numbers(self, place: IssuePlace, **filters: Any) -> list[int]:
        return [issue.number for issue in place.reads.page(1, **filters).issues]

    def test_lists_begin_with_the_newest_and_have_pages(self, place: IssuePlace) -> None:
        for _ in range(3):
            place.issue(place.stranger)
        place.edit(place.stranger, 2, state="closed")
        page = place.reads.page(1, state="open")
        assert [issue.number for issue in page.issues] == [3, 1]
        assert page.total == 2
        assert self.numbers(place, state="all") == [3, 2, 1]
        beyond = place.reads.page(7, state="all")
        assert (beyond.issues, beyond.last) == ((), True)

    def test_since_finds_every_change_that_rules_look_at(self, place: IssuePlace) -> None:
        label, first = place.label("bug"), place.issue(place.stranger)
        place.issue(place.stranger)
        changes: list[Callable[[], object]] = [
            lambda: place.edit(place.stranger, first, title="other"),
            lambda: place.edit(place.stranger, first, body="other"),
            lambda: place.set(place.writer, first, label),
            lambda: place.unset(place.writer, first, label),
            lambda: place.edit(place.stranger, first, state="closed"),
            lambda: place.edit(place.stranger, first, state="open"),
        ]
        for change in changes:
            place.later()
            before = place.updated() + 1
            change()
            assert self.numbers(place, state="all", since=before) == [first]

    def test_an_unknown_label_is_no_filter(self, place: IssuePlace) -> None:
        place.issue(place.stranger)
        listed = place.owner("GET", f"/repos/{place.name}/issues?labels=nonsense", None)
        assert [issue["number"] for issue in listed] == [1]

    def test_who_set_a_label(self, place: IssuePlace) -> None:
        label, number = place.label("bug"), place.issue(place.stranger)
        place.set(place.writer, number, label)
        place.unset(place.owner, number, label)
        place.set(place.owner, number, label)
        events = [e for e in place.reads.events(number) if e.type == "label"]
        owner, writer, _ = place.logins
        assert [
            (e.user.login if e.user else "", e.body, e.label.name if e.label else "")
            for e in events
        ] == [(writer, "1", "bug"), (owner, "", "bug"), (owner, "1", "bug")]

    def test_a_stranger_sets_no_label(self, place: IssuePlace) -> None:
        label = place.label("bug")
        number = place.issue(place.stranger, labels=[label])
        issue = place.reads.issue(number)
        assert issue is not None
        assert issue.labels == []

    def test_an_exclusive_label_replaces_the_one_of_its_scope(self, place: IssuePlace) -> None:
        first, second = (place.label(name, exclusive=True) for name in ("s/a", "s/b"))
        other, number = place.label("s/c"), place.issue(place.stranger)
        assert {name: label.scope for name, label in place.board.labels().items()} == {
            "s/a": "s",
            "s/b": "s",
            "s/c": "",
        }
        for label in (other, first, second):
            place.board.add_label(number, label)
        issue = place.board.issue(number)
        assert issue is not None
        assert set(issue.label_ids) == {"s/b", "s/c"}

    def test_comments_that_one_answer_cannot_hold(
        self, place: IssuePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The time line has them, with their own ids, and in pages."""
        monkeypatch.setattr(exchange, "MAX_ANSWER_BYTES", 30_000)
        number = place.issue(place.stranger)
        path = f"/repos/{place.name}/issues/{number}/comments"
        for size in (12_000, 40_000, 12_000):
            place.stranger("POST", path, {"body": "x" * size})
        ours = place.board.add_comment(number, "one")
        comments = list(place.board.comments(number))
        assert [len(comment.body) for comment in comments] == [12_000, 12_000, 3]
        last = comments[-1]
        assert last.user is not None
        assert (last.id, last.user.id) == (ours.id, place.board.me().id)
        assert place.board.edit_comment(last.id, "two").body == "two"

    def test_who_mentions_an_issue(self, place: IssuePlace) -> None:
        first = place.issue(place.stranger)
        place.later()
        before = place.updated() + 1
        second = place.issue(place.stranger, body=f"Decomposed from #{first}")
        fields = {"title": "t", "body": f"Decomposed from {place.name}#{first}"}
        place.owner("POST", f"/repos/{place.other}/issues", fields)
        found = [e.ref_issue for e in place.reads.events(first) if e.type == "issue_ref"]
        assert [
            (i.number, i.repository.full_name if i.repository else "", i.state, i.body)
            for i in found
            if i
        ] == [
            (second, place.name, "open", f"Decomposed from #{first}"),
            (1, place.other, "open", f"Decomposed from {place.name}#{first}"),
        ]
        assert self.numbers(place, state="all", since=before) == [second, first]

    def test_rights(self, place: IssuePlace) -> None:
        rights = [place.reads.permission(login) for login in place.logins]
        assert rights == ["owner", "write", "read"]
        assert place.reads.permission("nobody-at-all") == "none"
        with pytest.raises(Denied):
            place.stranger_reads.permission(place.logins[0])

    def test_an_issue_that_is_not_there(self, place: IssuePlace) -> None:
        assert place.reads.issue(4711) is None

    def test_a_comment_is_an_update_and_changes_nothing_else(self, place: IssuePlace) -> None:
        number = place.issue(place.stranger)
        before = place.reads.issue(number)
        path = f"/repos/{place.name}/issues/{number}/comments"
        made = place.owner("POST", path, {"body": "one"})
        edit = f"/repos/{place.name}/issues/comments/{made['id']}"
        place.owner("PATCH", edit, {"body": "two"})
        after = place.reads.issue(number)
        assert before is not None
        assert after is not None
        assert (after.title, after.body, after.labels) == (before.title, before.body, before.labels)
        (comment,) = place.owner("GET", path, None)
        assert comment["body"] == "two"
