"""The checks of ``disinto doctor`` for the web page as an application of the forge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

from dispatcher.host.private import open_to_others
from dispatcher.model.checks import Check, looked
from dispatcher.settings import Settings
from dispatcher.settings.web import LOGIN_BACK

_NEEDED = ("authlib", "babel", "starlette")


def missing_packages() -> list[str]:
    """Packages of the extra ``web`` that are not installed."""
    return [name for name in _NEEDED if find_spec(name) is None]


def check_web(settings: Settings, client_secret: Callable[[], str]) -> Iterator[Check]:
    """The client secret, and whether the forge accepts the application as it is configured; nothing if
    the page is none.

    Args:
        client_secret: reads it; raises ``DisintoError``.
    """
    web = settings.web
    if not web.client_id:
        return
    if missing := missing_packages():
        yield Check(
            name="web: packages",
            ok=False,
            detail=f"not installed: {', '.join(missing)}",
            remedy="Install them: pip install 'disinto-dispatcher[web]'",
        )
        return
    file = web.client_secret_file
    if file is not None and open_to_others(file):
        yield Check(
            name="web: client secret",
            ok=False,
            detail=f"{file} is readable by other accounts",
            remedy=f"Run: chmod 600 {file}",
        )
    yield from looked("web: forge", lambda: [_application(settings, client_secret())])


def _application(settings: Settings, secret: str) -> Check:
    """Sends a code that nobody was given: the forge says what it minds first, and the code is last."""
    from dispatcher.forge.oauth import OAuth, Refused

    web = settings.web
    uri = f"{web.origin_at(web.host_and_port[1])}{LOGIN_BACK}"
    oauth = OAuth(settings.forge, client_id=web.client_id, client_secret=secret, redirect_uri=uri)
    try:
        oauth.exchange("doctor-has-no-code", verifier="0" * 64)
    except Refused as refused:
        return _judged(settings, refused.code, refused.why, uri)
    return Check(name="web: forge", ok=False, detail="the forge accepted a code that it never gave")


def _judged(settings: Settings, code: str, why: str, uri: str) -> Check:
    words = why.lower()
    where = f"the application {settings.web.client_id} at {settings.forge.url}"
    if "redirect" in words:
        remedy = f"Register {uri} there as a redirect URI, or correct [web] origin."
        detail = f"{where} has another redirect URI than {uri}"
        return Check(name="web: forge", ok=False, detail=detail, remedy=remedy)
    if code == "invalid_grant" or "client is not authorized" in words:
        return Check(name="web: forge", ok=True, detail=f"{where} sends people back to {uri}")
    return Check(
        name="web: forge",
        ok=False,
        detail=f"the forge does not accept {where}: {why or code}",
        remedy="Correct [web] client_id and the client secret; OAuth2 must be enabled on the forge.",
    )
