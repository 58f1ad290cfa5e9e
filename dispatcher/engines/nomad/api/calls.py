"""The base of the groups of methods of ``NomadApi``: how a call is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, cast

import httpx

from dispatcher.engines.nomad.api.admin import Admin
from dispatcher.engines.nomad.api.connection import Connection, body
from dispatcher.engines.nomad.api.errors import NotFound
from dispatcher.engines.nomad.api.shapes import Json
from dispatcher.engines.nomad.settings import NomadSettings

PAGE = 1_000
"""Entries requested per page of a list that may be long."""


class Calls:
    """A connection, and answers as JSON."""

    def __init__(
        self,
        settings: NomadSettings,
        environ: Mapping[str, str],
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(settings, environ, transport)
        self._admin = Admin(self._connection)

    @property
    def calls(self) -> Counter[str]:
        """How many requests were made, by endpoint; only ever grows."""
        return self._connection.calls

    @property
    def addr(self) -> str:
        """The configured address."""
        return self._connection.addr

    @property
    def namespace(self) -> str:
        """The namespace of every call."""
        return self._connection.namespace

    def close(self) -> None:
        """Close the pool; streams that are open end."""
        self._connection.close()

    def _json(self, method: str, path: str, *, endpoint: str, doing: str, **more: Any) -> Any:
        answer = self._connection.request(method, path, endpoint=endpoint, doing=doing, **more)
        return body(answer, doing=doing)

    def _json_or_none(self, path: str, *, endpoint: str, doing: str) -> Json | None:
        try:
            return cast(Json, self._json("GET", path, endpoint=endpoint, doing=doing))
        except NotFound:
            return None

    def _pages(
        self, path: str, *, endpoint: str, doing: str, params: Mapping[str, Any]
    ) -> Iterable[Json]:
        token: str | None = None
        while True:
            answer = self._connection.request(
                "GET",
                path,
                endpoint=endpoint,
                doing=doing,
                params={**params, "per_page": PAGE, "next_token": token},
            )
            yield from body(answer, doing=doing) or []
            token = answer.headers.get("X-Nomad-NextToken")
            if not token:
                return
