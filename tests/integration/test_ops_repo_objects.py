"""The process that reads objects: what it answers, and what becomes of one that does not answer. And the
directories that are kept so that it need not be asked for them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from dispatcher.ops_repo import NewFile, OpsRepo, objects
from dispatcher.ops_repo.failure import GitFailed
from dispatcher.ops_repo.objects import Objects
from tests.servers.git_remote import GitRemote
from tests.support.clone import at_head as repo

__all__ = ["repo"]

pytestmark = pytest.mark.needs("git")

ACTION = "vault/actions/x.toml"
LARGE = bytes(range(256)) * 4_000
"""More than a pipe holds, with line ends in it."""


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"large": LARGE, "empty": b"", ACTION: b"x\n"})
    return made


@pytest.fixture
def reading(repo: OpsRepo) -> Objects:
    return repo._clone.objects


def oid(remote: GitRemote, path: str) -> str:
    return remote.git("rev-parse", f"main:{path}")


@pytest.mark.parametrize("piece", [objects._PIECE, 3])
def test_objects_are_read_whole_whatever_is_in_them(
    reading: Objects, remote: GitRemote, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """And in whatever pieces they arrive."""
    monkeypatch.setattr(objects, "_PIECE", piece)
    oids = {path: oid(remote, path) for path in ("large", "empty", ACTION)}
    for _ in range(2):  # nothing of an answer is left over
        contents = reading.contents(oids.values())
        assert contents[oids["large"]] == LARGE
        assert contents[oids["empty"]] == b""
        assert contents[oids[ACTION]] == b"x\n"
        infos = reading.info([oids["large"], "0" * 40, oids["empty"]])
        assert [info and (info.kind, info.size) for info in infos] == [
            ("blob", len(LARGE)),
            None,
            ("blob", 0),
        ]


def test_more_objects_than_are_asked_for_at_once_are_read(
    reading: Objects, remote: GitRemote
) -> None:
    names = [oid(remote, "large"), oid(remote, "empty")] * objects.CHUNK
    assert [info and info.size for info in reading.info(names)] == [len(LARGE), 0] * objects.CHUNK


def test_an_object_that_is_missing_ends_the_conversation(
    reading: Objects, remote: GitRemote
) -> None:
    with pytest.raises(GitFailed, match="missing object"):
        reading.contents(["0" * 40, oid(remote, "large")])
    assert reading.contents([oid(remote, ACTION)])[oid(remote, ACTION)] == b"x\n"


def test_a_process_that_does_not_answer_is_ended_and_another_one_answers(
    reading: Objects, remote: GitRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = oid(remote, ACTION)
    reading.info([path])
    process = reading._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(objects, "LOCAL_TIMEOUT_S", 0.05)
    with pytest.raises(GitFailed) as failed:
        reading.info([path])
    assert failed.value.signal
    assert process.returncode == -signal.SIGKILL
    monkeypatch.undo()
    assert reading.contents([path])[path] == b"x\n"


def test_reading_starts_no_thread(
    reading: Objects, remote: GitRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting one takes longer than most answers, and a result needs a dozen of them."""
    path = oid(remote, ACTION)
    reading.info([path])

    def refused(_thread: threading.Thread) -> None:
        pytest.fail("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refused)
    reading.info([path])
    reading.contents([path])


def test_a_commit_reads_no_directory_that_the_one_before_wrote(
    repo: OpsRepo, remote: GitRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    contents = Objects.contents

    def noted(reading: Objects, oids: Iterable[str]) -> dict[str, bytes]:
        oids = list(oids)
        read.extend(oids)
        return contents(reading, oids)

    monkeypatch.setattr(Objects, "contents", noted)

    def publish(name: str) -> set[str]:
        """Publish a file; returns the directories that were read."""
        read.clear()
        repo.publish([NewFile(path=f"vault/actions/{name}", data=b"{}")], message=name)
        assert remote.git("show", f"main:vault/actions/{name}") == "{}"
        remote.git("fsck", "--strict")
        return {each for each in read if remote.git("cat-file", "-t", each) == "tree"}

    base = remote.head
    directories = ["^{tree}", ":vault", ":vault/actions"]
    first = {remote.git("rev-parse", f"{base}{each}") for each in directories}
    assert publish("a.result.json") == first, "each once, though they are looked at twice"
    assert publish("b.result.json") == set()
    remote.commit({"vault/other/y.toml": b"y"})
    repo.fetch()
    theirs = {remote.git("rev-parse", f"main{each}") for each in ("^{tree}", ":vault")}
    assert publish("c.result.json") == theirs, "and what others did not change is still known"
