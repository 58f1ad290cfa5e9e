"""What a page answers with. The data is the same for people and for programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Data, and the template that shows it.

    Attributes:
        template: in ``templates``; it sees the data as ``data``.
        data: what the page shows: records, and whatever JSON can represent.
        title: a message, or the name of a thing.
        extra: what only the template needs.
    """

    template: str
    data: object
    title: str
    status: int = 200
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Data for programs alone, always as JSON."""

    data: object


@dataclass(frozen=True, kw_only=True, slots=True)
class Redirect:
    """Go on at another address of this site.

    Attributes:
        path: it begins with one slash.
        data: what a program gets instead.
    """

    path: str
    data: object = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """Go on at another site, whose address this page and not the visitor chose.

    Attributes:
        login: cookie of the login that begins there; "" for none.
    """

    url: str
    login: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entered:
    """A person has logged in; go on at another address of this site with a new session."""

    cookie: str
    path: str = "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """The session has ended."""

    path: str = "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """Server-sent events, each as its text; see ``dispatcher.page.streams``."""

    source: AsyncIterator[bytes]


Answer = View | Data | Redirect | Elsewhere | Entered | Left | Events


def local_path(path: str, default: str = "/") -> str:
    """A path of this site that a visitor gave, such as where to go after login; ``default`` if it
    could lead anywhere else.
    """
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else default
