"""Starts the browser of the person at the terminal."""

from __future__ import annotations

import os
import tempfile
import webbrowser
from pathlib import Path

import click


def browse(url: str) -> None:
    """Start the browser, if there is a display. The address goes by a file that only we can read:
    everybody on this machine can read a browser's arguments.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the browser reads it later
        "w", prefix="disinto-", suffix=".html", delete=False
    )
    with file:
        file.write(f'<meta http-equiv="refresh" content="0; url={url}">\n')
    try:
        webbrowser.open(Path(file.name).as_uri())
    finally:
        # A browser that reads it later finds nothing; the link is on the terminal.
        click.get_current_context().call_on_close(lambda: Path(file.name).unlink(missing_ok=True))
