"""What a forge keeps to as a board of statuses and comments. Give the fixture ``place``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.forge import ForgeRefused


@dataclass(frozen=True, kw_only=True)
class Place:
    """A board, and what is reported on there.

    Attributes:
        board: the calls of a ``ForgeApi`` that reports need.
        commit: that has no status yet.
        request: number of a pull request that has no comment yet.
    """

    board: Any
    commit: str
    request: int


class BoardContract:
    """Subclass in a module whose name begins with ``test_``."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    def test_statuses_come_back(self, place: Place) -> None:
        assert list(place.board.statuses(place.commit)) == []
        for context, state in (("a", "success"), ("b", "failure")):
            place.board.set_status(
                place.commit,
                context=context,
                state=state,
                description=f"{context} is {state}",
                target_url="https://example.test/x",
            )
        statuses = place.board.statuses(place.commit)
        latest = {s.context: s for s in reversed(statuses)}
        assert {c: s.status for c, s in latest.items()} == {"a": "success", "b": "failure"}
        assert latest["a"].description == "a is success"
        assert latest["a"].target_url == "https://example.test/x"

    def test_comments_are_ours_and_can_be_edited(self, place: Place) -> None:
        assert list(place.board.comments(place.request)) == []
        first = place.board.add_comment(place.request, "one")
        second = place.board.add_comment(place.request, "two")
        assert first.id != second.id
        place.board.edit_comment(first.id, "three")
        comments = list(place.board.comments(place.request))
        assert [(c.id, c.body) for c in comments] == [(first.id, "three"), (second.id, "two")]
        assert {c.user.name for c in comments if c.user} == {place.board.me().name}

    def test_a_comment_that_is_not_there(self, place: Place) -> None:
        with pytest.raises(ForgeRefused) as caught:
            place.board.edit_comment(10**9, "nothing")
        assert caught.value.status == 404
