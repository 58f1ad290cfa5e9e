"""When the ops repo is fetched: by the clock, and when a webhook or a person asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from dispatcher.errors import Dependency, Unavailable
from dispatcher.loop.polls import FetchPoll
from dispatcher.ops_repo import Head

ONE, TWO = "1" * 40, "2" * 40


@dataclass
class Fetches:
    """Stands for clone and pollers: a fetch begins at once, and ends when the test says so."""

    ends: list[Callable[[Head], None]] = field(default_factory=list)
    failed: Callable[[Exception], None] = lambda _error: None
    begun: int = 0
    moved: int = 0

    def free(self, dependency: Dependency) -> bool:
        assert dependency is Dependency.REMOTE
        return not self.ends

    def run(
        self,
        _dependency: Dependency,
        ask: object,
        learn: Callable[[Head], None],
        *,
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        assert ask == self.fetch
        self.begun += 1
        self.ends.append(learn)
        self.failed = failed

    def fetch(self) -> Head:
        raise AssertionError("not on the loop's thread")

    def end(self, commit: str) -> None:
        self.ends.pop()(Head(commit=commit, seen=None, rewritten=False))

    def fail(self) -> None:
        self.ends.pop()
        self.failed(Unavailable(Dependency.REMOTE, "no answer"))

    def move(self) -> None:
        self.moved += 1


def begun() -> tuple[FetchPoll, Fetches]:
    """A poll whose first fetch found the branch at ``ONE``, and whose next one is due in an hour."""
    fetches = Fetches()
    poll = FetchPoll(cast(Any, fetches), cast(Any, fetches), every_s=3600, moved=fetches.move)
    poll.work(())
    fetches.end(ONE)
    poll.work(())
    assert (fetches.begun, fetches.moved) == (1, 1)
    return poll, fetches


def test_a_head_that_was_found_already_is_not_fetched_again() -> None:
    poll, fetches = begun()
    poll.hurry(ONE)
    poll.work(())
    assert fetches.begun == 1


def test_another_head_and_an_unknown_one_are_fetched() -> None:
    poll, fetches = begun()
    poll.hurry(TWO)
    poll.work(())
    assert fetches.begun == 2
    fetches.end(TWO)
    poll.hurry(ONE)  # pushed back
    poll.work(())
    assert fetches.begun == 3
    fetches.end(ONE)
    poll.hurry()
    poll.work(())
    assert fetches.begun == 4


def test_what_a_fetch_under_way_finds_is_not_fetched_again() -> None:
    poll, fetches = begun()
    poll.hurry(TWO)
    poll.work(())
    poll.hurry(TWO)
    poll.work(())
    fetches.end(TWO)
    poll.work(())
    assert (fetches.begun, fetches.moved) == (2, 2)


def test_what_a_fetch_under_way_does_not_find_is_fetched_after_it() -> None:
    poll, fetches = begun()
    poll.hurry()
    poll.work(())
    poll.hurry(TWO)
    poll.work(())
    fetches.end(ONE)
    poll.work(())
    assert fetches.begun == 3


def test_of_two_heads_that_are_named_the_one_that_was_found_does_not_hide_the_other() -> None:
    poll, fetches = begun()
    poll.hurry()
    poll.work(())
    poll.hurry(TWO)
    poll.hurry(ONE)
    fetches.end(ONE)
    poll.work(())
    assert fetches.begun == 3


def test_a_person_who_asks_is_not_put_off_by_a_head_that_is_known() -> None:
    poll, fetches = begun()
    poll.hurry()
    poll.hurry(ONE)
    poll.work(())
    assert fetches.begun == 2


def test_a_head_that_is_not_there_is_fetched_once_for_each_call_that_names_it() -> None:
    poll, fetches = begun()
    for count in (2, 3):
        poll.hurry(TWO)
        poll.work(())
        fetches.end(ONE)
        poll.work(())
        assert fetches.begun == count


def test_a_branch_that_is_pushed_back_over_our_own_push_is_fetched() -> None:
    """The last fetch found it there, but the clone has left that head since."""
    poll, fetches = begun()
    poll.left()
    poll.hurry(ONE)
    poll.work(())
    assert fetches.begun == 2
    fetches.end(ONE)
    poll.hurry(ONE)
    poll.work(())
    assert fetches.begun == 2


def test_a_fetch_that_began_before_our_own_push_does_not_tell_where_the_clone_is() -> None:
    poll, fetches = begun()
    poll.hurry()
    poll.work(())
    poll.left()
    fetches.end(ONE)
    poll.hurry(ONE)
    poll.work(())
    assert fetches.begun == 3


def test_after_a_fetch_that_failed_any_head_is_fetched() -> None:
    """It may have moved the clone before it failed."""
    poll, fetches = begun()
    poll.hurry(TWO)
    poll.work(())
    fetches.fail()
    poll.hurry(ONE)
    poll.work(())
    assert fetches.begun == 3
