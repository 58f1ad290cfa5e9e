"""``python3 -m dispatcher.page.probe``: exits 0 if the page in this container answers.

For the health check of a container that runs ``disinto web`` with ``DISINTO_WEB__LISTEN`` and
``DISINTO_WEB__ORIGIN`` in its environment. It asks for ``/health`` by the page's own name, because no other is
served. Everything but an error of the server counts: what is behind the page, such as the forge, is not the
container's health. It runs every few seconds, so it must not load the settings, which takes longer than all else.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

TIMEOUT_S = 25.0
"""Less than the health check's own limit, which ends a probe without a reason. A page that answers slowly is
healthy: to be restarted would make it slower.
"""

_MISDIRECTED = 421


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Probe once; returns the exit code, and prints on standard error why it is not 0."""
    listen = environ.get("DISINTO_WEB__LISTEN", "")
    port = listen.rpartition(":")[2]
    if not (port.isascii() and port.isdigit()):
        return _unhealthy("DISINTO_WEB__LISTEN is not host:port")
    host = urlsplit(environ.get("DISINTO_WEB__ORIGIN", "")).netloc or f"127.0.0.1:{port}"
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health", headers={"Host": host})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return _unhealthy(f"port {port} does not answer: {type(error).__name__}")
    finally:
        connection.close()
    if status >= 500 or status == _MISDIRECTED:
        return _unhealthy(f"port {port} answered {status} to {host}")
    return 0


def _unhealthy(reason: str) -> int:
    sys.stderr.write(f"unhealthy: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
