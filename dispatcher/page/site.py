"""What all requests to the page share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.live import Live
from dispatcher.page.operator_link import OperatorLink
from dispatcher.page.people import People
from dispatcher.page.rates import READING, WRITING, Buckets
from dispatcher.page.sessions import Person, Session, Sessions
from dispatcher.page.streams import Streams
from dispatcher.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrance:
    """A way to log in, offered to whoever is not.

    Attributes:
        path: a page that begins it; it is given the address to go to afterwards as ``next``.
        label: a message.
    """

    path: str
    label: str


def _ignore(_event: str, /, **_facts: object) -> None:
    """Nothing is logged."""


@dataclass(kw_only=True)
class Site:
    """The page, as one process serves it.

    Attributes:
        origin: scheme, host and port by which browsers reach it.
        settings: of this installation.
        link: lets the operator in; None if a forge says who people are.
        people: who people are, by the forge; None if none says so.
        entrances: ways to log in.
        bearer: who an API client's token belongs to, None if nobody's; None if tokens are not taken.
        reading, writing: how often one person may ask, and send.
        submissions: opens the client that sends actions as a person; None if nobody may send any.
        event: logs an event.
        clock: seconds since the epoch.
        streams: the open event streams.
        live: what is in git and in the status file; None in tests that need neither.
        opened: what ``once`` keeps, by its opener.
    """

    origin: str
    settings: Settings
    sessions: Sessions = field(default_factory=Sessions)
    link: OperatorLink | None = None
    people: People | None = None
    entrances: tuple[Entrance, ...] = ()
    bearer: Callable[[str], Person | None] | None = None
    submissions: Callable[[Person], SubmissionClient] | None = None
    event: Callable[..., None] = _ignore
    clock: Callable[[], float] = time.time
    streams: Streams = field(default_factory=Streams)
    live: Live | None = None
    reading: Buckets = field(default_factory=lambda: Buckets(READING))
    writing: Buckets = field(default_factory=lambda: Buckets(WRITING))
    opened: dict[Callable[[Site], Any], Any] = field(default_factory=dict)
    _opening: threading.RLock = field(default_factory=threading.RLock)

    def once(self, opener: Callable[[Site], T]) -> T:
        """What ``opener`` returns for this site; it is called the first time only. For what a page opens
        and keeps, such as a reader with a cache.
        """
        with self._opening:
            if opener not in self.opened:
                self.opened[opener] = opener(self)
            made: T = self.opened[opener]
            return made

    def confirm(self, session: Session) -> Person | None:
        """Who a session belongs to; None if nobody is logged in with it.

        Raises:
            Problem, Unavailable: see ``People.confirm``.
        """
        return session.person if self.people is None else self.people.confirm(session)

    def wait_s(self, person: Person, *, writes: bool) -> int:
        """Seconds after which a person may ask; 0 for now. The operator always may."""
        if person.operator:
            return 0
        return (self.writing if writes else self.reading).take(person.login.lower())

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by https."""
        return urlsplit(self.origin).scheme == "https"

    @property
    def hosts(self) -> frozenset[str]:
        """The values of ``Host`` that are served: a name that others chose is not among them."""
        parts = urlsplit(self.origin)
        hosts = {parts.netloc.lower()}
        if parts.hostname == "127.0.0.1":
            hosts.add(f"localhost:{parts.port}")
        return frozenset(hosts)

    @property
    def origins(self) -> frozenset[str]:
        """The values of ``Origin`` that forms may come from."""
        return frozenset(f"{urlsplit(self.origin).scheme}://{host}" for host in self.hosts)
