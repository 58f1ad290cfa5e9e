"""Deploys on a disk that is full: ``unshare -rm python -m tests.support.release_full_disk DIR``.

It needs a small file system, which it mounts in namespaces of its own; so it is a program.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dispatcher.errors import DisintoError
from dispatcher.release.outcome import Outcome
from tests.support.release_stage import GOOD, ReleaseStage
from tests.support.small_disks import mount_small

SIZE_MB = 8
ZEROS = "0" * (2 * SIZE_MB * 1_000_000)
"""More than the disk holds, and next to nothing in git."""


def main(directory: Path) -> None:
    root = directory / "shop"
    root.mkdir()
    mount_small(root, f"size={SIZE_MB}m")
    stage = ReleaseStage(directory)
    assert stage.deploy().outcome == Outcome.DEPLOYED
    in_checkout(stage)
    in_install(stage)
    from_the_start(stage)


def in_checkout(stage: ReleaseStage) -> None:
    """The checkout does not fit: git fails, and what it wrote is removed."""
    stage.push({"large": ZEROS})
    last = stage.tick()
    assert last.outcome == Outcome.ROLLED_BACK, last.message
    assert last.message.startswith("checkout: "), last.message
    stage.assert_on(stage.first, lib="1")
    assert stage.tick().outcome == Outcome.NOT_RETRIED, (
        "the failure is recorded as soon as it can be"
    )


def in_install(stage: ReleaseStage) -> None:
    """The new environment does not fit, and is removed."""
    (stage.work / "large").unlink()
    install = 'mkdir -p "$VIRTUAL_ENV" && cat /dev/zero > "$VIRTUAL_ENV/zeros"'
    stage.push({"install.sh": install})
    last = stage.tick()
    assert last.outcome == Outcome.ROLLED_BACK, last.message
    assert last.message.startswith("dependencies: "), last.message
    stage.assert_on(stage.first, lib="1")
    assert stage.tick().outcome == Outcome.NOT_RETRIED


def from_the_start(stage: ReleaseStage) -> None:
    """Nothing at all can be written: nothing is changed, and the services run on."""
    good = stage.push({**GOOD, "lib": "2"})
    ballast = stage.root / "ballast"
    with pytest.raises(OSError, match="No space left"):
        fill(ballast)
    with pytest.raises((DisintoError, OSError), match=r"(?i)no space|diskspace"):
        stage.tick()
    ballast.unlink()
    stage.assert_on(stage.first, lib="1")
    assert stage.tick().outcome == Outcome.DEPLOYED
    stage.assert_on(good, lib="2")


def fill(file: Path) -> None:
    """Write until nothing more fits."""
    with file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"0" * 4096)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
