"""Server-sent events: streams that last, bounded in number, to readers that keep up.

A stream that may not be opened is answered and ended at once with a longer ``retry``, by which the
browser comes back by itself. One whose reader does not take an event in time is dropped; the browser
comes back with ``Last-Event-ID``.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MOST = 600
"""Streams at a time."""

MOST_OF_ONE = 60
"""Streams at a time of one person of the forge."""

RETRY_MS = 2_000
BUSY_RETRY_MS = 20_000
"""Milliseconds after which a browser comes back: after a lost connection, and if there were too many."""

SEND_S = 10.0
"""Seconds in which a reader must make room for an event."""

BEAT_S = 15.0
"""Seconds after which something is sent at least, so that a lost connection is noticed."""

ABORT = "dispatcher.page.abort"
"""ASGI extension of ``serving``: what drops the connection."""

BEAT = b": still here\n\n"


class Streams:
    """Counts the open streams. Used on the event loop only.

    Args:
        most, most_of_one: how many may be open, and how many by one person.
        send_s: see ``SEND_S``.
        check_s: seconds after which it is checked again whether a reader may still see them.
    """

    def __init__(
        self,
        *,
        most: int = MOST,
        most_of_one: int = MOST_OF_ONE,
        send_s: float = SEND_S,
        check_s: float = BEAT_S,
    ) -> None:
        self.most, self.most_of_one, self.send_s, self.check_s = most, most_of_one, send_s, check_s
        self._of: Counter[str] = Counter()
        self.open = 0

    @contextmanager
    def place(self, person: str) -> Iterator[bool]:
        """Whether there was room for one more.

        Args:
            person: whose it is; "" for the operator, who may have all.
        """
        room = self.open < self.most and (not person or self._of[person] < self.most_of_one)
        if not room:
            yield False
            return
        self.open += 1
        self._of[person] += 1
        try:
            yield True
        finally:
            self.open -= 1
            self._of[person] -= 1
            if not self._of[person]:
                del self._of[person]


def event(data: object, *, name: str = "", event_id: str = "") -> bytes:
    """The text of one event. Its data is JSON, which has no line breaks.

    Args:
        event_id: what the browser sends back as ``Last-Event-ID``.

    Raises:
        ValueError: the id or the name has a line break, which would begin a field of its own.
    """
    if any(c in "\r\n\0" for c in name + event_id):
        raise ValueError("a line break in the name or id of an event")
    lines = [f"id: {event_id}"] if event_id else []
    lines += [f"event: {name}"] if name else []
    lines.append(f"data: {json.dumps(data, ensure_ascii=True)}")
    return ("\n".join(lines) + "\n\n").encode()


class EventResponse(Response):
    """Sends events until their source ends, the browser goes away, or does not keep up.

    Args:
        allowed: whether the reader may still see them; None if that cannot be told now, and they wait.
            Without it they always may.
        person: see ``Streams.place``.
    """

    def __init__(
        self,
        source: AsyncIterator[bytes],
        streams: Streams,
        *,
        allowed: Callable[[], Awaitable[bool | None]] | None = None,
        person: str = "",
    ) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        self._source, self._streams = source, streams
        self._allowed, self._person = allowed, person

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            with self._streams.place(self._person) as room:
                if not room:
                    await _end(send, f"retry: {BUSY_RETRY_MS}\n\n".encode())
                    return
                await self._stream(scope, receive, send)
        finally:
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _send(send, f"retry: {RETRY_MS}\n\n".encode())
        sending = asyncio.ensure_future(self._events(send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        await _finish(sending, scope, send)

    async def _events(self, send: Send) -> None:
        """Send each event, and something when there is none.

        Raises:
            TimeoutError: the reader does not keep up.
        """
        following = asyncio.ensure_future(anext(self._source, None))
        checked = asyncio.get_running_loop().time()
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=BEAT_S)
                now = asyncio.get_running_loop().time()
                if self._allowed is not None and now - checked >= self._streams.check_s:
                    allowed = await self._allowed()
                    if allowed is False:
                        return
                    if allowed is None:
                        await asyncio.sleep(self._streams.check_s)
                        done = set()
                    else:
                        checked = now
                text = following.result() if done else BEAT
                if text is None:
                    return
                if done:
                    following = asyncio.ensure_future(anext(self._source, None))
                async with asyncio.timeout(self._streams.send_s):
                    await _send(send, text)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _finish(sending: asyncio.Future[None], scope: Scope, send: Send) -> None:
    """End a stream whose source has ended; drop one whose reader does not keep up."""
    if sending.cancelled():
        return
    error = sending.exception()
    if error is None:
        await _end(send)
    elif isinstance(error, TimeoutError):
        # To close it politely would wait for the reader to take what is on its way.
        abort = scope.get("extensions", {}).get(ABORT)
        if abort is not None:
            abort()
            await asyncio.sleep(0)  # the server takes note, and does not miss the end of the answer
    else:
        raise error


async def _send(send: Send, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})


async def _end(send: Send, text: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": text})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
