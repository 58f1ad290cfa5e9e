"""Who people are and what they may see, by the forge.

A person is let in who may read the ops repo there; that is asked again every minute, with the
person's own token. If the forge does not answer, nobody is shown anything on the strength of an older
answer.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge.accounts import Access, Account
from dispatcher.forge.oauth import OAuth, Refused, Tokens
from dispatcher.page.attempts import Attempt, Attempts
from dispatcher.page.language import mark
from dispatcher.page.problems import Problem
from dispatcher.page.rates import UNPROVEN, Buckets
from dispatcher.page.sessions import ForgeLogin, Person, Session, Sessions

CHECK_S = 60.0
"""Seconds for which an answer of the forge about somebody is good."""

EARLY_S = 60.0
"""Seconds before a token expires at which the next one is fetched."""

REMEMBERED_S = 3_600.0
"""Seconds for which a token that was good does not count as unknown."""

MOST_TOKENS = 2_000
AT_ONCE = 8
"""Questions to the forge at a time: a slow one must not take all threads of the page."""

WAIT_S = 2.0
_TOKEN = re.compile(r"[\x21-\x7e]{8,8192}")

AskAbout = Callable[[str], tuple[Access, Account | None]]
"""See ``dispatcher.forge.accounts.Accounts.of``."""


@dataclass(kw_only=True, slots=True)
class _Known:
    """What the forge said about a token, which is not kept itself. ``person`` is None if it is
    nobody's.
    """

    person: Person | None = field(repr=False)
    access: Access
    at: float


class People:
    """The people of one forge. Thread-safe.

    Args:
        sessions: of the page; those of people who lost their access are ended.
        event: logs an event.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        oauth: OAuth,
        accounts: AskAbout,
        sessions: Sessions,
        *,
        event: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._oauth, self._accounts, self._sessions = oauth, accounts, sessions
        self._event, self._clock = event, clock
        self._attempts = Attempts(clock=clock)
        self._unproven = Buckets(UNPROVEN, clock=clock)
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._tokens: OrderedDict[bytes, _Known] = OrderedDict()

    # --- logging in ------------------------------------------------------------------------------

    def begin(self, path: str) -> tuple[str, Attempt]:
        """Where to log in at the forge, and the attempt whose cookie the browser is to keep."""
        attempt = self._attempts.begin(path)
        return self._oauth.address(state=attempt.state, verifier=attempt.verifier), attempt

    def finish(self, before: Session | None, *, cookie: str, state: str, code: str) -> Entry:
        """Let in whom the forge sent back.

        Raises:
            Problem: it sent nobody back who may come in.
            Unavailable: it gives no usable answer.
        """
        attempt = self._attempts.finish(cookie, state)
        if attempt is None or not _TOKEN.fullmatch(code):
            raise not_begun_here()
        self._admit()
        with self._asking():
            try:
                tokens = self._oauth.exchange(code, verifier=attempt.verifier)
            except Refused as refused:
                self._event("login refused", reason=refused.code)
                raise Problem(
                    status=403,
                    what=mark("the forge did not confirm this login"),
                    remedy=mark("Log in again; if it happens again, see the log of the page."),
                ) from None
            now = self._clock()
            access, account = self._accounts(tokens.access)
        if account is None:
            raise no_access(access)
        login = _login(tokens, account, now)
        person = _person(account, tokens.access)
        session = self._sessions.log_in(before, person, login)
        self._event("login", who=account.login)
        return Entry(session=session, path=attempt.path)

    # --- afterwards ------------------------------------------------------------------------------

    def confirm(self, session: Session) -> Person | None:
        """Who a session belongs to, as far as the forge still lets them read the ops repo.

        Raises:
            Problem: it does not, and the session has ended.
            Unavailable: the forge gives no usable answer.
        """
        login = session.login
        if login is None or self._fresh(login):
            return session.person
        with _held(login.lock):
            if not self._fresh(login):
                with self._asking():
                    self._check(session, login)
        return session.person

    def _fresh(self, login: ForgeLogin) -> bool:
        now = self._clock()
        return now - login.checked < CHECK_S and now < login.expires - EARLY_S

    def _check(self, session: Session, login: ForgeLogin) -> None:
        """Renew the token if it expires, and ask what its account may."""
        now, token = self._clock(), session.person.token if session.person else ""
        if now >= login.expires - EARLY_S:
            try:
                tokens = self._oauth.refresh(login.refresh) if login.refresh else None
            except Refused as refused:
                self._event("login ended", reason=refused.code)
                tokens = None
            if tokens is None:
                raise self._ended(session, _over())
            token = tokens.access
            if session.person is not None:  # kept also if the forge fails below
                session.person = replace(session.person, token=token)
            login.refresh, login.expires = tokens.refresh, now + tokens.expires_in
        access, account = self._accounts(token)
        if account is None or account.number != login.number:
            self._event("login ended", reason=access.value)
            over = access is not Access.NONE
            raise self._ended(session, _over() if over else no_access(access))
        session.person = _person(account, token)
        login.checked = now

    def _ended(self, session: Session, problem: Problem) -> Problem:
        self._sessions.end(session)
        return problem

    # --- tokens of programs ----------------------------------------------------------------------

    def of_token(self, token: str) -> Person | None:
        """Whose a token of the forge is; None if nobody's.

        A personal access token counts for its account. One that OAuth2 issued counts only if it was
        issued to this page: others may have got theirs from people who let them do much less.

        Raises:
            Problem: its account may not read the ops repo, or too many unknown tokens came.
            Unavailable: the forge gives no usable answer.
        """
        if not _TOKEN.fullmatch(token):
            return None
        key = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        with self._lock:
            known = self._tokens.get(key)
        if known is None or now - known.at >= CHECK_S:
            if known is None or known.person is None or now - known.at > REMEMBERED_S:
                self._admit()
            with self._asking():
                known = self._look_up(token)
            self._remember(key, known)
        if known.access is Access.NONE:
            raise no_access(known.access)
        return replace(known.person, token=token) if known.person is not None else None

    def _look_up(self, token: str) -> _Known:
        now = self._clock()
        if "." in token and not self._oauth.is_for_us(token):
            return _Known(person=None, access=Access.INVALID, at=now)
        access, account = self._accounts(token)
        person = _person(account, "") if account is not None else None
        return _Known(person=person, access=access, at=now)

    def _remember(self, key: bytes, known: _Known) -> None:
        with self._lock:
            self._tokens[key] = known
            self._tokens.move_to_end(key)
            while len(self._tokens) > MOST_TOKENS:
                self._tokens.popitem(last=False)

    # --- the forge's patience, and ours ----------------------------------------------------------

    def _admit(self) -> None:
        wait_s = self._unproven.take()
        if wait_s:
            raise too_often(wait_s)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        if not self._places.acquire(timeout=WAIT_S):
            raise _slow()
        try:
            yield
        finally:
            self._places.release()


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Somebody who was let in, and where they wanted to go."""

    session: Session
    path: str


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    if not lock.acquire(timeout=WAIT_S):
        raise _slow()
    try:
        yield
    finally:
        lock.release()


def _slow() -> Unavailable:
    return Unavailable(
        Dependency.FORGE,
        "the forge answers too slowly to see who you are",
        remedy="Try again in a moment.",
    )


def _person(account: Account, token: str) -> Person:
    return Person(login=account.login, name=account.name, email=account.email, token=token)


def _login(tokens: Tokens, account: Account, now: float) -> ForgeLogin:
    return ForgeLogin(
        number=account.number,
        refresh=tokens.refresh,
        expires=now + tokens.expires_in,
        checked=now,
    )


def not_begun_here() -> Problem:
    """The forge sent somebody back whom this browser did not send there."""
    return Problem(
        status=403,
        what=mark("this login was not started in this browser, was already used, or took too long"),
        remedy=mark("Start again from the overview."),
    )


def no_access(access: Access) -> Problem:
    """A person, or a token, that the forge does not let read the ops repo."""
    if access is Access.INVALID:
        return _over()
    return Problem(
        status=403,
        what=mark("the forge does not let you read the ops repo"),
        remedy=mark(
            "Ask somebody who administers the ops repo to let you read it. A token needs the "
            "scopes read:user and read:repository, to send anything write:repository."
        ),
    )


def too_often(wait_s: int) -> Problem:
    """Somebody asks too often."""
    return Problem(
        status=429,
        what=mark("you have sent too many requests"),
        remedy=mark("Wait %(seconds)s seconds, then try again."),
        values={"seconds": wait_s},
        headers={"Retry-After": str(wait_s)},
    )


def _over() -> Problem:
    return Problem(
        status=401,
        what=mark("your login has ended: the forge no longer accepts it"),
        headers={"WWW-Authenticate": "Bearer"},
    )
