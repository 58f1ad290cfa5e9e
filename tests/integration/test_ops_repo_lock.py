"""Who keeps the clone locked, and is it any use to wait?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.errors import Unavailable
from dispatcher.ops_repo import OpsRepo
from dispatcher.ops_repo.holders import holder_of
from dispatcher.settings import OpsRepoSettings
from tests.servers.freeze import freeze
from tests.servers.git_remote import GitRemote

HOLD = """
import fcntl, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""

HAND_ON = """
import fcntl, subprocess, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
child = subprocess.Popen(["sleep", "601"], pass_fds=[lock.fileno()], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
"""


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n"})
    return made


@pytest.fixture
def lock(tmp_path: Path, remote: GitRemote) -> Path:
    """The lock file of a clone that is there."""
    repo = clone(tmp_path, remote, timeout_s=20)
    repo.fetch()
    repo.close()
    return tmp_path / "clone.git.lock"


def clone(tmp_path: Path, remote: GitRemote, *, timeout_s: float) -> OpsRepo:
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=timeout_s)
    return OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)


@contextmanager
def held(lock: Path, code: str = HOLD) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process holds the lock; with what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def test_a_stopped_holder_is_named_without_waiting_for_it(
    tmp_path: Path, remote: GitRemote, lock: Path
) -> None:
    """The limit is longer than any test may take."""
    repo = clone(tmp_path, remote, timeout_s=3600)
    with held(lock) as (process, _):
        freeze(process.pid)
        with pytest.raises(Unavailable) as failed:
            repo.fetch()
        assert f"process {process.pid} (" in failed.value.what
        assert sys.executable in failed.value.what
        assert "is stopped" in failed.value.what
        assert f"kill -CONT {process.pid}" in (failed.value.remedy or "")
    assert repo.fetch().commit == remote.head
    repo.close()


def test_a_holder_at_work_is_waited_for_and_then_named(
    tmp_path: Path, remote: GitRemote, lock: Path
) -> None:
    repo = clone(tmp_path, remote, timeout_s=0.2)
    with held(lock) as (process, _):
        named = rf"process {process.pid} \(.* keeps the clone"
        with pytest.raises(Unavailable, match=named):
            repo.fetch()
    assert repo.fetch().commit == remote.head
    repo.close()


def test_a_child_that_inherited_the_lock_is_the_holder(lock: Path) -> None:
    """As the git of a dispatcher that was killed."""
    with held(lock, HAND_ON) as (process, child):
        process.wait()
        fd = os.open(lock, os.O_RDWR)
        try:
            found = holder_of(fd)
            assert found is not None
            assert (found.pid, found.command, found.stopped) == (int(child), "sleep 601", False)
        finally:
            os.close(fd)
            os.kill(int(child), signal.SIGKILL)


def test_one_that_only_has_the_file_open_is_no_holder(lock: Path) -> None:
    code = HOLD.replace("fcntl.flock(lock, fcntl.LOCK_EX)", "pass")
    with held(lock, code):
        fd = os.open(lock, os.O_RDWR)
        assert holder_of(fd) is None
        os.close(fd)
