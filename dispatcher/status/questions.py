"""The socket ``<state_dir>/ask.sock``: questions of other commands to a ``serve`` that leads here.

A process that answers is alive and has all adapters loaded, so a command that asks it (``asking``)
gets in milliseconds what takes a process of its own most of a second. An answer is for reading: nothing
is started or changed by a question. Without an answer the command finds out by itself.

Whoever may connect may read the state directory: it is private, and both sides check the other's
user. Formulas in a sandbox see neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.settings_origin import Origin
from dispatcher.status.asking import NAME, address, peer, unix_socket

if TYPE_CHECKING:
    from dispatcher.status.tracker import Status

REQUEST_LIMIT = 4_096
"""Bytes of a question."""

REQUEST_S = 2.0
"""Seconds in which a question must arrive, and an answer be taken."""

AT_A_TIME = 4
"""Questions answered at a time; another is not answered."""

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Answers a question, whose details are plain data, with plain data; None if this process cannot
tell.
"""


class AnswerSocket:
    """A ``Tracker`` that answers questions once this process leads. Use as a context manager.

    A second ``serve`` that waits for the lead does not touch the socket of the first.

    Args:
        state_dir: the directory of the socket.
        origin: of the settings; None answers nothing.
        answers: by question; each is called on a thread of its own.
        defect: called with an unexpected error of one of them.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        origin: Origin | None,
        answers: Mapping[str, Answer],
        defect: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        self._state_dir, self._origin, self._answers = state_dir, origin, answers
        self._defect = defect
        self._socket: socket.socket | None = None
        self._inode = 0
        self._places = threading.BoundedSemaphore(AT_A_TIME)

    def status(self, status: Status) -> None:  # noqa: ARG002 - only a leader has one
        """Open the socket, once."""
        if self._socket is None and self._origin is not None:
            with contextlib.suppress(OSError):  # a disk that is full stops no dispatcher
                self._open()

    def event(self, what: str, /, **facts: object) -> None:
        """Do nothing."""

    def __enter__(self) -> AnswerSocket:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            path = self._state_dir / NAME
            if path.lstat().st_ino == self._inode:  # else another leads by now
                path.unlink()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends ``accept``
        self._socket.close()

    def _open(self) -> None:
        listener = unix_socket()
        new = f".{NAME}.{os.getpid()}"
        try:
            with _folder(self._state_dir) as folder:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=folder)
                listener.bind(address(folder, new))
                os.chmod(new, 0o600, dir_fd=folder)
                listener.listen(AT_A_TIME)
                self._inode = os.stat(new, dir_fd=folder).st_ino
                os.rename(new, NAME, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            listener.close()
            raise
        self._socket = listener
        threading.Thread(target=self._accept, args=(listener,), name="answers", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            if not self._places.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="answer", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:  # closed last: whoever sees that finds a defect reported, and a place free
            try:
                connection.settimeout(REQUEST_S)
                if peer(connection) in (0, os.geteuid()):
                    self._reply(connection)
            except OSError:
                pass  # it went away
            except Exception as error:  # noqa: BLE001 - the command finds out by itself
                self._defect(error)
            finally:
                self._places.release()

    def _reply(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as file:
                question, about = json.loads(file.readline(REQUEST_LIMIT))
        except (ValueError, TypeError, RecursionError):
            return  # something else
        if not isinstance(about, dict):
            return  # a command of an older version
        answer = self._answers.get(str(question))
        assert self._origin is not None  # noqa: S101 - it would not be open
        data = {
            "origin": self._origin.to_json(),
            "answer": answer(about) if answer is not None else None,
        }
        connection.sendall(json.dumps(data, default=str).encode())


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
