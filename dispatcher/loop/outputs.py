"""The whole output of runs, on its way from the engine to the remote.

When a run has ended, its output is read once (short output is in the outcome), compressed, and written
to a file in the state directory, whose digest goes into the result. The writer of results pushes the file with the result
(``ops_repo.output_refs``), or before it, never after. If the remote does not take it, or the file is
gone (another dispatcher took over), the result is made again, and says so.

The runner redacts what it writes, and reports its digest with the outcome, which it authenticates. A
formula that writes into the engine's log itself, past the redaction, makes the two differ: only what
the runner wrote is kept, and nothing if the log does not begin with all of it.

Nothing here may delay or stop a result: reading has a time limit, and after a failure output is not
kept for a while.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.engines.base import Scheduler, Stream
from dispatcher.errors import DisintoError
from dispatcher.host.private import make_private
from dispatcher.loop.output_writing import UNFINISHED, Expected, Unfit, Writing, file_name
from dispatcher.loop.steady_clock import STEADY_S
from dispatcher.model.result import KeptStream, ResultOutput
from dispatcher.ops_repo import OutputFile

if TYPE_CHECKING:
    from dispatcher.loop.steady_clock import ClockRecord
    from dispatcher.model.run import Claim, Outcome
    from dispatcher.settings import Settings

DIRECTORY = "outputs"
"""Below the state directory."""

READ_S = 15.0
"""Seconds that reading the output of one run may take."""

LATE_S = 5.0
"""Seconds without a new byte after which the rest of a log is not expected any more. On Nomad a
process of its own collects the log, and may be behind when the task has ended."""

LOOKS_S = (0.1, 1.0)
"""First and longest pause between two reads of a log that is behind."""

SLOW_READS = 3
"""Reads in a row that took too long, after which the engine counts as too slow: a formula may have
put something in the place of its log that cannot be read. So many logs in a row that stayed short,
and the next one is not waited for."""

READERS = 16
"""Maximum outputs that are read at a time."""

SPOOL_BYTES = 1024 * 1024 * 1024
"""Maximum bytes of files that wait for a push."""

LEFTOVER_S = 7 * 86_400.0
"""Age in seconds at which a file that nobody pushed is removed at the start, by a steady clock."""

PAUSES_S = (60.0, 3_600.0)
"""First and longest pause after the remote refused output, or the engine was too slow."""


class KeptOutputs:
    """Keeps output as the settings say.

    Args:
        settings: ``[output]``, and the state directory.
        scheduler: the engine that has the output.
        record: of the clock: leftovers are removed only by one that is steady.
        read_s: see ``READ_S``.
        late_s: see ``LATE_S``.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        *,
        record: ClockRecord,
        read_s: float = READ_S,
        late_s: float = LATE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = settings.output.max_kb * 1024
        self._directory = settings.state_dir / DIRECTORY
        self._scheduler, self._record, self._clock = scheduler, record, clock
        self._read_s, self._late_s = read_s, late_s
        self._slots = threading.BoundedSemaphore(READERS)
        self._lock = threading.Lock()
        self._pause_s, self._again_at, self._trouble = 0.0, 0.0, ""
        self._tidied, self._slow, self._short = False, 0, 0

    @property
    def trouble(self) -> str:
        """See ``output_keeping.Outputs``."""
        return self._trouble

    def collect(self, claim: Claim, outcome: Outcome) -> ResultOutput | None:
        """See ``output_keeping.Outputs``."""
        expected = _reported(outcome)
        if not expected and outcome.logs:
            return ResultOutput(missing="the runner did not report what it wrote")
        return self._collect(claim, expected, _short(outcome, expected)) if expected else None

    def collect_again(self, claim: Claim, output: ResultOutput) -> ResultOutput | None:
        """See ``output_keeping.Outputs``."""
        kept = dict(output.streams())
        if not kept:
            return output
        expected = {Stream(name): Expected(size=each.bytes) for name, each in kept.items()}
        again = self._collect(claim, expected, {})
        if again is not None and not again.missing and dict(again.streams()) != kept:
            return ResultOutput(missing="the engine has other output than before")
        return again

    def _collect(
        self, claim: Claim, expected: Mapping[Stream, Expected], short: Mapping[Stream, bytes]
    ) -> ResultOutput | None:
        if self._resting():
            return ResultOutput(missing=self._trouble)
        if not self._slots.acquire(blocking=False):
            return ResultOutput(missing="the engine is still sending the output of other runs")
        reading = _Reading(expected=expected, short=short)
        thread = threading.Thread(
            target=self._read, args=(claim, reading), name="output-reader", daemon=True
        )
        thread.start()
        if not reading.done.wait(self._read_s):
            reading.given_up.set()
            why = f"the engine did not send it within {self._read_s:g} s"
            self._slow += 1
            if self._slow >= SLOW_READS:
                self._rest(why)
            return ResultOutput(missing=why)
        self._slow = 0
        return ResultOutput(missing=reading.why) if reading.why else reading.output

    def missing(self, action_id: str, output: ResultOutput) -> str:
        """See ``output_keeping.Outputs``."""
        if self._resting():
            return self._trouble
        intact = all(_digest(path) == kept.sha256 for path, kept in self._files(action_id, output))
        return "" if intact else "the file that waited for the push is gone"

    def files(self, action_id: str, output: ResultOutput) -> tuple[OutputFile, ...]:
        """See ``output_keeping.Outputs``."""
        return tuple(
            OutputFile(month=output.month, name=f"{action_id}.{name}.gz", path=path)
            for (name, _), (path, _) in zip(
                output.streams(), self._files(action_id, output), strict=True
            )
        )

    def refused(self, why: str) -> None:
        """See ``output_keeping.Outputs``."""
        self._rest(f"the remote refused it: {why}")

    def pushed(self) -> None:
        """See ``output_keeping.Outputs``."""
        with self._lock:
            self._pause_s, self._again_at, self._trouble = 0.0, 0.0, ""

    def forget(self, action_id: str) -> None:
        """See ``output_keeping.Outputs``."""
        for file in self._directory.glob(f"{action_id}.*"):
            file.unlink(missing_ok=True)

    def _resting(self) -> bool:
        return self._clock() < self._again_at

    def _rest(self, why: str) -> None:
        first, longest = PAUSES_S
        with self._lock:
            if not self._resting():
                self._pause_s = min(longest, self._pause_s * 2 or first)
                self._again_at = self._clock() + self._pause_s
            self._trouble = why

    def _files(self, action_id: str, output: ResultOutput) -> list[tuple[Path, KeptStream]]:
        """The files of an output; they have its id in their names, because others write the same."""
        return [
            (self._directory / file_name(action_id, kept.sha256), kept)
            for _, kept in output.streams()
        ]

    def _read(self, claim: Claim, reading: _Reading) -> None:
        """On a thread of its own: a server that does not answer must not hold up a result."""
        try:
            self._prepare()
            reading.output = self._output(claim, reading)
        except Unfit as error:
            reading.why = str(error)
        except DisintoError as error:
            reading.why = f"the engine could not be read: {error.what}"
        except OSError as error:
            reading.why = f"it could not be written to {self._directory}: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - a defect here must not stop a result
            reading.why = f"it could not be read: {type(error).__name__}"
        finally:
            self._slots.release()
            reading.done.set()

    def _prepare(self) -> None:
        with self._lock:
            if not self._tidied:
                make_private(self._directory)
                now = time.time()
                steady = self._record.steady_for(now) >= STEADY_S
                _remove_leftovers(self._directory, before=now - LEFTOVER_S if steady else 0.0)
                self._tidied = True
        if sum(map(_size, _listed(self._directory))) > SPOOL_BYTES:
            raise OSError(0, f"more than {SPOOL_BYTES >> 20} MiB wait there for a push")

    def _output(self, claim: Claim, reading: _Reading) -> ResultOutput | None:
        sha1 = len(claim.key.blob) == hashlib.sha1(usedforsecurity=False).digest_size * 2
        writings = {
            stream: Writing(
                self._directory,
                expected,
                action_id=claim.key.action_id,
                limit=self._limit,
                sha1=sha1,
            )
            for stream, expected in reading.expected.items()
        }
        try:
            for stream, data in reading.short.items():
                writings[stream].write(data)
            if not reading.short:
                self._receive(claim, reading, writings)
            if reading.given_up.is_set():
                return None
            for writing in writings.values():
                writing.check()
            kept = {stream.value: writing.kept() for stream, writing in writings.items()}
        finally:
            for writing in writings.values():
                writing.close()
        month = time.strftime("%Y-%m", time.gmtime())
        return ResultOutput(month=month, stdout=kept.get("stdout"), stderr=kept.get("stderr"))

    def _receive(self, claim: Claim, reading: _Reading, writings: Mapping[Stream, Writing]) -> None:
        """Read until all is there that the runner wrote, or nothing more comes, or nobody waits."""
        offsets: dict[Stream, int] = {}
        size, pause_s = 0, LOOKS_S[0]
        until = self._clock() + self._late_s
        while True:
            for chunk in self._scheduler.logs(claim, offsets=offsets):
                if reading.given_up.is_set():
                    return
                offsets[chunk.stream] = chunk.offset
                if chunk.stream in writings:
                    writings[chunk.stream].write(chunk.data)
            if all(writing.complete for writing in writings.values()):
                self._short = 0
                return
            before, size = size, sum(writing.total for writing in writings.values())
            if size > before:
                until = self._clock() + self._late_s
            if self._short >= SLOW_READS or self._clock() >= until:
                self._short += 1
                return
            if reading.given_up.wait(pause_s):
                return
            pause_s = min(pause_s * 2, LOOKS_S[1])


@dataclass
class _Reading:
    """One output that is being read.

    Attributes:
        expected: by stream.
        short: all of it, by stream, if the outcome has it.
        done: set at the end.
        given_up: set when nobody waits for it any more.
        why: why there is none.
    """

    expected: Mapping[Stream, Expected]
    short: Mapping[Stream, bytes]
    done: threading.Event = field(default_factory=threading.Event)
    given_up: threading.Event = field(default_factory=threading.Event)
    output: ResultOutput | None = None
    why: str = ""


def _reported(outcome: Outcome) -> dict[Stream, Expected]:
    """What the runner wrote; empty if it did not report that, or wrote nothing."""
    try:
        reported = {
            Stream(name): Expected(size=int(size), sha256=str(sha256))
            for name, (size, sha256) in outcome.written.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}
    return {stream: expected for stream, expected in reported.items() if expected.size > 0}


def _short(outcome: Outcome, expected: Mapping[Stream, Expected]) -> dict[Stream, bytes]:
    """What the outcome has of these streams; empty unless that is all that the runner wrote."""
    try:
        found = {
            stream: base64.b64decode(outcome.short_output[stream.value], validate=True)
            for stream in expected
        }
    except (ValueError, TypeError, KeyError):
        return {}
    digests = {stream: hashlib.sha256(data).hexdigest() for stream, data in found.items()}
    return found if all(digests[s] == each.sha256 for s, each in expected.items()) else {}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _listed(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from directory.iterdir()


def _size(file: Path) -> int:
    """Bytes of a file; 0 if it is gone: others are finished, or removed after their push, meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _remove_leftovers(directory: Path, *, before: float) -> None:
    """Remove what a crash left unfinished, and what was never pushed.

    Args:
        before: what is older goes, seconds since the epoch.
    """
    for file in _listed(directory):
        with suppress(OSError):
            if file.name.startswith(UNFINISHED) or file.stat().st_mtime < before:
                file.unlink()
