"""The status file ``<state_dir>/status.json``: the last overview of ``serve``, for other commands.

Its own thread writes it atomically, by a rename, at most a few times a second. Readers trust it while
its writer is alive and runs rounds; nothing is ever decided by it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.settings_origin import Origin
from dispatcher.status.action_record import ActionRecord
from dispatcher.status.overview import Overview

if TYPE_CHECKING:
    from dispatcher.status.tracker import Status

NAME = "status.json"
VERSION = 1
PREFIX = ".status-"
"""Prefix of the temporary file beside it."""

PAUSE_S = 0.25
"""Shortest time between two writes, seconds."""

PAUSES = 20
"""Pause between two writes, as a multiple of the last one's duration, which grows with what is open."""

FRESH_S = 60.0
"""Age at which the last round of ``serve`` is no longer fresh; rounds are at least twice as frequent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The settings of a ``serve``, as far as a command with the same settings needs them.

    Attributes:
        origin: of the settings.
        role: of the installation.
        proposals: whether open pull requests are listed with actions.
        rules: files of the rules by their setting; see ``rule_files.watched``.
        kept_logs: directory of ended runs' full logs; None if the engine has none.
        kept: the same for people.
    """

    origin: Origin
    role: str
    proposals: bool
    rules: Mapping[str, Path]
    kept_logs: Path | None = None
    kept: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "origin": self.origin.to_json(),
            "role": self.role,
            "proposals": self.proposals,
            "rules": {setting: str(path) for setting, path in self.rules.items()},
            "kept_logs": str(self.kept_logs) if self.kept_logs else None,
            "kept": self.kept,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Given:
        """The reverse of ``to_json``.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: the data is something else.
        """
        return cls(
            origin=Origin.from_json(data["origin"]),
            role=str(data["role"]),
            proposals=bool(data["proposals"]),
            rules={str(setting): Path(path) for setting, path in data["rules"].items()},
            kept_logs=Path(data["kept_logs"]) if data["kept_logs"] else None,
            kept=str(data["kept"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The content of a status file.

    Attributes:
        overview: of the last round.
        fresh: whether the ``serve`` that wrote it still runs rounds.
        given: the settings of that ``serve``; None if the file lacks them.
        results: the last results, the newest first; None if the file lacks them.
    """

    overview: Overview
    fresh: bool
    given: Given | None = None
    results: tuple[ActionRecord, ...] | None = None


def read(state_dir: Path, *, now: float | None = None) -> Seen | None:
    """The status file, or None if there is no valid one."""
    try:
        data = json.loads((state_dir / NAME).read_bytes())
        if data["version"] != VERSION:
            return None
        overview = Overview.from_json(data["overview"])
        alive = not data["ended"] and _alive(str(data["host"]), int(data["pid"]))
        given = Given.from_json(data["given"]) if data.get("given") else None
        listed = data.get("results")
        results = None if listed is None else tuple(map(ActionRecord.from_json, listed))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    age = (time.time() if now is None else now) - overview.at
    fresh = alive and age < FRESH_S
    return Seen(overview=overview, fresh=fresh, given=given, results=results)


class StatusFile:
    """A ``Tracker`` that writes the overview of the last round. Use as a context manager.

    A disk that is full or read-only must not stop a dispatcher: failed writes are skipped.

    Args:
        state_dir: the directory of the file.
        overview: returns the newest overview; called on the file's own thread.
        defect: called with an unexpected error, on that thread; the next round is written
            nevertheless.
        given: written with each round.
        results: returns the last results of an overview; called on that thread.
    """

    def __init__(
        self,
        state_dir: Path,
        overview: Callable[[], Overview],
        *,
        defect: Callable[[Exception], None] = lambda _error: None,
        given: Given | None = None,
        results: Callable[[Overview], tuple[ActionRecord, ...] | None] = lambda _overview: None,
    ) -> None:
        self._path = state_dir / NAME
        self._overview = overview
        self._defect = defect
        self._given = given
        self._results = results
        self._led = self._tidied = False
        self._written: Seen | None = None
        self._news = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="status-file", daemon=True)

    def status(self, status: Status) -> None:  # noqa: ARG002 - fetched when it is written
        """Have the round written soon. Never blocks."""
        self._led = True
        self._news.set()

    def event(self, name: str, /, **facts: object) -> None:
        """Ignore events."""

    def __enter__(self) -> StatusFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._news.set()
        self._thread.join()

    def written(self) -> Seen | None:
        """What the file contains, as ``read`` finds it while this process runs rounds; None before it
        was written. From any thread.
        """
        return self._written

    def _work(self) -> None:
        while not self._ended.is_set():
            self._news.wait()
            self._news.clear()
            began = time.monotonic()
            self._write_now(ended=self._ended.is_set())
            self._ended.wait(max(PAUSE_S, PAUSES * (time.monotonic() - began)))
        self._write_now(ended=True)

    def _write_now(self, *, ended: bool) -> None:
        if not self._led:
            return
        try:
            self._write(ended=ended)
        except Exception as error:  # noqa: BLE001 - this thread must live
            self._defect(error)

    def _write(self, *, ended: bool) -> None:
        self._tidy()
        overview = self._overview()
        results = self._results(overview)
        self._written = Seen(overview=overview, fresh=True, given=self._given, results=results)
        content = {
            "version": VERSION,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "ended": ended,
            "overview": overview.to_json(),
            "given": self._given.to_json() if self._given else None,
            "results": None if results is None else [each.to_json() for each in results],
        }
        with contextlib.suppress(OSError):
            import tempfile  # readers write nothing

            descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=self._path.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(json.dumps(content))  # json.dump is many times slower
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _tidy(self) -> None:
        """Remove the temporary files of a writer that was killed; once, as the leader."""
        if not self._tidied:
            self._tidied = True
            for leftover in self._path.parent.glob(f"{PREFIX}*"):
                with contextlib.suppress(OSError):
                    leftover.unlink()


def _alive(host: str, pid: int) -> bool:
    """Whether a process is alive; one on another machine always counts as alive."""
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
