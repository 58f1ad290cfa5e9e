"""Keeps out what no page of ours sent: foreign hosts, foreign origins, forms without their token.

And tells browsers what a page of ours may do: nothing inline, nothing from elsewhere, in no frame.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dispatcher.page.language import mark
from dispatcher.page.problems import Problem
from dispatcher.page.sessions import Person, Session
from dispatcher.page.site import Site

FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
FORM_TOKEN_HEADER = "x-form-token"  # noqa: S105 - the name of a header

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""The Content-Security-Policy. No code and no style inside a page, so that markup that slipped
through would be dead; and scripts cannot make markup of text."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer", browsers would send forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

LASTING = "public, max-age=31536000, immutable"
"""How long a file of ``static`` may be kept: its address changes with its content."""


class Protection:
    """ASGI middleware around all of the page.

    Args:
        lasting: the path below which answers may be kept by browsers; all else never is.
    """

    def __init__(self, app: ASGIApp, site: Site, *, lasting: str) -> None:
        self._app, self._site, self._lasting = app, site, lasting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kept = scope["path"].startswith(self._lasting)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.update(HEADERS)
                ok = message["status"] in (200, 304)
                headers["Cache-Control"] = LASTING if kept and ok else "no-store"
                if self._site.secure:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        if Headers(scope=scope).get("host", "").lower() not in self._site.hosts:
            await _misdirected(sending)
            return
        await self._app(scope, receive, sending)


async def _misdirected(send: Send) -> None:
    """The name was resolved to us by somebody else. Not even a page of errors is shown under it."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    text = (
        b"This address is not served here. Open the page by the address that it was set up with.\n"
    )
    await send({"type": "http.response.body", "body": text})


def bearer_token(request: Request) -> str | None:
    """The token of an API client; None if it sent none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def person_of_token(site: Site, token: str) -> Person:
    """Who an API client is.

    Raises:
        Problem: tokens are not taken here, or this one is nobody's.
    """
    person = await run_in_threadpool(site.bearer, token) if site.bearer is not None else None
    if person is None:
        raise Problem(
            status=401,
            what=mark("this token is not accepted"),
            remedy=mark("Send a token of the forge that may read the ops repo."),
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return person


def is_no_click(request: Request) -> bool:
    """Whether nobody is going to see the answer: a browser fetches it in advance, or a program looks what is
    there (``HEAD``). What works once is not used up by that.
    """
    return "prefetch" in request.headers.get("sec-purpose", "") or request.method == "HEAD"


def navigates(request: Request) -> bool:
    """Whether a person leads the browser to this address, from a page of ours or by the address bar: the
    browser loads it into a window, and no other site caused that, not even one of the same domain, such as a
    desktop, to which browsers send the cookie of the session as well. True for a program, which does not say.
    """
    headers = request.headers
    return (
        headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
    )


def check_form(
    request: Request,
    site: Site,
    session: Session | None,
    form: Mapping[str, object],
    *,
    by_token: bool,
) -> None:
    """Refuse what another site made a browser send. A bearer token is sent by no browser by itself.

    Raises:
        Problem: it does not come from a form of this session.
    """
    if by_token:
        return
    origin = request.headers.get("origin")
    if origin is not None and origin not in site.origins:
        raise Problem(
            status=403,
            what=mark("this form was sent by another site"),
            remedy=mark("Open the page here, and send it again."),
        )
    given = form.get(FORM_TOKEN) or request.headers.get(FORM_TOKEN_HEADER, "")
    if session is None or not site.sessions.form_token_is(session, str(given)):
        raise Problem(
            status=403,
            what=mark(
                "this form is no longer valid: its session has ended, or it was not made here"
            ),
            remedy=mark("Reload the page, and send it again."),
        )
