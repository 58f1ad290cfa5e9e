"""Follows an action from outside of ``serve``, until its result is on the remote.

Only the result on the remote ends the wait. Until then the action's state is shown (from the status
file, the ledger and the engine, whichever can be reached), and the run's output as it arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.engines.base import LogChunk, Scheduler
from dispatcher.errors import (
    DisintoError,
    NotFound,
    TemporaryError,
)
from dispatcher.ledger.base import Ledger
from dispatcher.model.progress import Progress
from dispatcher.model.result import Result
from dispatcher.model.run import Claim, Phase
from dispatcher.operate.files import read_result
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.settings import Settings
from dispatcher.status import status_file

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0
"""Pauses between two polls of the remote: short at first, because many actions take a second. The
longest bounds how late a merge or a result is noticed by somebody who waits at the terminal.
"""

FORGE_EVERY = 5
"""Polls of the remote per call to the forge: the merge itself is visible in git."""

LOGS_AFTER_RESULT_S = 5.0
"""Seconds that the end of the output may take after the result arrived."""

NOBODY = "nothing will happen until 'disinto serve' runs, here or elsewhere"


_PHASES = {Phase.CLAIMED: "starting", Phase.SUBMITTED: "running"}
"""The state of a run by its claim alone, in the words of ``overview.State``."""


class Viewer(Protocol):
    """Shows a followed action. ``output`` is called on a thread of its own."""

    def standing(self, text: str, progress: Progress | None = None) -> None:
        """Show the action's state, in words, and what its run reports about itself; called when
        either changes.
        """
        ...

    def output(self, chunk: LogChunk) -> None:
        """Show a chunk of the run's output, redacted."""
        ...


@dataclass(kw_only=True)
class Followed:
    """How an action ended.

    Attributes:
        result: as it is on the remote.
        streamed: whether its output was shown.
    """

    result: Result
    streamed: bool

    @property
    def exit_code(self) -> int:
        """The formula's own code; for the other verdicts the documented one. Of a failed run never one
        that a shell reads as success: it sees the last eight bits.
        """
        verdict, own = self.result.verdict, self.result.exit_code
        return own if verdict.own_code and (own % 256 or not own) else verdict.exit_code


@dataclass(kw_only=True)
class Follower:
    """Follows one action.

    Args:
        repo: a clone of the ops repo.
        ledger, scheduler: None if they cannot be reached from here; then there is no live
            output.
        settings: for the status file and the pace.
        viewer: shows state and output.
        unmerged: returns the state of an action that is not on the branch yet; None if such an
            action is an error.
    """

    repo: OpsRepo
    ledger: Ledger | None
    scheduler: Scheduler | None
    settings: Settings
    viewer: Viewer
    tree: Tree = field(default_factory=Tree)
    unmerged: Callable[[str], str] | None = None
    sleep: Callable[[float], None] = time.sleep
    _shown: tuple[str, Progress | None] = ("", None)
    _looks: int = 0
    _stream: threading.Thread | None = None
    _streamed: bool = False

    def follow(self, action_id: str) -> Followed:
        """Wait for the result.

        Raises:
            NotFound: there is no such action, or it was removed before it ran.
            Denied, Misconfigured: the remote cannot be read.
            InvalidInput: the file at its result's path is not a result.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            if not self._look():
                self.sleep(pause_s := min(LONGEST_PAUSE_S, pause_s * 1.5))
                continue
            result = read_result(self.repo, self.tree, action_id)
            if result is not None:
                if self._stream is not None:
                    self._stream.join(LOGS_AFTER_RESULT_S)
                return Followed(result=result, streamed=self._streamed)
            if action_id not in self.tree.open:
                self._await_merge(action_id)
                continue
            claim = self._claim(action_id)
            if claim is not None and self._has_run(claim):
                self._start_stream(claim)
            self._show(self._standing(action_id, claim), self._progress(claim))
            ended = claim is not None and claim.phase is Phase.ENDED
            self.sleep(FIRST_PAUSE_S if ended else pause_s)
            pause_s = min(self._longest_s(), pause_s * 1.2)

    def _look(self) -> bool:
        """Move the tree to the remote's head; False while the remote cannot be reached any more.

        One that could never be asked is an error: nobody knows whether there is such an action.
        """
        try:
            head = self.repo.fetch()
            self.repo.advance(self.tree, head.commit)
        except TemporaryError as error:
            if not self.tree.commit:
                raise
            self._show(f"waiting for the remote: {error.what}")
            return False
        return True

    def _await_merge(self, action_id: str) -> None:
        if self.unmerged is None:
            raise NotFound(
                f"there is no action {action_id} in the ops repo",
                remedy="Send it with 'disinto dispatch FILE'.",
            )
        if self._looks % FORGE_EVERY == 0:
            self._show(self.unmerged(action_id))
        self._looks += 1
        self.sleep(self._longest_s())

    def _longest_s(self) -> float:
        return max(FIRST_PAUSE_S, min(LONGEST_PAUSE_S, self.settings.ops_repo.poll_interval_s))

    def _claim(self, action_id: str) -> Claim | None:
        if self.ledger is None:
            return None
        try:
            return self.ledger.get(action_id)
        except DisintoError:
            return None

    def _standing(self, action_id: str, claim: Claim | None) -> str:
        """The action's state, from the status file or else from its claim."""
        status = status_file.read(self.settings.state_dir)
        action = status.overview.find(action_id) if status is not None and status.fresh else None
        if action is not None:
            return f"{action.state}: {action.reason}" if action.reason else action.state.value
        if claim is not None:
            phase = Phase.SUBMITTED if self._stream is not None else claim.phase
            return _PHASES.get(
                claim.phase if claim.phase is Phase.ENDED else phase, claim.phase.value
            )
        if status is not None and status.fresh:
            return "waiting for the dispatcher's next poll"
        return NOBODY if self.ledger is not None else "waiting for the result"

    def _has_run(self, claim: Claim) -> bool:
        """Whether the engine has the run: a claim does not say so until it has a verdict."""
        if claim.phase is not Phase.CLAIMED or self._stream is not None:
            return True
        try:
            return self.scheduler is not None and claim.key in self.scheduler.observe([claim])
        except DisintoError:
            return False

    def _progress(self, claim: Claim | None) -> Progress | None:
        """What the run last reported about itself."""
        if claim is None or self.scheduler is None or not claim.in_flight:
            return None
        try:
            return self.scheduler.progress([claim]).get(claim.key) or self._shown[1]
        except DisintoError:
            return self._shown[1]

    def _show(self, text: str, progress: Progress | None = None) -> None:
        if (text, progress) != self._shown:
            self._shown = (text, progress)
            self.viewer.standing(text, progress)

    def _start_stream(self, claim: Claim) -> None:
        if self._stream is not None or self.scheduler is None:
            return
        scheduler = self.scheduler

        def stream() -> None:
            try:
                for chunk in scheduler.logs(claim, follow=True):
                    self._streamed = True
                    self.viewer.output(chunk)
            except DisintoError:
                return  # the result contains the end of the output

        self._stream = threading.Thread(target=stream, name="logs", daemon=True)
        self._stream.start()
