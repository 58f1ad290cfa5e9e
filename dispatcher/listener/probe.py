"""``python3 -m dispatcher.listener.probe``: exits 0 if the ``serve`` that these settings describe is alive.

For supervisors that run a command, such as a container's health check. It requests ``/healthz`` from
the listener that the settings name; without a listener it exits 0.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping

from dispatcher.errors import DisintoError, reason_of
from dispatcher.settings import load_settings
from dispatcher.settings.addresses import reached_at

TIMEOUT_S = 5.0


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Probe once; returns the exit code, and prints on standard error why it is not 0."""
    try:
        listen = load_settings(None, environ).http.listen
    except DisintoError as error:
        return _unhealthy(str(error))
    if not listen:
        return 0
    connection = http.client.HTTPConnection(reached_at(listen), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        return _unhealthy(f"{listen} does not answer: {reason_of(error)}")
    finally:
        connection.close()
    return 0 if answer.status == 200 else _unhealthy(f"{listen} answered {answer.status}")


def _unhealthy(reason: str) -> int:
    sys.stderr.write(f"unhealthy: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
