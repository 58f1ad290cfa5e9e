"""A web server that keeps what is sent to it, and answers as a test wants."""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request; names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(kw_only=True)
class Hooks:
    """The server.

    Attributes:
        addr: its address.
        answer: makes the answer to each call.
        calls: all of them, in order; also in ``queue``.
    """

    addr: str = ""
    answer: Callable[[Call], Answer] = lambda _call: Answer()
    calls: list[Call] = field(default_factory=list)
    queue: queue.Queue[Call] = field(default_factory=queue.Queue)

    def next(self) -> Call:
        """The next call that was not taken yet; waits for it."""
        return self.queue.get(timeout=20)


@contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[Hooks]:
    """Serve on a free port of the loopback until the block ends."""
    hooks = Hooks()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = Call(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
            )
            answer = hooks.answer(call)
            hooks.calls.append(call)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
            hooks.queue.put(call)

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - as http.server has it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scheme = "http"
        if tls is not None:
            scheme = "https"
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        hooks.addr = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield hooks
        server.shutdown()
        thread.join()
