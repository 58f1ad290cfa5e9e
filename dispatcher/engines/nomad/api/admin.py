"""The administrative calls, shaped by python-nomad and sent through our connection.

python-nomad's endpoints take a ``requests.Session`` from outside. The session passed here only
looks like one: it hands the request to ``Connection``, which adds namespace, region and token,
checks certificates, counts, and raises our errors.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from dispatcher.engines.nomad.api.connection import Connection


class Admin:
    """python-nomad's endpoints, each created for one call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def endpoint(self, name: str, *, counted: str, doing: str) -> Any:
        """``nomad.api.<name>``, such as ``Jobs``, on our connection."""
        import nomad.api  # imports requests, which a dispatch does not need

        session = _Session(self._connection, counted=counted, doing=doing)
        return getattr(nomad.api, name)(address="", session=session)


class _Session:
    """The four verbs that python-nomad calls on a session."""

    def __init__(self, connection: Connection, *, counted: str, doing: str) -> None:
        self._connection = connection
        self._counted = counted
        self._doing = doing

    def get(self, **request: Any) -> _Response:
        return self._send("GET", request)

    def post(self, **request: Any) -> _Response:
        return self._send("POST", request)

    def put(self, **request: Any) -> _Response:
        return self._send("PUT", request)

    def delete(self, **request: Any) -> _Response:
        return self._send("DELETE", request)

    def _send(self, method: str, request: dict[str, Any]) -> _Response:
        # Its headers, TLS and timeout are python-nomad's defaults; ours are the connection's.
        return _Response(
            self._connection.request(
                method,
                urlsplit(request["url"]).path.removeprefix("/v1/"),
                endpoint=self._counted,
                doing=self._doing,
                params=request.get("params"),
                json=request.get("json"),
            )
        )


class _Response:
    """The part of a response that python-nomad reads."""

    ok = True  # errors were raised before

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status_code = response.status_code
        self.text = response.text

    def json(self) -> Any:
        return self._response.json() if self._response.content else None
