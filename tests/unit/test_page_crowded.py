"""Stacks and desktops on the page when many people have some, and when somebody asks for what does not exist."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.errors import Denied, Dependency, DisintoError, Unavailable
from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.provisioned import BeingCreated
from dispatcher.page import resource_runs, stack_events, stack_sending, stacks
from dispatcher.page.index import Index
from dispatcher.page.problems import Problem, of_error
from dispatcher.page.resource_runs import FAILURES_S, MOST_READ, failures
from dispatcher.page.site import Site
from dispatcher.page.stack_events import states
from dispatcher.page.stacks import Board, StackCard
from tests.support.stack_page import ADA

NOW = 1_000_000.0


class Rows:
    """An index with these runs: id, seconds ago, verdict."""

    def __init__(self, *rows: tuple[str, float, Verdict]) -> None:
        self.read = 0
        self._rows = sorted(((NOW - ago, i, verdict) for i, ago, verdict in rows), reverse=True)

    def runs(self, wanted: Any, *, before: Any = None, count: int) -> list[Any]:
        left = [
            SimpleNamespace(id=i, at=at)
            for at, i, verdict in self._rows
            if verdict in (wanted.verdicts or tuple(Verdict))
            and (before is None or (at, i) < before)
        ][:count]
        self.read += len(left)
        return left


def listed(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made = cast("Result", object())
    monkeypatch.setattr(resource_runs, "failure", lambda _reading, _id: made)
    kind = SimpleNamespace(create="stack")
    reading: Any = SimpleNamespace(
        resources=SimpleNamespace(kind=kind), live=SimpleNamespace(index=rows)
    )
    return [i for i, _ in failures(reading, {"known"}, now=NOW)]


def test_those_of_others_hide_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [(f"good-{n}", float(n), Verdict.SUCCEEDED) for n in range(300)]
    bad = [(f"bad-{n}", 10.0 + n, Verdict.FAILED) for n in range(60)]
    old = ("old", FAILURES_S + 1, Verdict.FAILED)
    mine = ("mine", FAILURES_S - 1, Verdict.TIMED_OUT)
    rows = Rows(*others, *bad, ("known", 1.0, Verdict.FAILED), mine, old)
    assert listed(rows, monkeypatch) == [*(i for i, *_ in bad), "mine"]


def test_not_all_of_a_flood_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(*((f"bad-{n:05}", float(n), Verdict.FAILED) for n in range(2 * MOST_READ)))
    assert len(listed(rows, monkeypatch)) == rows.read == MOST_READ


def test_the_verdicts_are_those_that_an_index_has(tmp_path: Path) -> None:
    index = Index(tmp_path, now=lambda: NOW)
    assert index.runs(resource_runs.Filter(verdicts=resource_runs.UNSUCCESSFUL), count=1) == []
    assert set(resource_runs.UNSUCCESSFUL) < {verdict.value for verdict in Verdict}


def test_ids_that_do_not_exist_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "MOST_CARDS", 10)
    monkeypatch.setattr(stacks, "_find", lambda *_: None)
    view = cast("Any", FakeView())
    board = Board(view)
    for number in range(1_000):
        assert board.find(f"none-{number}") is None
    assert len(board._cards) <= 10


class FakeView:
    """Nothing ever changes."""

    def __init__(self) -> None:
        repo = SimpleNamespace(local_head=lambda: None)
        self.live = SimpleNamespace(version="1", repo=repo)

    def reading(self) -> FakeView:
        return self

    def __enter__(self) -> FakeView:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Still:
    """A page on which nothing changes, and time costs nothing."""

    version = "1"

    async def changed(self, _version: str, *, within_s: float) -> bool:
        assert within_s
        await asyncio.sleep(0)
        return False


def streamed(monkeypatch: pytest.MonkeyPatch, last: str, *found: StackCard | Exception) -> bytes:
    answers: Iterator[StackCard | Exception] = iter(found)

    def card(*_: object) -> StackCard:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def read() -> bytes:
        site = cast("Site", SimpleNamespace(live=Still()))
        return b"".join([event async for event in states(site, ADA, "stack-a", last)])

    monkeypatch.setattr(stack_events, "stack_card", card)
    monkeypatch.setattr(stack_events, "PAUSE_S", 0.0)
    return asyncio.run(read())


@pytest.mark.parametrize(
    "error", [Denied(Dependency.VAULT, "no right"), Unavailable(Dependency.VAULT, "sealed")]
)
def test_a_stream_outlasts_what_is_refused_for_a_while(
    monkeypatch: pytest.MonkeyPatch, error: DisintoError
) -> None:
    card = StackCard(id="stack-a", state=stacks.RUNNING)
    text = streamed(monkeypatch, "", error, error, card)
    assert text.count(b"event: status") == text.count(b"event: end") == 1


@pytest.mark.parametrize(
    "last", ["a\ndata: {}\nevent: status\n\nx", "A" * 16, "\u00e9", "x" * 9_999]
)
def test_an_id_that_we_did_not_send_is_repeated_nowhere(
    monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    text = streamed(monkeypatch, last, Problem(status=404))
    assert text == b'event: end\ndata: {"state": ""}\n\n'


@contextmanager
def asked(*ids: str) -> Iterator[Any]:
    yield SimpleNamespace(stacks=SimpleNamespace(ids_of=lambda _name: list(ids)), trouble="")


def test_a_name_that_two_asked_for_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for somebody's name in the same moment does not hide theirs."""
    repo = SimpleNamespace(fetch=lambda: None)
    view = SimpleNamespace(reading=lambda: asked("eves", "adas"))
    site = cast("Site", SimpleNamespace(live=SimpleNamespace(repo=repo), once=lambda _: view))
    monkeypatch.setattr(stack_sending, "_is_of", lambda _reading, i, *_: i == "adas")
    assert stack_sending.id_of(site, ADA, "alice") == "adas"
    monkeypatch.setattr(stack_sending, "_is_of", lambda *_: False)
    with pytest.raises(Problem) as raised:
        stack_sending.id_of(site, ADA, "alice")
    assert raised.value.status == 404


def test_what_is_being_created_cannot_be_destroyed_yet() -> None:
    """Nothing is unavailable: the person asks too early."""
    problem = of_error(BeingCreated("stack a is being created", remedy="Wait."))
    assert (problem.status, "Retry-After" in problem.headers) == (409, True)
