"""One request: who it is from, in which language, and what it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from dispatcher.errors import TemporaryError
from dispatcher.page import attempts
from dispatcher.page.json_object import read_object
from dispatcher.page.language import Language, chosen, mark
from dispatcher.page.people import too_often
from dispatcher.page.problems import FieldError, Problem
from dispatcher.page.protection import bearer_token, check_form, person_of_token
from dispatcher.page.routing import JSON_ENDING, Page, is_for_programs
from dispatcher.page.sessions import COOKIE, Person, Session
from dispatcher.page.site import Site

LANGUAGE_COOKIE = "disinto_language"
LANGUAGE_QUERY = "lang"

CHECK, SEND = "check", "send"
STEPS = (CHECK, SEND)
"""What a program may want of an action: to see it, or to send it."""

BODY_LIMIT = 1024 * 1024
"""Bytes of a form."""

BODY_S = 20.0
"""Seconds in which a form must arrive."""

MOST_FIELDS = 1_000


@dataclass(kw_only=True)
class Visit:
    """One request.

    Attributes:
        form: the fields of a form, or of a JSON object, that was sent; lists and objects only of JSON.
        as_json: whether a program asks.
        shown: the version of what is shown, or an older one; see ``Live.version``.
    """

    site: Site
    request: Request
    language: Language
    as_json: bool
    session: Session | None = None
    known: Person | None = None
    shown: str = ""
    form: Mapping[str, object] = field(default_factory=dict)

    @property
    def person(self) -> Person:
        """Who is logged in.

        Raises:
            Problem: nobody is.
        """
        if self.known is None:
            raise Problem(status=401, headers={"WWW-Authenticate": "Bearer"})
        return self.known

    @property
    def path(self) -> str:
        """Of the address, without query."""
        return self.request.url.path

    async def still_allowed(self) -> bool | None:
        """Whether the visitor may still see what a stream sends; None if that cannot be told now."""
        token, session = bearer_token(self.request), self.session
        try:
            if token is not None:
                await person_of_token(self.site, token)
                return True
            if session is None or not self.site.sessions.lasts(session):
                return False
            return await run_in_threadpool(self.site.confirm, session) is not None
        except Problem as problem:
            return None if problem.status in (429, 503) else False
        except TemporaryError:
            return None

    def given(self, name: str) -> str:
        """A part of the path, such as an id."""
        return str(self.request.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        """A value of the query."""
        return self.request.query_params.get(name, default)

    def field(self, name: str, default: str = "") -> str:
        """A text field of the form that was sent."""
        value = self.form.get(name, default)
        return value if isinstance(value, str) else default

    def asked(self, name: str, known: Collection[str] = ()) -> str:
        """A text of the form that decides what is done; "" if it was not sent.

        Args:
            known: what it may be; anything, if there is none.

        Raises:
            Problem: 422, it is no text, or another one: to pass over it would do what was not asked for.
        """
        value = self.form.get(name, "")
        if isinstance(value, str) and (not known or value in ("", *known)):
            return value
        message = f"one of: {', '.join(known)}" if known else "a text"
        raise Problem(
            status=422,
            what=mark("some of what you entered is not right; nothing was sent"),
            errors=[FieldError(field=name, message=message)],
        )


def wants_json(request: Request) -> bool:
    """Whether a program asks: by the address, or because it prefers JSON to HTML."""
    path = request.url.path
    if path.endswith(JSON_ENDING) or is_for_programs(path):
        return True
    accepted = request.headers.get("accept", "")
    html, plain = accepted.find("text/html"), accepted.find("json")
    return plain >= 0 and (html < 0 or plain < html)


def language_of(request: Request) -> Language:
    """The language to answer in."""
    return chosen(
        request.query_params.get(LANGUAGE_QUERY, ""),
        request.cookies.get(LANGUAGE_COOKIE, ""),
        request.headers.get("accept-language", ""),
    )


def cookie_name(site: Site) -> str:
    """Of the session. By https its prefix keeps other hosts of the domain from setting it."""
    return f"__Host-{COOKIE}" if site.secure else COOKIE


def login_cookie_name(site: Site) -> str:
    """Of a login under way."""
    return f"__Host-{attempts.COOKIE}" if site.secure else attempts.COOKIE


async def begin(request: Request, site: Site, page: Page) -> Visit:
    """The visit of a request that may be answered.

    Raises:
        Problem: it may not.
    """
    visit = Visit(
        site=site,
        request=request,
        language=language_of(request),
        as_json=wants_json(request),
        session=site.sessions.find(request.cookies.get(cookie_name(site), "")),
        shown=site.live.version if site.live is not None else "",
    )
    token = bearer_token(request)
    if token is not None:
        visit.session, visit.known = None, await person_of_token(site, token)
    elif visit.session is not None:
        visit.known = (
            visit.session.person
            if page.public  # whoever leaves need not be confirmed
            else await run_in_threadpool(site.confirm, visit.session)
        )
    writes = page.method not in ("GET", "HEAD")
    if not page.public:
        wait_s = site.wait_s(visit.person, writes=writes)
        if wait_s:
            raise too_often(wait_s)
    if writes:
        visit.form = await _form(request)
        check_form(visit.request, site, visit.session, visit.form, by_token=token is not None)
    return visit


async def _form(request: Request) -> Mapping[str, object]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _body(request)
    try:
        form = _fields(kind, body)
    except (ValueError, RecursionError):
        form = None
    if form is None:
        raise Problem(
            status=400,
            what=mark("the form cannot be read"),
            remedy=mark("Send fields as a form, or a JSON object, in UTF-8."),
        )
    return form


def _fields(kind: str, body: bytes) -> Mapping[str, object] | None:
    """The fields of a body; None if it is something else.

    Raises:
        ValueError, RecursionError: it is malformed.
    """
    if not body:
        return {}
    if kind == "application/json":
        return read_object(body)
    if kind == "application/x-www-form-urlencoded":
        text = body.decode("ascii")
        return dict(
            parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
        )
    return None


async def _body(request: Request) -> bytes:
    """The body of a request, which must be small and arrive in time."""
    too_large = Problem(
        status=413,
        what=mark("a form may have at most %(limit)s bytes"),
        values={"limit": BODY_LIMIT},
        headers={"Connection": "close"},
    )
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_LIMIT:
                    raise too_large
    except (TimeoutError, ClientDisconnect):
        raise Problem(status=408, headers={"Connection": "close"}) from None
    return bytes(body)
