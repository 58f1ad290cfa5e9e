"""The whole output of runs, on its way from the engine to the remote.

When a run has ended, its output is read once, compressed, and written to a file in the state
directory, whose digest goes into the result. The writer of results pushes the file with the result
(``ops_repo.output_refs``), or before it, never after. If the remote does not take it, or the file is
gone (another dispatcher took over), the result is made again, and says so.

The runner redacts what it writes, and reports its digest with the outcome, which it authenticates. A
formula that writes into the engine's log itself, past the redaction, makes the two differ: only what
the runner wrote is kept, and nothing if the log does not begin with all of it.

Nothing here may delay or stop a result: reading has a time limit, and after a failure output is not
kept for a while.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dispatcher.engines.base import Scheduler, Stream
from dispatcher.errors import DisintoError
from dispatcher.host.private import make_private
from dispatcher.model.result import KeptStream, ResultOutput
from dispatcher.ops_repo import OutputFile

if TYPE_CHECKING:
    from dispatcher.model.run import Claim, Outcome
    from dispatcher.settings import Settings

DIRECTORY = "outputs"
"""Below the state directory."""

READ_S = 15.0
"""Seconds that reading the output of one run may take."""

SLOW_READS = 3
"""Reads in a row that took too long, after which the engine counts as too slow: a formula may have
put something in the place of its log that cannot be read."""

READERS = 16
"""Maximum outputs that are read at a time."""

SPOOL_BYTES = 1024 * 1024 * 1024
"""Maximum bytes of files that wait for a push."""

LEFTOVER_S = 7 * 86_400.0
"""Age in seconds at which a file that nobody pushed is removed at the start."""

PAUSES_S = (60.0, 3_600.0)
"""First and longest pause after the remote refused output, or the engine was too slow."""

_PIECE = 64 * 1024
_UNFINISHED = "new-"


class KeptOutputs:
    """Keeps output as the settings say.

    Args:
        settings: ``[output]``, and the state directory.
        scheduler: the engine that has the output.
        read_s: see ``READ_S``.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        *,
        read_s: float = READ_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = settings.output.max_kb * 1024
        self._directory = settings.state_dir / DIRECTORY
        self._scheduler, self._read_s, self._clock = scheduler, read_s, clock
        self._slots = threading.BoundedSemaphore(READERS)
        self._lock = threading.Lock()
        self._pause_s, self._again_at, self._trouble = 0.0, 0.0, ""
        self._tidied, self._slow = False, 0

    @property
    def trouble(self) -> str:
        """See ``output_keeping.Outputs``."""
        return self._trouble

    def collect(self, claim: Claim, outcome: Outcome) -> ResultOutput | None:
        """See ``output_keeping.Outputs``."""
        expected = _reported(outcome)
        if not expected and outcome.logs:
            return ResultOutput(missing="the runner did not report what it wrote")
        return self._collect(claim, expected) if expected else None

    def collect_again(self, claim: Claim, output: ResultOutput) -> ResultOutput | None:
        """See ``output_keeping.Outputs``."""
        kept = dict(output.streams())
        if not kept:
            return output
        expected = {Stream(name): Expected(size=each.bytes) for name, each in kept.items()}
        again = self._collect(claim, expected)
        if again is not None and not again.missing and dict(again.streams()) != kept:
            return ResultOutput(missing="the engine has other output than before")
        return again

    def _collect(self, claim: Claim, expected: Mapping[Stream, Expected]) -> ResultOutput | None:
        if self._resting():
            return ResultOutput(missing=self._trouble)
        if not self._slots.acquire(blocking=False):
            return ResultOutput(missing="the engine is still sending the output of other runs")
        reading = _Reading(expected=expected)
        thread = threading.Thread(
            target=self._read, args=(claim, reading), name="output-reader", daemon=True
        )
        thread.start()
        if not reading.done.wait(self._read_s):
            reading.given_up = True
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
            (self._directory / _name(action_id, kept.sha256), kept) for _, kept in output.streams()
        ]

    def _read(self, claim: Claim, reading: _Reading) -> None:
        """On a thread of its own: a server that does not answer must not hold up a result."""
        try:
            self._prepare()
            reading.output = self._output(claim, reading)
        except _Unfit as error:
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
                _remove_leftovers(self._directory)
                self._tidied = True
        if sum(file.stat().st_size for file in _listed(self._directory)) > SPOOL_BYTES:
            raise OSError(0, f"more than {SPOOL_BYTES >> 20} MiB wait there for a push")

    def _output(self, claim: Claim, reading: _Reading) -> ResultOutput | None:
        sha1 = len(claim.key.blob) == hashlib.sha1(usedforsecurity=False).digest_size * 2
        writings = {
            stream: _Writing(
                self._directory,
                expected,
                action_id=claim.key.action_id,
                limit=self._limit,
                sha1=sha1,
            )
            for stream, expected in reading.expected.items()
        }
        try:
            for chunk in self._scheduler.logs(claim):
                if reading.given_up:
                    return None
                if chunk.stream in writings:
                    writings[chunk.stream].write(chunk.data)
            for writing in writings.values():
                writing.check()
            kept = {stream.value: writing.kept() for stream, writing in writings.items()}
        finally:
            for writing in writings.values():
                writing.close()
        month = time.strftime("%Y-%m", time.gmtime())
        return ResultOutput(month=month, stdout=kept.get("stdout"), stderr=kept.get("stderr"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What a stream has to begin with.

    Attributes:
        size: bytes.
        sha256: of these (hex); "" for whatever is there.
    """

    size: int
    sha256: str = ""


class _Unfit(Exception):
    """The engine's log is not what the runner wrote."""


@dataclass
class _Reading:
    """One output that is being read.

    Attributes:
        expected: by stream.
        done: set at the end.
        given_up: whether nobody waits for it any more.
        why: why there is none.
    """

    expected: Mapping[Stream, Expected]
    done: threading.Event = field(default_factory=threading.Event)
    given_up: bool = False
    output: ResultOutput | None = None
    why: str = ""


class _Writing:
    """Compresses one stream into a file of the directory; of more than ``limit`` bytes the first and
    the last half. Holds no more than half of that in memory. The same bytes give the same file.
    """

    def __init__(
        self, directory: Path, expected: Expected, *, action_id: str, limit: int, sha1: bool
    ) -> None:
        self._directory, self._expected, self._action_id = directory, expected, action_id
        self._written = hashlib.sha256()
        self._half, self._sha1 = limit // 2, sha1
        self._path: Path | None = None
        self._file: IO[bytes] | None = None
        self._packed: gzip.GzipFile | None = None
        self._tail: deque[bytes] = deque()
        self._head_size = self._tail_size = 0
        self.total = 0

    def write(self, data: bytes) -> None:
        if self._packed is None:
            fd, name = tempfile.mkstemp(dir=self._directory, prefix=_UNFINISHED)
            self._path, self._file = Path(name), os.fdopen(fd, "wb")
            self._packed = gzip.GzipFile("", "wb", 6, self._file, mtime=0)
        data = data[: self._expected.size - self.total]
        self.total += len(data)
        self._written.update(data)
        head = data[: max(0, self._half - self._head_size)]
        self._packed.write(head)
        self._head_size += len(head)
        for at in range(len(head), len(data), _PIECE):
            self._keep(data[at : at + _PIECE])

    def _keep(self, piece: bytes) -> None:
        self._tail.append(piece)
        self._tail_size += len(piece)
        while self._tail_size - len(self._tail[0]) >= self._half:
            self._tail_size -= len(self._tail.popleft())

    def check(self) -> None:
        """Raise ``_Unfit`` unless this was what the runner wrote."""
        if self.total < self._expected.size:
            raise _Unfit(f"the engine has only {self.total:,} of its {self._expected.size:,} bytes")
        if self._expected.sha256 not in ("", self._written.hexdigest()):
            raise _Unfit("the engine's log is not what the runner wrote")

    def kept(self) -> KeptStream:
        """Finish the file, and give it its name."""
        if self._packed is None or self._file is None or self._path is None:
            raise ValueError("nothing was written")
        tail = b"".join(self._tail)[-self._half :]
        omitted = self.total - self._head_size - len(tail)
        if omitted:
            self._packed.write(f"\n[{omitted} bytes left out here]\n".encode())
        self._packed.write(tail)
        self._packed.close()
        self._file.close()
        size = self._path.stat().st_size
        sha256 = hashlib.sha256()
        git = hashlib.new("sha1" if self._sha1 else "sha256", usedforsecurity=False)
        git.update(b"blob %d\0" % size)
        with self._path.open("rb") as file:
            while piece := file.read(_PIECE):
                sha256.update(piece)
                git.update(piece)
        self._path.rename(self._directory / _name(self._action_id, sha256.hexdigest()))
        return KeptStream(
            bytes=self.total,
            omitted=omitted,
            packed=size,
            sha256=sha256.hexdigest(),
            object=git.hexdigest(),
        )

    def close(self) -> None:
        """Remove the file if it was not finished."""
        if self._file is not None and self._path is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


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


def _name(action_id: str, sha256: str) -> str:
    return f"{action_id}.{sha256}.gz"


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _listed(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from directory.iterdir()


def _remove_leftovers(directory: Path) -> None:
    """Remove what a crash left unfinished, and what was never pushed."""
    for file in _listed(directory):
        with suppress(OSError):
            if file.name.startswith(_UNFINISHED) or time.time() - file.stat().st_mtime > LEFTOVER_S:
                file.unlink()
