"""A Matrix homeserver, as far as sending to a room goes, over the server of ``tests.servers.hooks``.

After the client-server API 1.11, ``PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}``:
one event for all requests with one transaction ID and one access token, whose answer is repeated;
``M_UNKNOWN_TOKEN`` (401), ``M_FORBIDDEN`` (403) for a room that the account did not join,
``M_LIMIT_EXCEEDED`` (429) with ``retry_after_ms``, ``M_BAD_JSON``.

Left out: rooms' state and power levels, other types of events, encryption, /sync, login, and how
long transaction IDs are remembered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.servers.hooks import Answer, Call

PREFIX = "/_matrix/client/v3/rooms/"


@dataclass(kw_only=True)
class FakeHomeserver:
    """The server's memory.

    Attributes:
        token: the one access token.
        rooms: those that its account joined.
        events: content of what was sent, in order.
        limited: how many requests are still answered by "too many".
    """

    token: str
    rooms: set[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    limited: int = 0
    _answers: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def __call__(self, call: Call) -> Answer:
        """The answer to a request."""
        if call.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "M_UNKNOWN_TOKEN")
        room, verb, kind, transaction = call.path.removeprefix(PREFIX).split("/")
        if call.method != "PUT" or (verb, kind) != ("send", "m.room.message"):
            return _error(404, "M_UNRECOGNIZED")
        if self.limited:
            self.limited -= 1
            return _error(429, "M_LIMIT_EXCEEDED", retry_after_ms=1)
        if unquote(room) not in self.rooms:
            return _error(403, "M_FORBIDDEN")
        if (room, transaction) not in self._answers:
            content = json.loads(call.body)
            if not isinstance(content.get("body"), str) or "msgtype" not in content:
                return _error(400, "M_BAD_JSON")
            self.events.append(content)
            event = {"event_id": f"$event{len(self.events)}"}
            self._answers[room, transaction] = Answer(body=json.dumps(event).encode())
        return self._answers[room, transaction]


def _error(status: int, code: str, **more: object) -> Answer:
    return Answer(status=status, body=json.dumps({"errcode": code, "error": code, **more}).encode())
