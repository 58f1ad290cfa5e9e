"""The only writer to git: results, ``<id>.result.json`` beside each action, and the actions that the
dispatcher writes itself.

Group commit: what is handed in while no push is in flight is pushed at once, and what arrives during a
push forms the next commit. Under load pushes keep a distance (``token_bucket``), so that many results
become few commits.

The writer holds no state that could be lost: a result that could not be pushed is reported back to the
loop, is still in the ledger, and is queued again by the loop; an action is wanted again by its source.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from dispatcher.errors import Misconfigured, unexpected
from dispatcher.loop.outgoing import Entry, NewAction, Pushed, Sign, SignAction
from dispatcher.loop.result_commit import commit_message, inventory_files, outputs_of, packed
from dispatcher.loop.token_bucket import TokenBucket
from dispatcher.loop.verifying import Verifier
from dispatcher.ops_repo import NewFile, OpsRepo, OutputsRefused

if TYPE_CHECKING:
    from dispatcher.loop.output_keeping import Outputs

BATCH_LIMIT = 1_000
"""Results in a commit from which on no more are added."""

BATCH_BYTES = 32 * 1024 * 1024
"""Bytes of output after which no further result is added to a batch."""

PUSH_INTERVAL_S = 0.2
"""Shortest pause between two pushes while there is always something to push, in seconds: each costs the
remote and this machine about as much CPU time as a short run does."""

PUSH_INTERVAL_FACTOR = 4
"""The pause as a multiple of how long the last batch took: where that is slow, machine or remote is busy."""

LONGEST_PUSH_INTERVAL_S = 0.5
"""Longest pause that this makes, in seconds."""

PUSHES_AT_ONCE = 2
"""Pushes that may follow each other directly after a rest: of two runs that end together, one may come
while the other is being pushed."""

EXPECTING_S = 10.0
"""Seconds after which a result that was announced is not waited for any more."""

Group = tuple[Entry | NewAction, ...]


def push_pace(clock: Callable[[], float] = time.monotonic) -> TokenBucket:
    """The pace of pushes.

    Args:
        clock: monotonic seconds.
    """
    return TokenBucket(
        interval_s=PUSH_INTERVAL_S,
        factor=PUSH_INTERVAL_FACTOR,
        longest_s=LONGEST_PUSH_INTERVAL_S,
        at_once=PUSHES_AT_ONCE,
        clock=clock,
    )


class _Signal(Enum):
    EXPECT = auto()
    STOP = auto()


class ResultWriter:
    """Writes results and actions to the ops repo, in batches, on its own thread. ``put`` never
    blocks.

    A result whose output cannot be pushed is not pushed either: it is reported with the error
    ``OutputsRefused``, and has to be made again.

    Args:
        repo: the ops repo.
        sign_result: called once for each result of a batch, before the commit.
        sign_action: the same for actions.
        verifier: checks an existing file in the place of a run's result.
        report: called on the writer's thread with each batch's outcome.
        outputs: has the output that results name.
        check: called before each push; raises if nothing may be written any more.
        pace: of the pushes; replaced in tests and measurements.
    """

    def __init__(
        self,
        repo: OpsRepo,
        *,
        sign_result: Sign,
        verifier: Verifier,
        report: Callable[[Pushed], None],
        outputs: Outputs,
        check: Callable[[], None] = lambda: None,
        pace: TokenBucket | None = None,
        sign_action: SignAction | None = None,
    ) -> None:
        self._repo = repo
        self._sign_result, self._sign_action = sign_result, sign_action
        self._verifier = verifier
        self._report = report
        self._outputs = outputs
        self._check = check
        self._pace = pace or push_pace()
        self._queue: queue.SimpleQueue[Group | _Signal] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="result-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def expect(self) -> None:
        """Announce that something will be handed in soon, so that its push can be prepared."""
        self._queue.put(_Signal.EXPECT)

    def put(self, *entries: Entry | NewAction) -> None:
        """Hand in what belongs in one commit."""
        self._queue.put(entries)

    def stop(self) -> None:
        """Write what was put before this call, then stop the thread."""
        self._queue.put(_Signal.STOP)
        self._thread.join()

    def _work(self) -> None:
        open_for_more = True
        while open_for_more:
            first = self._awaited()
            if first is None:
                return
            batch, open_for_more = self._collect(first)
            self._pace.began()
            self._write(batch)
            self._repo.expect_nothing()  # what was prepared may not have been needed
            self._pace.ended()

    def _awaited(self) -> Group | None:
        """What is handed in next; None to stop."""
        expecting = False
        while True:
            try:
                group = self._queue.get(timeout=EXPECTING_S if expecting else None)
            except queue.Empty:
                group = None
            if group is _Signal.EXPECT:
                self._repo.expect_publish()
                expecting = True
                continue
            if isinstance(group, tuple):
                return group
            if expecting:
                self._repo.expect_nothing()
                expecting = False
            if group is _Signal.STOP:
                return None

    def _collect(self, first: Group) -> tuple[list[Entry | NewAction], bool]:
        """What is queued, and what arrives until the next push is due; and whether more can come."""
        batch = list(first)
        size = sum(map(packed, first))
        while len(batch) < BATCH_LIMIT and size < BATCH_BYTES:
            pause_s = self._pace.pause_s()
            try:
                group = self._queue.get(block=pause_s > 0, timeout=pause_s)
            except queue.Empty:
                if pause_s > 0:
                    continue
                break
            if group is _Signal.STOP:
                return batch, False
            if not isinstance(group, tuple):
                continue  # what is announced is part of the next commit, or of this one
            batch += group
            size += sum(map(packed, group))
        return batch, True

    def _write(self, batch: Sequence[Entry | NewAction]) -> None:
        """Sign each entry separately, so that one that cannot be signed holds up no other."""
        signed: list[tuple[Entry | NewAction, list[NewFile]]] = []
        for entry in batch:
            if entry.output and (missing := self._outputs.missing(entry.action_id, entry.output)):
                self._report(Pushed(entries=(entry,), error=OutputsRefused(missing)))
                continue
            try:
                data = self._signed(entry).encode()
            except Exception as error:  # noqa: BLE001 - this thread must live; the loop decides
                self._report(Pushed(entries=(entry,), error=error))
            else:
                signed.append((entry, [self._file(entry, data), *inventory_files(entry)]))
        if signed:
            entries, files = zip(*signed, strict=True)
            self._push_all(entries, files)

    def _signed(self, entry: Entry | NewAction) -> str:
        if isinstance(entry, Entry):
            return self._sign_result(entry)
        if self._sign_action is None:
            raise Misconfigured("actions cannot be signed", remedy="Set [attestation] enabled")
        return self._sign_action(entry.text)

    def _push_all(
        self, batch: tuple[Entry | NewAction, ...], files: Sequence[list[NewFile]]
    ) -> None:
        """Push a batch. If an entry of it cannot be written, it must not hold up the others: the
        batch is split in halves and retried.
        """
        pushed = self._push(batch, files)
        error = pushed.error
        if isinstance(error, OutputsRefused):
            self._outputs.refused(error.what)
            self._push_without_output(batch, files, error)
            return
        its_own = error is not None and (unexpected(error) or isinstance(error, Misconfigured))
        if not its_own or len(batch) == 1:
            self._report(pushed)
            return
        half = len(batch) // 2
        self._push_all(batch[:half], files[:half])
        self._push_all(batch[half:], files[half:])

    def _push_without_output(
        self,
        batch: tuple[Entry | NewAction, ...],
        files: Sequence[list[NewFile]],
        error: OutputsRefused,
    ) -> None:
        """Push those of a batch that name no output; report the others."""
        refused = tuple(entry for entry in batch if entry.output)
        self._report(Pushed(entries=refused, error=error))
        rest = [(e, f) for e, f in zip(batch, files, strict=True) if not e.output]
        if rest:
            self._push_all(tuple(e for e, _ in rest), [f for _, f in rest])

    def _file(self, entry: Entry | NewAction, data: bytes) -> NewFile:
        keeps = None
        if isinstance(entry, Entry) and entry.blob:
            keeps = partial(self._verifier.ours, action_id=entry.action_id, blob=entry.blob)
        return NewFile(path=entry.path, data=data, keeps=keeps)

    def _push(self, batch: tuple[Entry | NewAction, ...], files: Sequence[list[NewFile]]) -> Pushed:
        outputs = outputs_of(batch)
        try:
            published = self._repo.publish(
                [file for each in files for file in each],
                message=commit_message(batch),
                check=self._check,
                outputs=[
                    file
                    for action_id, output in outputs.items()
                    for file in self._outputs.files(action_id, output)
                ],
            )
        except Exception as error:  # noqa: BLE001 - this thread must live; the loop decides
            return Pushed(entries=batch, error=error)
        if outputs:
            self._outputs.pushed()
        return Pushed(entries=batch, published=published)
