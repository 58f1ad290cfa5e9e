"""What the dispatcher keeps is for its own account, whatever the umask, and whatever was before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

import pytest

from dispatcher.assembly import build_components
from dispatcher.errors import Misconfigured
from dispatcher.host.private import make_private
from dispatcher.ledger.sqlite import SqliteLedger
from dispatcher.model.checks import Check
from dispatcher.operate.doctor import Openers, diagnose
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import OpsRepoSettings, Role, Settings
from tests.contract.claims import claim
from tests.servers.git_remote import GitRemote

DATABASE_FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm")


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def open_to_all(state: Path) -> None:
    """As an older release left it, in a directory that an operator had made."""
    state.chmod(0o755)
    for entry in state.iterdir():
        entry.chmod(0o755 if entry.is_dir() else 0o644)


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_files_of_a_new_ledger_are_private(state: Path) -> None:
    ledger = SqliteLedger(state)
    ledger.claim(claim())
    assert {name: rights(state / name) for name in DATABASE_FILES} == dict.fromkeys(
        DATABASE_FILES, 0o600
    )
    assert rights(state) == 0o700
    ledger.close()


def test_the_files_of_a_ledger_that_was_there_are_taken_from_others(state: Path) -> None:
    before = SqliteLedger(state)
    before.claim(claim())
    open_to_all(state)
    now = SqliteLedger(state)
    assert len(now.open_runs()) == 1
    assert {name: rights(state / name) for name in DATABASE_FILES} == dict.fromkeys(
        DATABASE_FILES, 0o600
    )
    now.close()
    before.close()


def test_a_ledger_that_is_made_in_a_directory_of_before_closes_it(state: Path) -> None:
    state.mkdir(mode=0o755)
    ledger = SqliteLedger(state)
    ledger.claim(claim())
    ledger.close()
    assert rights(state) == 0o700


def test_a_new_clone_and_its_directory_are_private(state: Path, tmp_path: Path) -> None:
    remote = GitRemote(tmp_path / "remote.git")
    remote.commit({"README.md": b"ops\n"})
    repo = OpsRepo(git_dir=state / "ops.git", settings=OpsRepoSettings(remote=str(remote.path)))
    repo.fetch()
    repo.close()
    assert (rights(state), rights(state / "ops.git")) == (0o700, 0o700)


def test_a_dispatcher_closes_the_directory_of_before(state: Path, tmp_path: Path) -> None:
    (state / "ops.git").mkdir(parents=True)
    open_to_all(state)
    remote = GitRemote(tmp_path / "remote.git")
    ops_repo = OpsRepoSettings(remote=str(remote.path))
    build_components(Settings(state_dir=state, ops_repo=ops_repo)).repo.close()
    assert (rights(state), rights(state / "ops.git")) == (0o700, 0o700)


def test_a_link_to_the_directory_is_followed(state: Path, tmp_path: Path) -> None:
    state.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(state)
    make_private(link)
    assert rights(state) == 0o700


def test_what_others_need_is_not_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong ``state_dir`` must not close /tmp or a home directory."""
    sticky, home = tmp_path / "sticky", tmp_path / "home"
    sticky.mkdir()
    sticky.chmod(0o1777)
    home.mkdir(mode=0o755)
    monkeypatch.setenv("HOME", str(home))
    for directory in (sticky, home):
        before = rights(directory)
        make_private(directory)
        assert rights(directory) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may give a directory away")
def test_a_directory_of_somebody_else_is_left_to_them(state: Path) -> None:
    state.mkdir(mode=0o755)
    os.chown(state, 12345, -1)
    make_private(state)
    assert rights(state) == 0o755


# -- doctor ----------------------------------------------------------------------------------------


def never() -> NoReturn:
    raise Misconfigured("nothing is configured here")


def exposed(settings: Settings) -> list[Check]:
    openers = Openers(**{each.name: never for each in fields(Openers)})
    return [c for c in diagnose(settings, openers, {}) if "readable by others" in c.detail]


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_doctor_finds_a_directory_that_others_can_read(state: Path, mode: int) -> None:
    state.mkdir()
    state.chmod(mode)
    (check,) = exposed(Settings(state_dir=state))
    assert not check.ok
    assert f"chmod 700 {state}" in check.remedy


def test_doctor_has_nothing_to_say_of_a_private_one(state: Path) -> None:
    assert exposed(Settings(state_dir=state)) == []  # none yet
    state.mkdir(mode=0o700)
    assert exposed(Settings(state_dir=state)) == []
    state.chmod(0o755)
    assert exposed(Settings(state_dir=state, role=Role.AUTHOR)) == []  # holds no secret
