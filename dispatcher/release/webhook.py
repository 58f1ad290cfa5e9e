"""What the webhook of an application needs: its secret, and how it requests a deploy."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dispatcher.errors import Misconfigured, reason_of
from dispatcher.release.application import Application
from dispatcher.release.env_file import values
from dispatcher.release.installation import request_file, secret_file, secret_name

STDIN = Path("-")
_LIMIT = 1024 * 1024


def secret_of(application: Application, env_file: Path | None = None) -> bytes:
    """The webhook's secret.

    Args:
        env_file: where it is; by default the service's env file; ``-`` for standard input, which the
            unit opens.

    Raises:
        Misconfigured: it is missing, or the file cannot be read.
    """
    name, place = secret_name(application.settings.app), env_file or secret_file(application)
    try:
        if place == STDIN:
            text = sys.stdin.buffer.read(_LIMIT)
        else:
            with place.open("rb") as file:
                text = file.read(_LIMIT)
    except OSError as error:
        raise Misconfigured(
            f"the webhook's secret cannot be read: {place}: {reason_of(error)}"
        ) from None
    shown = secret_file(application) if place == STDIN else place
    secret = values(text.decode("utf-8", errors="replace")).get(name, "")
    if not secret:
        raise Misconfigured(
            f"{shown} has no {name}",
            remedy="Set it to what the forge has, 16 bytes or more, such as from `openssl rand -hex 32`.",
        )
    return secret.encode()


def request(app: str, environ: Mapping[str, str] = os.environ) -> None:
    """Request a deploy: make the file that a path unit watches.

    It is in the directory that systemd made for the webhook's unit, and nothing else may be written by
    that unit.

    Raises:
        OSError: it cannot be made.
    """
    given = environ.get("RUNTIME_DIRECTORY")
    file = Path(given) / "requested" if given else request_file(app)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.close(descriptor)
