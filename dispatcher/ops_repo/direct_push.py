"""Pushes a commit of ours to a remote that is a path by talking to its ``git receive-pack``: without
``git push`` and the ``git pack-objects`` that it starts, a push of one result takes two thirds of the time. The
program of the remote, its hooks, its checks and its configuration are the same.

The remote's program can be started beforehand, while the result is still being made: it lists its refs,
and waits. Nothing is decided by that list which the remote does not check once more: each ref is moved by
compare-and-set, all or none.

It only makes the ordinary case fast. Whatever is not as expected is left to ``git push``, which pushes the
same commits and reports what is wrong; if they have arrived nevertheless, it finds that nothing is left to do.
The protocol is the one of gitprotocol-pack(5), version 0.
"""

from __future__ import annotations

import io
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dispatcher.errors import DisintoError
from dispatcher.ops_repo import transport
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.packets import BadPacket, Mark, Packets, packet
from dispatcher.ops_repo.packs import NewObject, pack
from dispatcher.ops_repo.processes import close_pipes, end_group, ended_after
from dispatcher.ops_repo.refusals import Why, refusal
from dispatcher.ops_repo.transport import Transport, Version

BYTES = 4 * 1024 * 1024
"""Bytes of objects, from which on a push is left to git: it sends only what differs."""

REST_S = 60.0
"""Seconds for which all is left to ``git push`` once that was necessary, unless another push came first."""

_LIST_BYTES = 1024 * 1024
"""Bytes of the list of refs."""

_ANSWER_BYTES = 1024 * 1024 * 1024
"""Bytes of the answer to a push, with all that hooks print: at the limit they are ended."""

_HASHES = {40: b"sha1", 64: b"sha256"}
_NEEDED = frozenset({b"report-status", b"side-band-64k", b"atomic"})


class LeftToGit(Exception):
    """``git push`` has to do it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """A ref to be moved.

    Attributes:
        ref: its full name on the remote.
        old: the value that it must have (hex), "" for none; None for whatever it has.
        new: its new value (hex).
    """

    ref: str
    old: str | None
    new: str


class DirectPush:
    """Pushes to one remote. Thread-safe.

    Args:
        git: runs git for the remote.
        clock: monotonic seconds.
    """

    def __init__(self, git: Git, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._git, self._clock = git, clock
        self._lock = threading.Lock()
        self._waiting: subprocess.Popen[bytes] | None = None
        self._for: Version | None = None
        self._rests_until = 0.0

    @property
    def usable(self) -> bool:
        """Whether a push is not left to git anyway."""
        on_path = self._git.transport is Transport.PATH
        return on_path and self._clock() >= self._rests_until

    def prepare(self) -> None:
        """Start what the next push needs, unless that was done. It is ended by that push, or by ``close``."""
        with self._lock:
            if self._waiting is None and self.usable and not self._git.conversations.stopped:
                with suppress(DisintoError, OSError):
                    self._for = transport.version(self._git.remote)
                    self._waiting = self._git.start_receiver()

    def close(self) -> None:
        """End what was prepared, if it was not used."""
        process = self._taken()
        if process is not None:
            end_group(process)

    def push(self, updates: Sequence[Update], objects: Sequence[NewObject]) -> None:
        """Move refs, all or none.

        Args:
            objects: all that the remote lacks.

        Raises:
            LeftToGit: it cannot be done here, or it is not known whether it was.
            Unavailable: the remote did not answer in time, or the conversations were stopped.
        """
        if not self.usable or sum(len(each.data) for each in objects) > BYTES:
            raise LeftToGit
        if self._for != transport.version(self._git.remote):
            self.close()  # it would push to what was there before
        self.prepare()
        process = self._taken()
        if process is None:
            raise LeftToGit
        git = self._git
        try:
            try:
                # Once more: it may have been prepared a while ago.
                transport.receive_pack(git.remote)
            except DisintoError as error:
                raise LeftToGit from error
            with (
                git.conversations.one(process),
                ended_after(process, git.settings.timeout_s) as late,
            ):
                try:
                    self._converse(process, updates, objects)
                except (BadPacket, OSError, ValueError) as error:
                    if git.conversations.stopped:
                        raise git.given_up() from None
                    if late.is_set():
                        raise git.not_in_time("push", git.settings.timeout_s) from None
                    self._rests_until = self._clock() + REST_S
                    raise LeftToGit from error
        except BaseException:
            end_group(process)
            raise
        close_pipes(process)  # what its hooks left running is not ended

    def _taken(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            process, self._waiting = self._waiting, None
        return process

    def _converse(
        self,
        process: subprocess.Popen[bytes],
        updates: Sequence[Update],
        objects: Sequence[NewObject],
    ) -> None:
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101
        like = updates[0].new
        values, capabilities = _listed(Packets(process.stdout, limit=_LIST_BYTES))
        if not capabilities >= _NEEDED or _hashes(capabilities) != _HASHES[len(like)]:
            raise BadPacket("another protocol")
        commands = _commands(updates, values)
        process.stdin.write(commands + pack(objects, like=like))
        process.stdin.close()
        answer = b"".join(Packets(process.stdout, limit=_ANSWER_BYTES).pack())
        lines = list(Packets(io.BytesIO(answer), limit=len(answer)).lines())
        if lines[:1] != ["unpack ok"]:
            raise BadPacket("not unpacked")
        refused = [line.split(" ", 2)[-1] for line in lines[1:] if not line.startswith("ok ")]
        if refused and all(refusal(why, "").why is Why.RACE for why in refused):
            raise LeftToGit
        if refused:
            raise BadPacket("refused")
        if process.wait() != 0:
            raise BadPacket("failed")


def _listed(packets: Packets) -> tuple[dict[bytes, str], frozenset[bytes]]:
    """The remote's refs with their values, and what it can do."""
    values: dict[bytes, str] = {}
    capabilities = b""
    while (line := packets.next()) is not Mark.FLUSH:
        if isinstance(line, Mark):
            raise BadPacket("an unexpected mark")
        line, nul, more = line.partition(b"\0")
        capabilities = more if nul else capabilities
        oid, _, name = line.rstrip(b"\n").partition(b" ")
        values[name] = oid.decode("ascii")
    return values, frozenset(capabilities.split())


def _hashes(capabilities: frozenset[bytes]) -> bytes:
    named = (c for c in capabilities if c.startswith(b"object-format="))
    return next(named, b"=sha1").partition(b"=")[2]


def _commands(updates: Sequence[Update], values: Mapping[bytes, str]) -> bytes:
    """The commands as packets.

    Raises:
        LeftToGit: another push came first.
    """
    none = "0" * len(updates[0].new)
    packets, asked = [], "\0report-status atomic side-band-64k quiet"
    for update in updates:
        there = values.get(update.ref.encode(), "")
        if update.old is not None and update.old != there:
            raise LeftToGit
        if there != update.new:
            packets.append(packet(f"{there or none} {update.new} {update.ref}{asked}"))
            asked = ""
    return b"".join(packets) + Mark.FLUSH.value
