"""Logins under way, kept by the browser: whoever begins ten thousand of them takes no memory here.

The cookie of an attempt has a random id, until when it is valid, and where to go afterwards, with a
MAC. State and PKCE verifier are derived from the id by a key that nobody else has. So an answer of the
forge counts only in the browser that began, in time, and once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

COOKIE = "disinto_login"
LASTS_S = 600
"""Seconds within which a person must have logged in at the forge."""

LONGEST_PATH = 1_000
MOST_USED = 20_000
"""Attempts that are remembered as used, until they have expired anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A login under way.

    Attributes:
        state: what the forge hands back.
        verifier: with which alone its code can be used.
        cookie: what the browser keeps.
        path: where to go afterwards.
    """

    state: str = field(repr=False)
    verifier: str = field(repr=False)
    cookie: str = field(repr=False)
    path: str


class Attempts:
    """Begins attempts, and recognises them. Thread-safe.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._used: OrderedDict[str, None] = OrderedDict()

    def begin(self, path: str) -> Attempt:
        """A new attempt."""
        given = path if len(path) <= LONGEST_PATH else "/"
        attempt_id = secrets.token_urlsafe(24)
        data = json.dumps([attempt_id, self._clock() + LASTS_S, given])
        return self._of(base64.urlsafe_b64encode(data.encode()).decode(), attempt_id, given)

    def finish(self, cookie: str, state: str) -> Attempt | None:
        """The attempt of a cookie, which is used up; None unless it is ours, in time, unused, and that
        of the state.
        """
        text, _, mac = cookie.partition(".")
        if not _same(mac, self._mac("cookie", text)):
            return None
        try:
            attempt_id, until, path = json.loads(base64.urlsafe_b64decode(text))
        except (ValueError, binascii.Error):
            return None
        attempt = self._of(text, attempt_id, path)
        if not _same(state, attempt.state) or self._clock() > until:
            return None
        with self._lock:
            if attempt_id in self._used:
                return None
            self._used[attempt_id] = None
            while len(self._used) > MOST_USED:
                self._used.popitem(last=False)
        return attempt

    def _of(self, text: str, attempt_id: str, path: str) -> Attempt:
        return Attempt(
            state=self._mac("state", attempt_id),
            verifier=self._mac("verifier", attempt_id),
            cookie=f"{text}.{self._mac('cookie', text)}",
            path=path,
        )

    def _mac(self, use: str, text: str) -> str:
        data = f"{use}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())
