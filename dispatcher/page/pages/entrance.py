"""The entrance: the operator's one-time link, and logging out."""

from __future__ import annotations

from dispatcher.page.answers import Answer, Entered, Left
from dispatcher.page.language import mark
from dispatcher.page.operator_link import PATH
from dispatcher.page.problems import Problem, not_found
from dispatcher.page.protection import is_no_click
from dispatcher.page.routing import Page
from dispatcher.page.sessions import Person
from dispatcher.page.visit import Visit


def enter(visit: Visit) -> Answer:
    """Let in whoever has the link."""
    link = visit.site.link
    if link is None:
        raise not_found()
    if is_no_click(visit.request):
        raise Problem(status=503)
    if not link.redeem(visit.given("token")):
        raise Problem(
            status=403,
            what=mark("this link was used, or has been replaced by another"),
            remedy=mark("Use the last link on the terminal of 'disinto web'."),
        )
    session = visit.site.sessions.log_in(visit.session, operator())
    return Entered(cookie=visit.site.sessions.cookie(session))


def leave(visit: Visit) -> Answer:
    """End the session."""
    if visit.session is not None:
        visit.site.sessions.end(visit.session)
    return Left()


def operator() -> Person:
    """Who started this process, with the identity of their git."""
    import getpass

    from dispatcher.ops_repo.person import identity

    try:
        login = getpass.getuser()
    except (OSError, KeyError):
        login = "operator"
    name, email = identity() or ("", "")
    return Person(login=login, name=name, email=email, operator=True)


PAGES = (
    Page(
        path=f"{PATH}/{{token}}",
        name="enter",
        handler=enter,
        summary="Log in as the operator, by the one-time link.",
        public=True,
    ),
    Page(
        path="/leave",
        name="leave",
        handler=leave,
        method="POST",
        summary="Log out.",
        public=True,  # also if the forge cannot say who it was
    ),
)
