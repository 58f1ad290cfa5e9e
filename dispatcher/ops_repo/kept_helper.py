"""Fetches over HTTP through a ``git remote-http`` process that is kept.

To start ``git fetch`` and its helper takes longer than all that a small fetch exchanges: the helper loads
some thirty libraries, and asks each time what the server can do. Here one helper stays, with its
connection, and the two requests of a fetch are made by ourselves. HTTP, TLS, proxies and the token are
git's own, as before.

It only makes the ordinary case fast. Whatever is not as expected ends the helper, and ``git fetch`` does
all of it again, and reports what is wrong: another protocol, a refused token, a large pack, a malformed
object. What arrives is checked as for a remote that is a path (see ``fetching``).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dispatcher.errors import DisintoError
from dispatcher.ops_repo import fsck
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.packets import BadPacket, Mark, Packets, request
from dispatcher.ops_repo.processes import end_group
from dispatcher.ops_repo.records import is_oid

ANSWER_S = 5.0
"""Seconds for an answer. A remote that takes longer, or a connection that died unnoticed, is left to
``git fetch``."""

STORE_S = 20.0
"""Seconds to check and write a pack: a small one can unpack to much. Then it is left to ``git fetch``."""

REST_S = 60.0
"""Seconds for which all is left to ``git fetch`` once that was necessary."""

REFS_LIMIT = 1024 * 1024
"""Bytes of an answer about refs, or about what the server can do."""

PACK_LIMIT = 8 * 1024 * 1024
"""Bytes of an answer with a pack. What is new since the last fetch is mostly a few kilobytes."""

_FORMATS = {40: "sha1", 64: "sha256"}
"""Names of the hashes, by the number of their digits."""

_UNKNOWN = re.compile(r"Unhandled message id: (\w+)")
"""git's answer to a name of ``fsck.ACCEPTED`` that this version does not know, in lower case. As a key of its
configuration it would only warn about it."""


class LeftToGit(Exception):
    """``git fetch`` has to do it."""


class KeptHelper:
    """One helper, started when first needed. Used by one thread at a time, who holds the clone's lock; any may
    close it.

    Args:
        path: the clone.
        git: runs git for it and its remote.
        clock: monotonic seconds.
    """

    def __init__(
        self, path: Path, git: Git, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._git, self._clock = path, git, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._registered = ExitStack()
        self._capabilities: list[str] = []
        self._rests_until = 0.0
        self._accepted = [key.removeprefix("fetch.fsck.") for key in fsck.ACCEPTED]

    def values(self, refs: Sequence[str], *, like: str) -> dict[str, str]:
        """The values of these refs on the remote; those that it lacks are left out.

        Args:
            like: any commit of the clone (hex).

        Raises:
            LeftToGit: it cannot be found out here.
        """
        with self._conversation(like) as ask:
            packets = ask("ls-refs", [f"ref-prefix {ref}" for ref in refs], REFS_LIMIT)
            lines = [line.split(" ") for line in packets.lines()]
            packets.end()
        wanted = {fields[1]: fields[0] for fields in lines if len(fields) > 1 and fields[1] in refs}
        return {ref: value for ref, value in wanted.items() if is_oid(value)}

    def bring(self, commit: str, *, have: str, keep_fds: Sequence[int]) -> None:
        """Bring a commit of the remote (hex) into the clone, with all that it names.

        Args:
            have: a commit of the clone, with its whole history.
            keep_fds: file descriptors that git keeps open while it writes.

        Raises:
            LeftToGit: it cannot be done here.
        """
        wanted = ["thin-pack", "no-progress", "ofs-delta", f"want {commit}", f"have {have}", "done"]
        with self._conversation(have) as ask:
            packets = ask("fetch", wanted, PACK_LIMIT)
            if packets.next() != b"packfile\n":
                raise BadPacket("no pack")
            pack = b"".join(packets.pack())
            packets.end()
        try:
            while not self._stored(pack, keep_fds):
                pass
        except (GitFailed, DisintoError) as error:
            self.distrust()
            raise LeftToGit from error

    def distrust(self) -> None:
        """End the process, and leave the remote to ``git fetch`` for a while."""
        self._rests_until = self._clock() + REST_S
        self.close()

    def close(self) -> None:
        """End the process; the next fetch starts another. A fetch on another thread is left to git."""
        process, self._process = self._process, None
        if process is not None:
            end_group(process)
        self._registered.close()

    def _stored(self, pack: bytes, keep_fds: Sequence[int]) -> bool:
        """Check a pack and write it to the clone; False if git has to be asked otherwise.

        Raises:
            GitFailed: git refuses it.
        """
        strict = ",".join(f"{name}=ignore" for name in self._accepted)
        command = ("index-pack", "--stdin", "--fix-thin", f"--strict={strict}")
        try:
            self._git.run(
                self._path,
                *command,
                stdin=pack,
                timeout_s=STORE_S,
                keep_fds=keep_fds,
                stoppable=True,
            )
        except GitFailed as failed:
            unknown = _UNKNOWN.search(failed.text)
            known = [n for n in self._accepted if unknown and n.lower() != unknown[1].lower()]
            if len(known) != len(self._accepted) - 1:
                raise
            self._accepted = known
            return False
        return True

    @contextmanager
    def _conversation(self, like: str) -> Iterator[Callable[[str, Sequence[str], int], Packets]]:
        """A function that sends a command with its arguments, and returns the answer's packets, of which no
        more bytes are read than it is given.
        """
        if self._clock() < self._rests_until or self._git.conversations.stopped:
            raise LeftToGit
        try:
            process = self._process
            if process is None or process.poll() is not None:
                self.close()
                process = self._process = self._git.start_helper(self._path)
                self._registered.enter_context(self._git.conversations.one(process))
                self._capabilities = []
            with _watched(process):
                if not self._capabilities:
                    self._capabilities = _connected(process, like)

                def ask(command: str, arguments: Sequence[str], limit: int) -> Packets:
                    assert process.stdin is not None  # noqa: S101 - for the type checker
                    assert process.stdout is not None  # noqa: S101
                    process.stdin.write(request(command, self._capabilities, arguments))
                    process.stdin.flush()
                    return Packets(process.stdout, limit=limit)

                yield ask
        except (BadPacket, DisintoError, OSError, ValueError) as error:
            self.distrust()
            raise LeftToGit from error
        except BaseException:
            self.close()  # what is left in the pipe must not be read as another answer
            raise


@contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Within it, the process and all that it started are killed after ``ANSWER_S``."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    watch = threading.Timer(ANSWER_S, kill)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _connected(process: subprocess.Popen[bytes], like: str) -> list[str]:
    """Connect a new helper; returns the capabilities that each request names.

    Raises:
        BadPacket: the server lacks the protocol's second version, or what is needed of it.
    """
    assert process.stdin is not None  # noqa: S101 - for the type checker
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(b"stateless-connect git-upload-pack\n")
    process.stdin.flush()
    if process.stdout.readline(64) != b"\n":
        raise BadPacket("not connected")
    version, *capabilities = Packets(process.stdout, limit=REFS_LIMIT).lines(Mark.FLUSH)
    known = dict(line.partition("=")[::2] for line in capabilities)
    hashes = known.get("object-format", "sha1")
    if version != "version 2" or not {"ls-refs", "fetch"} <= known.keys():
        raise BadPacket("another protocol")
    if hashes != _FORMATS[len(like)]:
        raise BadPacket("other hashes")
    return [f"object-format={hashes}"] if "object-format" in known else []
