"""Following an action on a terminal or into a pipe, for ``dispatch`` and ``watch``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from dispatcher.cli import console

if TYPE_CHECKING:
    from dispatcher.cli.live import Line
    from dispatcher.cli.session import Session
    from dispatcher.engines.base import LogChunk
    from dispatcher.model.progress import Progress
    from dispatcher.operate.follow import Followed
    from dispatcher.operate.submission_client import SubmissionClient

T = TypeVar("T")

REPEAT_S = 60.0
"""Seconds before the same line may be printed again, if lines are not redrawn."""


def follow(
    session: Session,
    client: SubmissionClient,
    action_id: str,
    *,
    wait_merge: bool,
    as_json: bool,
    known: Mapping[str, object] | None = None,
) -> int:
    """Follow an action to its end, with its output; its exit code.

    Args:
        known: for the JSON, facts besides its result.
    """
    session.on_interrupt = (
        f"{action_id} keeps running: 'disinto watch {action_id}' follows it again, "
        f"'disinto cancel {action_id}' stops it"
    )
    with Viewer(action_id, quiet=as_json) as viewer:
        followed = client.follower(viewer, wait_merge=wait_merge).follow(action_id)
    if as_json:
        from dispatcher.status.action_record import of_result

        record = of_result(followed.result).to_json()
        console.emit({**record, **(known or {}), "followed": True})
    else:
        _show_end(followed)
    return followed.exit_code


def open_client(session: Session) -> SubmissionClient:
    """The components reachable from here, with the name that the person's git has."""
    from dispatcher import assembly
    from dispatcher.ops_repo.person import identity

    return assembly.open_client(session.settings, os.environ, author=identity())


def _show_end(followed: Followed) -> None:
    from dispatcher.model.times import took

    result = followed.result
    if not followed.streamed and result.logs:
        click.echo(console.clean(result.logs), nl=not result.logs.endswith("\n"))
    after = "" if result.duration_s is None else f" after {took(result.duration_s)}"
    verdict = console.styled(result.verdict.value, console.STYLES.get(result.verdict.value, ""))
    console.note(f"{result.id}: {verdict}{after}, exit code {followed.exit_code}")
    if result.error:
        console.note(f"  {result.error}")


class Viewer:
    """Shows the state of a followed action: one line redrawn on a terminal, else lines.

    Standard output is for the run's own; everything else goes to standard error. Without
    redrawing, a state that alternates is not printed each time.
    """

    def __init__(
        self, action_id: str, *, quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._action_id = action_id
        self._quiet = quiet
        self._clock = clock
        self._line: Line | None = None
        self._printed: dict[str, float] = {}

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.clear()

    def standing(self, text: str, progress: Progress | None = None) -> None:
        """Show its state. Without redrawing, of progress the stage only: percents would be many
        lines.
        """
        from dispatcher.cli.live import Line, bar

        if not console.interactive(sys.stderr):
            now = self._clock()
            if progress is not None and progress.stage:
                text = f"{text}: {console.clean(progress.stage)}"
            if now - self._printed.get(text, -REPEAT_S) >= REPEAT_S:
                self._printed[text] = now
                console.note(f"{self._action_id}: {text}")
            return
        self._line = self._line or Line()
        shown = bar(progress) if progress is not None else ""
        self._line.show(" ".join(part for part in (f"{self._action_id}: {text}", shown) if part))

    def output(self, chunk: LogChunk) -> None:
        """A piece of the run's output."""
        from dispatcher.cli.logs import write

        if self._quiet:
            return
        if self._line is not None:
            self._line.clear()
        write(chunk)
