"""Sessions: who a browser is. In memory, so that a restart ends them all.

The cookie holds a random id and a MAC over it, so that an id that was never issued costs no look-up and
cannot be fixed upon a browser. At login the id changes. The store is bounded: the session that was
idle longest is removed first.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

COOKIE = "disinto_session"
IDLE_S = 8 * 3_600.0
"""Seconds without a request after which a session ends."""

LONGEST_S = 24 * 3_600.0
"""Seconds after which a session ends in any case."""

MOST = 10_000
"""Sessions that are kept."""

SENT = "sent"
"""Begins the note of a session about one action: what became of the last request, shown once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Who is logged in.

    Attributes:
        login: on the forge, or on this machine.
        name, email: for commits; "" if unknown.
        token: with which the page acts as this person at the forge; "" for the operator.
        operator: whether this is the operator, let in by the one-time link.
    """

    login: str
    name: str = ""
    email: str = ""
    token: str = field(default="", repr=False)
    operator: bool = False

    @property
    def author(self) -> tuple[str, str] | None:
        """Name and e-mail address for commits; None if either is unknown."""
        return (self.name, self.email) if self.name and self.email else None


@dataclass(kw_only=True, slots=True)
class ForgeLogin:
    """What keeps a person's login at the forge valid; see ``dispatcher.page.people``.

    Attributes:
        number: of the account.
        refresh: fetches the next token; "" if there is none.
        expires: when the person's token does; and ``checked``, when it was last seen that the person
            may read the ops repo: seconds of the same clock.
    """

    number: int
    refresh: str = field(repr=False)
    expires: float
    checked: float
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


@dataclass(kw_only=True, slots=True)
class Session:
    """One browser.

    Attributes:
        notes: small facts between two requests, such as what became of the last one.
        login: None for the operator.
    """

    id: str = field(repr=False)
    began: float
    used: float
    person: Person | None = None
    notes: dict[str, str] = field(default_factory=dict, repr=False)
    login: ForgeLogin | None = field(default=None, repr=False)


class Sessions:
    """The sessions of one process. Thread-safe.

    Args:
        clock: seconds, monotonic.
        most: sessions that are kept.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock, self._most = clock, most
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._by_id: OrderedDict[str, Session] = OrderedDict()

    def begin(self, person: Person | None = None, login: ForgeLogin | None = None) -> Session:
        """A new session, with an id that nobody had before."""
        now = self._clock()
        session_id = secrets.token_urlsafe(32)
        session = Session(id=session_id, began=now, used=now, person=person, login=login)
        with self._lock:
            self._by_id[session.id] = session
            while len(self._by_id) > self._most:
                self._by_id.popitem(last=False)
        return session

    def log_in(
        self, before: Session | None, person: Person, login: ForgeLogin | None = None
    ) -> Session:
        """A session for a person who has just proven who they are; the one before ends."""
        if before is not None:
            self.end(before)
        return self.begin(person, login)

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie; None if it is not ours, or has ended."""
        session_id, _, mac = cookie.partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac("cookie", session_id).encode()):
            return None
        now = self._clock()
        with self._lock:
            session = self._by_id.get(session_id)
            if session is None:
                return None
            if now - session.used > IDLE_S or now - session.began > LONGEST_S:
                del self._by_id[session_id]
                return None
            session.used = now
            self._by_id.move_to_end(session_id)
            return session

    def lasts(self, session: Session) -> bool:
        """Whether a session has not ended. Unlike a request, asking does not make it last longer."""
        now = self._clock()
        with self._lock:
            there = self._by_id.get(session.id) is session
        return there and now - session.used <= IDLE_S and now - session.began <= LONGEST_S

    def end(self, session: Session) -> None:
        """End a session."""
        with self._lock:
            self._by_id.pop(session.id, None)

    def cookie(self, session: Session) -> str:
        """The value of its cookie."""
        return f"{session.id}.{self._mac('cookie', session.id)}"

    def form_token(self, session: Session) -> str:
        """What every form of this session sends back, so that no other site can send one."""
        return self._mac("form", session.id)

    def form_token_is(self, session: Session, given: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(given.encode(), self.form_token(session).encode())

    def _mac(self, use: str, text: str) -> str:
        data = f"{use}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()
