"""What one formula in bubblewrap leaves for a later one, other than by a mount: nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_local_hiding import place, run, settings_of

__all__ = ["place"]

pytestmark = pytest.mark.needs("bwrap")

KINDS = {"shm": ("-M", "64"), "msg": ("-Q",), "sem": ("-S", "1")}


def identifiers(kind: str) -> set[str]:
    """Those of this machine."""
    lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """A kind of System V IPC; what a test makes of it outside of a sandbox is removed."""
    name = str(request.param)
    before = identifiers(name)
    yield name
    for left in identifiers(name) - before:
        subprocess.run(["ipcrm", f"-{KINDS[name][0][1].lower()}", left], check=True)


def test_system_v_ipc_ends_with_its_run(place: Path, kind: str) -> None:
    settings = settings_of(place)
    table = f"tail -n +2 /proc/sysvipc/{kind}"
    made = run(settings, f"ipcmk {' '.join(KINDS[kind])} >&2 && {table}")
    assert len(made.splitlines()) >= 2, "made, and seen by whoever made it"
    assert run(settings, table) == ""


def test_system_v_ipc_of_the_machine_is_not_seen(place: Path, kind: str) -> None:
    subprocess.run(["ipcmk", *KINDS[kind]], check=True, capture_output=True)
    assert identifiers(kind)
    assert run(settings_of(place), f"tail -n +2 /proc/sysvipc/{kind}") == ""


def test_posix_shared_memory_ends_with_its_run(place: Path) -> None:
    settings = settings_of(place)
    assert run(settings, "echo left > /dev/shm/left; ls /dev/shm") == "left\n"
    assert run(settings, "ls /dev/shm") == ""
