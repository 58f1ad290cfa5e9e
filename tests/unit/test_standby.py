"""Who waits here for the lead: known for as long as that process waits, and no longer."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.status.standby import NAME, Standby, StandbyFile, read


def test_whoever_waits_is_read_until_it_leads(tmp_path: Path) -> None:
    with StandbyFile(tmp_path) as file:
        assert read(tmp_path) is None
        file.event("waiting_for_lead", holder="beta:7")
        first = read(tmp_path)
        assert first is not None
        assert first.name.startswith(f"{socket.gethostname()}:")
        assert first.holder == "beta:7"
        file.event("waiting_for_lead", holder="b")
        assert read(tmp_path) == Standby(name=first.name, holder="b")
        file.event("leading", name="us")
        assert read(tmp_path) is None
        file.event("waiting_for_lead", holder="c")
        assert read(tmp_path) is not None
    assert read(tmp_path) is None


def test_of_several_the_first_is_shown(tmp_path: Path) -> None:
    with StandbyFile(tmp_path) as first, StandbyFile(tmp_path) as second:
        first.event("waiting_for_lead", holder="a")
        second.event("waiting_for_lead", holder="b")
        found = read(tmp_path)
        assert found is not None
        assert found.holder == "a"


def test_one_that_died_waits_no_more(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, dispatcher.status.standby as s; f = s.StandbyFile(pathlib.Path(sys.argv[1]));"
        "f.event('waiting_for_lead', holder='a'); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert read(tmp_path) is not None
        other.kill()
        other.wait()
    assert (tmp_path / NAME).read_bytes()
    assert read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "a"}'])
def test_nonsense_is_nobody(tmp_path: Path, text: str) -> None:
    with StandbyFile(tmp_path) as file:
        file.event("waiting_for_lead", holder="a")
        (tmp_path / NAME).write_text(text)
        assert read(tmp_path) is None


def test_a_disk_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with StandbyFile(tmp_path / "gone") as file:
        file.event("waiting_for_lead", holder="a")
        assert read(tmp_path / "gone") is None
