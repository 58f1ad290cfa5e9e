"""Whether bubblewrap can be used, where something is in its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.schedulers.local import sandbox
from dispatcher.settings import Settings


def bwrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Settings:
    """Settings, with a ``bwrap`` of our own on PATH."""
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return Settings(state_dir=tmp_path / "state")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'bwrap: no namespaces' >&2; exit 1", "bwrap: no namespaces"),
        ("exit 159", "it ended with 159 and said nothing"),
        ("kill -SYS $$", "it ended with -31 and said nothing"),
    ],
)
def test_what_does_not_start_is_not_used(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, reason = sandbox.find(bwrap(tmp_path, monkeypatch, script))
    assert found is None
    assert reason == f"bubblewrap cannot be used here: {why}"


def test_a_home_folder_out_of_reach_needs_no_hiding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``ProtectHome=`` of systemd, where not even its existence can be asked."""
    settings = bwrap(tmp_path, monkeypatch, "exit 0")
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    is_dir = Path.is_dir

    def guarded(path: Path) -> bool:
        if path.is_relative_to(home):
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", guarded)
    found, _ = sandbox.find(settings)
    assert found is not None
