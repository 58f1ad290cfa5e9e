"""The listener: waitress in a thread, bounded in threads, connections and body size."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterable
from typing import Any

import waitress
from waitress import wasyncore
from waitress.server import BaseWSGIServer

from dispatcher.errors import Misconfigured
from dispatcher.web.app import BODY_LIMIT

THREADS = 4
CONNECTIONS = 64
IDLE_S = 30


class AddressTaken(Misconfigured):
    """Another process listens there."""


class Listener:
    """Serves a WSGI application until it is closed. Use as a context manager.

    Args:
        app: the application.
        listen: ``host:port``; port 0 takes a free one. ``[::1]:8480`` for IPv6.

    Raises:
        Misconfigured: ``listen`` is no address.
        AddressTaken: another process has it.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], *, listen: str) -> None:
        host, colon, port = listen.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) < 2**16):
            raise Misconfigured(f"[http] listen is {listen!r}, not host:port")
        self._sockets: dict[int, Any] = {}
        try:
            self._server: Any = waitress.create_server(
                app,
                map=self._sockets,
                host=host.strip("[]"),
                port=int(port),
                threads=THREADS,
                connection_limit=CONNECTIONS,
                channel_timeout=IDLE_S,
                max_request_body_size=BODY_LIMIT + 1,
                max_request_header_size=32 * 1024,
                ident=None,
            )
        except (OSError, ValueError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            raise (AddressTaken if taken else Misconfigured)(
                f"[http] listen {listen} cannot be opened: {error}",
                remedy="Choose a free address, or an empty one for no listener.",
            ) from error
        if not isinstance(self._server, BaseWSGIServer):
            self._server.close()
            raise Misconfigured(
                f"[http] listen {listen} names several addresses; give one by its number"
            )
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)

    @property
    def port(self) -> int:
        """The port that was opened."""
        return int(self._server.effective_port)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let calls under way finish, then close every socket from the loop's own thread."""
        if not self._thread.is_alive():
            return
        self._server.task_dispatcher.shutdown()
        with contextlib.suppress(OSError):  # the loop has closed its sockets by itself
            self._server.trigger.pull_trigger(self._close_all)
        self._thread.join(timeout=10)

    def _close_all(self) -> None:
        wasyncore.close_all(self._sockets)
