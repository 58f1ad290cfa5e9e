"""Logging in with the forge: to it by a link, and back from it with a code (OAuth2, PKCE)."""

from __future__ import annotations

from dispatcher.page.answers import Answer, Elsewhere, Entered, local_path
from dispatcher.page.language import mark
from dispatcher.page.people import People, not_begun_here
from dispatcher.page.problems import Problem, not_found
from dispatcher.page.routing import Page
from dispatcher.page.site import Entrance
from dispatcher.page.visit import Visit, login_cookie_name
from dispatcher.settings.web import LOGIN_BACK

PATH = "/login/forge"

ENTRANCE = Entrance(path=PATH, label=mark("Log in with your account on the forge"))


def log_in(visit: Visit) -> Answer:
    """Send a person to the forge."""
    people = _people(visit)
    url, attempt = people.begin(local_path(visit.query("next", "/")))
    return Elsewhere(url=url, login=attempt.cookie)


def back(visit: Visit) -> Answer:
    """Let in whom the forge sent back."""
    people = _people(visit)
    cookie = visit.request.cookies.get(login_cookie_name(visit.site), "")
    if cookie and not visit.query("code"):
        raise Problem(
            status=403,
            what=mark("the forge did not authorize this page"),
            remedy=mark(
                "Start again from the overview, and authorize the application on the forge."
            ),
        )
    if not cookie:
        raise not_begun_here()
    entry = people.finish(
        visit.session, cookie=cookie, state=visit.query("state"), code=visit.query("code")
    )
    return Entered(cookie=visit.site.sessions.cookie(entry.session), path=local_path(entry.path))


def _people(visit: Visit) -> People:
    if visit.site.people is None:
        raise not_found()
    return visit.site.people


PAGES = (
    Page(
        path=PATH,
        name="login",
        handler=log_in,
        summary="Log in at the forge.",
        leads_away=True,
        public=True,
    ),
    Page(
        path=LOGIN_BACK,
        name="logged_in",
        handler=back,
        summary="Come back from the forge, logged in.",
        public=True,
    ),
)
