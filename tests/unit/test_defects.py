"""Errors that nobody expected: loud once, counted each time, and no reason to stop looking."""

from __future__ import annotations

import io
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.journal import Journal
from dispatcher.decide.steps import Plan
from dispatcher.status import status_file
from dispatcher.status.metrics import Metrics
from dispatcher.status.overview import Overview
from dispatcher.status.snapshot import Counted, Trackers
from dispatcher.status.tracker import Silent, Status


def status() -> Status:
    return Status(
        leader="me:1", head="c", plan=Plan(steps=(), waits=()), claims={}, outages={},
        round_at=1.0, round_s=0.1,
    )  # fmt: skip


def raised(error: Exception) -> Exception:
    """The error as somebody catches it, with where it came from."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_a_defect_is_logged_with_its_traceback_once_and_counted_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    metrics = Metrics()
    watches = Trackers(Counted(metrics), Journal(level="info"))
    for _ in range(2):
        watches.event("defect", where="step launch", action="x", error=raised(KeyError("name")))
    watches.event("defect", where="step retire", action="x", error=raised(KeyError("\x1b[2J")))
    first, again, other = (json.loads(line) for line in log.getvalue().splitlines())
    assert (first["level"], first["error"]) == ("error", "KeyError: 'name'")
    assert "in raised" in first["traceback"]
    assert "traceback" not in again
    assert "in raised" in other["traceback"], "another place is another defect"
    assert b"disinto_defects_total 3.0" in metrics.text()


def test_a_traceback_of_endless_recursion_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def deeper(level: int) -> int:
        return deeper(level + 1) + 1

    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with pytest.raises(RecursionError) as caught:
        deeper(0)
    Journal(level="info").event("defect", where="vet", error=caught.value)
    assert len(log.getvalue()) < 20_000


class Broken(Silent):
    """Fails at all it is told."""

    def status(self, status: Status) -> None:
        raise OSError(28, "No space left on device")

    def event(self, what: str, /, **facts: object) -> None:
        raise RuntimeError("cannot")


class Follower(Silent):
    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def event(self, what: str, /, **facts: Any) -> None:
        self.heard.append((what, facts))


def test_a_watch_that_fails_is_told_to_the_others() -> None:
    follower = Follower()
    watches = Trackers(Broken(), follower, Broken())
    watches.status(status())
    watches.event("back")
    assert [name for name, _ in follower.heard].count("back") == 1
    places = {facts["where"] for name, facts in follower.heard if name == "defect"}
    assert places == {"watch Broken"}


def test_a_status_file_goes_on_after_an_overview_that_cannot_be_made(tmp_path: Path) -> None:
    told: list[Exception] = []
    heard = threading.Event()
    answers: list[Overview | Exception] = [RuntimeError("no overview")]

    def overview() -> Overview:
        answer = answers.pop() if answers else Overview(at=7.0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def defect(error: Exception) -> None:
        told.append(error)
        heard.set()

    with status_file.StatusFile(tmp_path, overview, defect=defect) as file:
        file.status(status())
        assert heard.wait(20)
        file.status(status())
    assert [str(error) for error in told] == ["no overview"]
    seen = status_file.read(tmp_path)
    assert seen is not None
    assert seen.overview.at == 7.0


@pytest.mark.parametrize(
    "overview", [Overview(at=1.0, head="\udcff"), Overview(at=1.0, open=(object(),))]
)  # type: ignore[arg-type]
def test_nothing_is_left_beside_the_status_file(tmp_path: Path, overview: Overview) -> None:
    """Neither by a writer that was killed in the middle, nor by one that failed."""
    (tmp_path / ".status-k1ll3d").write_text("{")
    with status_file.StatusFile(tmp_path, lambda: overview) as file:
        file.status(status())
    assert list(tmp_path.glob(".status-*")) == []


def test_one_that_does_not_lead_removes_nothing(tmp_path: Path) -> None:
    """What is there may be in the hands of the one that leads."""
    other = tmp_path / ".status-0th3r"
    other.write_text("{")
    with status_file.StatusFile(tmp_path, lambda: Overview(at=1.0)):
        pass
    assert other.exists()
