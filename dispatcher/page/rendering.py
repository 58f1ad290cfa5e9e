"""Renders views: HTML by templates, in one of the languages, or JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic_core import to_jsonable_python
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from dispatcher import __version__
from dispatcher.model.names import is_id
from dispatcher.page import words
from dispatcher.page.answers import Answer, Data, Elsewhere, Entered, Events, Left, Redirect, View
from dispatcher.page.attempts import LASTS_S
from dispatcher.page.formatting import Formats
from dispatcher.page.language import NAMES, language
from dispatcher.page.problems import MEDIA_TYPE, Problem
from dispatcher.page.protection import FORM_TOKEN
from dispatcher.page.routing import Page
from dispatcher.page.sessions import LONGEST_S
from dispatcher.page.site import Site
from dispatcher.page.streams import EventResponse
from dispatcher.page.visit import (
    LANGUAGE_COOKIE,
    LANGUAGE_QUERY,
    Visit,
    cookie_name,
    login_cookie_name,
)

HERE = Path(__file__).parent
STATIC = HERE / "static"
TEMPLATES = HERE / "templates"

LANGUAGE_S = 365 * 86_400
"""Seconds for which a browser remembers the language."""


def static_path() -> str:
    """Where the files of ``static`` are served: a path that changes with any of them."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"/static/{digest.hexdigest()[:16]}"


class Renderer:
    """Makes responses of answers. Thread-safe.

    Args:
        pages: for the navigation.
    """

    def __init__(self, site: Site, pages: Sequence[Page]) -> None:
        self._site = site
        self.static = static_path()
        self._navigation = sorted((p for p in pages if p.label), key=lambda page: page.order)
        self._environments = {code: _environment(code, site.clock) for code in NAMES}

    def respond(self, visit: Visit, answer: Answer) -> Response:
        """The response to a visit."""
        response: Response
        match answer:
            case View():
                response = self._view(visit, answer)
            case Data(data=data):
                response = _json(data)
            case Redirect(path=path, data=data):
                response = self._redirect(visit, path, data)
            case Entered(path=path, cookie=cookie):
                response = self._redirect(visit, path, {"logged_in": True})
                self._set_cookie(response, cookie_name(self._site), cookie, int(LONGEST_S))
                self._delete_cookie(response, login_cookie_name(self._site))
            case Left(path=path):
                response = self._redirect(visit, path, {"logged_in": False})
                self._delete_cookie(response, cookie_name(self._site))
            case Elsewhere(url=url, login=login):
                response = RedirectResponse(url, status_code=302)
                if login:
                    self._set_cookie(response, login_cookie_name(self._site), login, LASTS_S)
            case Events(source=source):
                known = visit.known
                return EventResponse(
                    source,
                    self._site.streams,
                    allowed=visit.still_allowed if known is not None else None,
                    person=known.login.lower() if known and not known.operator else "",
                )
        return self._remember(visit, response)

    def problem(self, visit: Visit, problem: Problem) -> Response:
        """The response to a visit that cannot be answered."""
        details = problem.to_json()
        headers = dict(problem.headers)
        if visit.as_json:
            return _json(details, problem.status, headers, media_type=MEDIA_TYPE)
        view = View(
            template="problem.html",
            data=details,
            title=str(details["title"]),
            status=problem.status,
            extra={"problem": problem, "entrances": self._site.entrances},
        )
        response = self._view(visit, view)
        response.headers.update(headers)
        return self._remember(visit, response)

    def _view(self, visit: Visit, view: View) -> Response:
        if visit.as_json:
            return _json(view.data, view.status)
        environment = self._environments[visit.language.code]
        html = environment.get_template(view.template).render(
            **self._context(visit), title=view.title, data=view.data, **view.extra
        )
        return HTMLResponse(html.encode("utf-8", "replace"), view.status)

    def _redirect(self, visit: Visit, path: str, data: object) -> Response:
        if visit.as_json:
            return _json(data, headers={"Location": path})
        return RedirectResponse(path, status_code=303)

    def _remember(self, visit: Visit, response: Response) -> Response:
        """Have the browser remember a language that was asked for by an address."""
        response.headers["Vary"] = "Accept, Accept-Language, Cookie"
        response.headers["Content-Language"] = visit.language.code
        if visit.query(LANGUAGE_QUERY) == visit.language.code:
            self._set_cookie(response, LANGUAGE_COOKIE, visit.language.code, LANGUAGE_S)
        return response

    def _set_cookie(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            name, value, max_age=seconds, httponly=True, samesite="lax", secure=self._site.secure
        )

    def _delete_cookie(self, response: Response, name: str) -> None:
        response.delete_cookie(name, secure=self._site.secure, httponly=True, samesite="lax")

    def _context(self, visit: Visit) -> Mapping[str, object]:
        session = visit.session
        return {
            "visit": visit,
            "person": visit.known,
            "language": visit.language,
            "languages": NAMES,
            "language_query": LANGUAGE_QUERY,
            "navigation": self._navigation,
            "static": self.static,
            "form_token_name": FORM_TOKEN,
            "form_token": self._site.sessions.form_token(session) if session else "",
            "version": __version__,
            "shown": visit.shown,
        }


@cache
def _environment(code: str, clock: Callable[[], float]) -> Environment:
    """The templates in one language; compiled once in a process."""
    of = language(code)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        of.texts.gettext, of.texts.ngettext, newstyle=True
    )
    environment.filters.update(Formats(of, clock).filters())
    environment.filters.update(words.filters(of))
    environment.filters["json_text"] = _json_text
    environment.filters["is_id"] = is_id
    return environment


def _json_text(value: object) -> str:
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: object) -> Any:
    """As JSON can represent it: some of it was written by others, who can write what no JSON has."""
    return to_jsonable_python(value, inf_nan_mode="null")


class _Json(JSONResponse):
    """One that no text keeps from being sent."""

    def render(self, content: Any) -> bytes:
        """The body; a lone surrogate becomes a question mark."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def _json(
    data: object,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    media_type: str | None = None,
) -> Response:
    return _Json(_plain(data), status, headers, media_type=media_type)
