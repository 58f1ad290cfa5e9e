"""``python -m dispatcher.release machines``, which the formula of ``actions/release`` starts."""

from __future__ import annotations

import os
import sys

from dispatcher.provision.params import path_of, read_params
from dispatcher.provision.program import run_program
from dispatcher.provision.reporting import FileReporter
from dispatcher.provision.waiting import SystemClock
from dispatcher.release.machines import ReleaseParams, release, ssh


def machines(clock: SystemClock) -> None:
    """Deploy on the machines that the params name."""
    environ = os.environ
    reporter = FileReporter(
        progress_path=path_of(environ, "DISINTO_PROGRESS"),
        outputs_path=path_of(environ, "DISINTO_OUTPUTS"),
    )
    release(read_params(ReleaseParams, environ), ssh, reporter, clock)


if __name__ == "__main__":
    sys.exit(run_program("dispatcher.release", {"machines": machines}, sys.argv[1:], undone=()))
