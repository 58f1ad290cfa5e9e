"""The OpenAPI document of the page, made from the declarations of its pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from dispatcher import __version__
from dispatcher.page.problems import MEDIA_TYPE, TITLES
from dispatcher.page.protection import FORM_TOKEN_HEADER
from dispatcher.page.routing import Page
from dispatcher.page.sessions import COOKIE

VERSION = "3.1.0"
_PARAMETER = re.compile(r"{(\w+)}")

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "remedy"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "remedy": {"type": "string", "description": "What can be done."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def document(
    pages: Sequence[Page], *, cookie: str = COOKIE, tokens: bool = False
) -> dict[str, Any]:
    """The document. Each page is described at its address as JSON.

    Args:
        cookie: name of the session's cookie.
        tokens: whether bearer tokens are taken.
    """
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, Any] = {}
    for page in pages:
        plain = page.stream or page.leads_away or page.method != "GET"
        path = page.path if plain else page.json_path
        paths.setdefault(path, {})[page.method.lower()] = _operation(page, schemas, tokens=tokens)
    return {
        "openapi": VERSION,
        "info": {"title": "disinto", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Problem": {
                    "description": "The request cannot be answered.",
                    "content": {MEDIA_TYPE: {"schema": _reference("Problem")}},
                }
            },
            "securitySchemes": _schemes(cookie, tokens=tokens),
        },
        "security": _ways(tokens=tokens, writes=False),
    }


def _schemes(cookie: str, *, tokens: bool) -> dict[str, Any]:
    """The ways to prove who one is."""
    token = {
        "type": "http",
        "scheme": "bearer",
        "description": "A personal access token of the forge, with the scopes read:user and "
        "read:repository; to send something also write:repository.",
    }
    form = {
        "type": "apiKey",
        "in": "header",
        "name": FORM_TOKEN_HEADER,
        "description": "The token of the session's forms, besides its cookie.",
    }
    return {
        **({"token": token} if tokens else {}),
        "session": {"type": "apiKey", "in": "cookie", "name": cookie},
        "form": form,
    }


def _ways(*, tokens: bool, writes: bool) -> list[dict[str, list[str]]]:
    """What suffices: a token, or a session, which needs the token of its forms to change something."""
    session: dict[str, list[str]] = {"session": [], "form": []} if writes else {"session": []}
    return [*([{"token": list[str]()}] if tokens else []), session]


def _operation(page: Page, schemas: dict[str, Any], *, tokens: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": page.name,
        "summary": page.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(page.path)
        ]
        + [
            {"name": name, "in": "query", "description": what, "schema": {"type": "string"}}
            for name, what in page.query.items()
        ],
        "responses": {
            **_success(page, schemas),
            **{
                str(status): {"$ref": "#/components/responses/Problem"}
                for status in TITLES
                if status in (401, 403, 404, 409, 422, 429, 503, *page.statuses)
            },
        },
    }
    if page.asks is not None:
        content = {"application/json": {"schema": _described(page.asks, schemas)}}
        operation["requestBody"] = {"required": True, "content": content}
    if page.method != "GET":
        operation["security"] = _ways(tokens=tokens, writes=True)
    elif page.public:
        operation["security"] = []
    return operation


def _success(page: Page, schemas: dict[str, Any]) -> dict[str, Any]:
    if not page.leads_away:
        return {"200": _answer(page, schemas)}
    location = {"description": "Where to go.", "schema": {"type": "string", "format": "uri"}}
    return {"302": {"description": page.summary, "headers": {"Location": location}}}


def _answer(page: Page, schemas: dict[str, Any]) -> dict[str, Any]:
    if page.stream:
        return {"description": page.summary, "content": {"text/event-stream": {}}}
    schema: dict[str, Any] = {"type": "object"}
    if page.answer is not None:
        schema = _described(page.answer, schemas)
    return {"description": page.summary, "content": {"application/json": {"schema": schema}}}


def _described(kind: type, schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to the schema of a type, which is added to the others."""
    described, parts = _schema(kind)
    schemas.update({kind.__name__: described, **parts})
    return _reference(kind.__name__)


@cache
def _schema(answer: type) -> tuple[dict[str, Any], dict[str, Any]]:
    whole = TypeAdapter(answer).json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    parts = whole.pop("$defs", {})
    return whole, parts


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
