"""The runner's image, built from this checkout for tests, demo and bench.

``DISINTO_TEST_BASE`` names the base image (default ``python:3.12-slim``); ``DISINTO_TEST_IMAGE``
names an image that is there already, and then nothing is built.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TAG = "disinto:test"
_ROOT = Path(__file__).resolve().parents[2]


class NoImage(Exception):
    """It cannot be built here; the message ends with the last words of the build."""


def build() -> str:
    """Build the image; returns its name.

    Raises:
        NoImage: the base cannot be had, or a step failed.
    """
    given = os.environ.get("DISINTO_TEST_IMAGE")
    if given:
        return given
    base = os.environ.get("DISINTO_TEST_BASE", "python:3.12-slim")
    done = subprocess.run(
        ["docker", "build", "--quiet", "--build-arg", f"BASE={base}", "--tag", TAG, str(_ROOT)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        last = " ".join((done.stdout + done.stderr).split())[-120:]
        raise NoImage(f"the image of {base} does not build (DISINTO_TEST_BASE): {last}")
    return TAG
