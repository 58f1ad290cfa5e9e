"""The application: all pages, and what surrounds them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dispatcher.errors import DisintoError
from dispatcher.page.problems import Problem, defect, not_found, of_error
from dispatcher.page.protection import Protection
from dispatcher.page.rendering import STATIC, Renderer
from dispatcher.page.routing import Page, all_pages
from dispatcher.page.site import Site
from dispatcher.page.visit import Visit, begin, language_of, wants_json

Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(site: Site, pages: Sequence[Page] | None = None) -> Starlette:
    """The application of a site.

    Args:
        pages: all there are by default.
    """
    pages = all_pages() if pages is None else pages
    renderer = Renderer(site, pages)
    errors = _Errors(site, renderer)
    routes: list[BaseRoute] = [
        Mount(renderer.static, StaticFiles(directory=STATIC)),
        *(route for page in pages for route in _routes(page, site, renderer, errors)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Protection, site=site, lasting=f"{renderer.static}/")],
        exception_handlers={HTTPException: errors.of_routing},
    )


def _routes(page: Page, site: Site, renderer: Renderer, errors: _Errors) -> Sequence[Route]:
    async def endpoint(request: Request) -> Response:
        try:
            visit = await begin(request, site, page)
            answer = await run_in_threadpool(page.handler, visit)
            return await run_in_threadpool(renderer.respond, visit, answer)
        except Exception as error:  # noqa: BLE001 - every error becomes a page
            return await run_in_threadpool(errors.response, request, error)

    # The address with the ending comes first, or else it would be an id of the other.
    paths = [page.path] if page.stream else list(dict.fromkeys((page.json_path, page.path)))
    return [Route(path, endpoint, methods=[page.method]) for path in paths]


class _Errors:
    """Makes responses of what went wrong."""

    def __init__(self, site: Site, renderer: Renderer) -> None:
        self._site, self._renderer = site, renderer

    def response(self, request: Request, error: Exception) -> Response:
        match error:
            case Problem():
                problem = error
            case DisintoError():
                problem = of_error(error)
            case _:
                problem = defect()
                self._site.event("defect", where=request.url.path, error=error)
        return self._renderer.problem(self._visit(request), problem)

    async def of_routing(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        problem = not_found() if error.status_code == 404 else Problem(status=error.status_code)
        problem.headers = dict(error.headers or {})
        return await run_in_threadpool(self.response, request, problem)

    def _visit(self, request: Request) -> Visit:
        from dispatcher.page.visit import cookie_name

        session = self._site.sessions.find(request.cookies.get(cookie_name(self._site), ""))
        return Visit(
            site=self._site,
            request=request,
            language=language_of(request),
            as_json=wants_json(request),
            session=session,
            known=session.person if session else None,
        )
