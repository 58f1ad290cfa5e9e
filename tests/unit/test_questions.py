"""The socket on which commands ask a ``serve``: who may, what it survives, and who holds it."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dispatcher.settings_origin import Origin
from dispatcher.status import asking, questions
from dispatcher.status.asking import LOGS, NAME, PLAN, STATUS
from dispatcher.status.questions import AnswerSocket

ORIGIN = Origin(digest="d", variables=("DISINTO_X",), others=(), customary=("VAULT_ADDR",))


Reply = Mapping[str, Any]


def ask(state_dir: Path, question: str, **about: str) -> Reply | None:
    return asking.ask(str(state_dir), question, about)


def opened(state_dir: Path, **more: Any) -> AnswerSocket:
    """A socket of a process that leads, whose answer repeats the question."""
    answers = {STATUS: lambda about: {"about": about}, PLAN: lambda _about: None}
    made = AnswerSocket(state_dir, **{"origin": ORIGIN, "answers": answers, **more})
    made.status(None)  # type: ignore[arg-type]
    return made


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """One whose path is longer than the address of a socket may be."""
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    return directory


def test_an_answer_comes_with_the_origin_of_the_settings(state_dir: Path) -> None:
    with opened(state_dir):
        assert stat.S_IMODE((state_dir / NAME).stat().st_mode) == 0o600
        reply = ask(state_dir, STATUS, id="a-ü")
        assert reply is not None
        assert Origin.from_json(reply["origin"]) == ORIGIN
        assert reply["answer"] == {"about": {"id": "a-ü"}}
        assert ask(state_dir, PLAN) is None  # it cannot tell
        assert ask(state_dir, LOGS) is None  # it knows no such question
    assert os.listdir(state_dir) == []  # noqa: PTH208 - hidden ones too


@pytest.mark.parametrize("there", ["nothing", "no directory", "a file", "a dead socket"])
def test_where_nobody_answers_there_is_no_answer(state_dir: Path, there: str) -> None:
    match there:
        case "no directory":
            state_dir = state_dir / "none"
        case "a file":
            (state_dir / NAME).write_text("{}")
        case "a dead socket":
            with opened(state_dir):
                (state_dir / NAME).rename(state_dir / "kept")
            (state_dir / "kept").rename(state_dir / NAME)
    assert ask(state_dir, STATUS) is None


def test_a_socket_left_behind_is_replaced(state_dir: Path) -> None:
    (state_dir / NAME).write_text("left")
    (state_dir / f".{NAME}.{os.getpid()}").write_text("left")
    with opened(state_dir):
        assert ask(state_dir, STATUS) is not None


def test_whoever_leads_holds_the_socket(state_dir: Path) -> None:
    first = opened(state_dir)
    second = AnswerSocket(
        state_dir, origin=ORIGIN, answers={STATUS: lambda _about: {"by": "second"}}
    )
    with second:
        reply = ask(state_dir, STATUS)
        assert reply is not None
        assert "about" in reply["answer"]  # the second waits for the lead
        second.status(None)  # type: ignore[arg-type]
        first.__exit__()
        reply = ask(state_dir, STATUS)
        assert reply is not None
        assert reply["answer"] == {"by": "second"}


def test_settings_of_unknown_origin_are_not_answered_for(state_dir: Path) -> None:
    with opened(state_dir, origin=None):
        assert not (state_dir / NAME).exists()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}\n",
        b"[1]\n",
        b"\xff\n",
        b'["status"',
        b'["status", ""]\n',
        b"[" * 10_000,
        b"x" * 100_000,
    ],
)
def test_nonsense_is_not_answered_and_ends_nothing(state_dir: Path, said: bytes) -> None:
    defects: list[Exception] = []
    with opened(state_dir, defect=defects.append):
        with connected(state_dir) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            assert received(client) == b""
        assert ask(state_dir, STATUS) is not None
    assert not defects


def connected(state_dir: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(10)
    descriptor = os.open(state_dir, os.O_RDONLY)
    client.connect(f"/proc/self/fd/{descriptor}/{NAME}")
    os.close(descriptor)
    return client


def received(client: socket.socket) -> bytes:
    try:
        return client.recv(1)
    except ConnectionError:
        return b""


def test_a_defect_is_reported_and_answers_nothing(state_dir: Path) -> None:
    began, go_on, defects = threading.Event(), threading.Event(), list[Exception]()

    def broken(_about: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ZeroDivisionError

    def report(defect: Exception) -> None:
        began.set()
        assert go_on.wait(20)
        defects.append(defect)

    with (
        opened(state_dir, answers={PLAN: broken}, defect=report),
        connected(state_dir) as client,
    ):
        client.sendall(b'["plan", {}]\n')
        assert began.wait(20)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)  # nobody is answered before it is reported
        go_on.set()
        client.settimeout(10)
        assert received(client) == b""
        assert [type(defect) for defect in defects] == [ZeroDivisionError]


def test_more_than_a_few_at_a_time_are_not_answered(state_dir: Path) -> None:
    began, go_on = threading.Semaphore(0), threading.Event()

    def slow(_about: Mapping[str, Any]) -> Mapping[str, Any]:
        began.release()
        assert go_on.wait(20)
        return {}

    replies: list[Reply | None] = []
    with opened(state_dir, answers={PLAN: slow}):
        threads = [
            threading.Thread(target=lambda: replies.append(ask(state_dir, PLAN)))
            for _ in range(questions.AT_A_TIME)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert began.acquire(timeout=20)
        assert ask(state_dir, PLAN) is None
        go_on.set()
        for thread in threads:
            thread.join()
    assert len(replies) == questions.AT_A_TIME
    assert all(replies)


@pytest.mark.parametrize("side", ["serve", "command"])
def test_another_user_is_neither_answered_nor_believed(
    state_dir: Path, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, us = asking.peer, threading.current_thread()

    def peer(connection: socket.socket) -> int:
        here = threading.current_thread() is us
        return 12_345 if here == (side == "command") else real(connection)

    with opened(state_dir):
        assert ask(state_dir, STATUS) is not None
        monkeypatch.setattr(asking, "peer", peer)
        monkeypatch.setattr(questions, "peer", peer)
        assert ask(state_dir, STATUS) is None
