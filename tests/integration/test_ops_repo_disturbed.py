"""The clone after processes were killed, after a power cut, and while somebody else's git works in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dispatcher.ops_repo import NewFile, OpsRepo, loose_objects, objects
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.direct_push import DirectPush
from tests.servers.git_remote import GitRemote
from tests.support.clone import at_head as repo

__all__ = ["repo"]

pytestmark = pytest.mark.needs("git")

RESULT = NewFile(path="vault/actions/x.result.json", data=b"{}\n")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n", "vault/actions/x.toml": b"x"})
    return made


def refs_of(clone: Path) -> list[str]:
    done = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)", "refs/disinto/push"],
        cwd=clone,
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.split()


DISPATCHER = """\
import os, sys
from pathlib import Path
from dispatcher.ops_repo import NewFile, OpsRepo
from dispatcher.ops_repo.direct_push import DirectPush
from dispatcher.settings import OpsRepoSettings
remote, clone, pid, what = sys.argv[1:]
Path(pid).write_text(str(os.getpid()))
os.getpid = lambda: 7
DirectPush.usable = False  # git push needs refs of ours
settings = OpsRepoSettings(remote=remote, timeout_s=20)
repo = OpsRepo(git_dir=Path(clone), settings=settings)
if what == "publish":
    repo.fetch()
    repo.publish([NewFile(path="vault/actions/x.result.json", data=b"{}")], message="Result of x")
else:
    repo.propose([NewFile(path="proposed", data=b"p")], branch="proposal", message="m")
repo.close()
"""


def test_what_a_killed_process_was_pushing_is_not_pushed_by_the_next(
    remote: GitRemote, tmp_path: Path
) -> None:
    """In a container both have the same process id. Nothing may be pushed but by a push of its own, which
    checks first whether this dispatcher still leads.
    """
    pid, clone = tmp_path / "pid", tmp_path / "clone.git"

    def dispatcher(what: str) -> int:
        words = [sys.executable, "-c", DISPATCHER, *map(str, (remote.path, clone, pid)), what]
        return subprocess.run(words, cwd=ROOT, check=False).returncode

    hook = remote.hook("pre-receive", f'kill -9 "$(cat {pid})"; exit 1')
    before = remote.head
    assert dispatcher("publish") == -9
    hook.unlink()
    assert refs_of(clone)
    assert remote.head == before
    assert dispatcher("propose") == 0
    assert remote.head == before
    assert "proposed" in remote.files("proposed", "proposal")


def test_refs_that_were_packed_during_the_push_are_removed(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectPush, "usable", False)
    clone = tmp_path / "clone.git"
    packing = f'cat >/dev/null; env -i PATH="$PATH" git --git-dir={clone}'
    remote.hook("pre-receive", f"{packing} pack-refs --all && {packing} repack -adq")
    published = repo.publish([RESULT], message="Result of x")
    assert remote.head == published.commit
    assert refs_of(clone) == []
    assert repo.fetch().commit == published.commit


def test_refs_that_killed_processes_left_are_removed_after_a_day(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path
) -> None:
    pushes = tmp_path / "clone.git/refs/disinto/push"
    for name in ("old", "new"):
        left = pushes / name / "plain/heads/main"
        left.parent.mkdir(parents=True)
        left.write_text(f"{remote.head}\n")
    os.utime(pushes / "old", (0, 0))
    repo.close()
    repo.fetch()
    assert refs_of(tmp_path / "clone.git") == ["refs/disinto/push/new/plain/heads/main"]


@pytest.mark.parametrize("content", [b"", b"x\x9c"])
@pytest.mark.parametrize("kind", ["blob", "tree", "commit"])
def test_an_object_of_ours_that_a_power_cut_left_empty_is_written_again(
    repo: OpsRepo,
    remote: GitRemote,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    content: bytes,
) -> None:
    """A result has the same bytes at the next attempt: it must reach the remote nevertheless."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    before = remote.head
    first = repo.publish([RESULT], message="Result of x").commit
    name = {"blob": f"{first}:{RESULT.path}", "tree": f"{first}:vault", "commit": first}[kind]
    oid = remote.git("rev-parse", name)
    for ref, value in (("refs/heads/main", before), ("refs/disinto/seen", before)):
        remote.git("update-ref", ref, value)
    remote.git("gc", "-q", "--prune=now")
    repo.fetch()
    file = tmp_path / "clone.git/objects" / oid[:2] / oid[2:]
    file.chmod(0o600)
    file.write_bytes(content)
    assert repo.publish([RESULT], message="Result of x").commit == first
    assert remote.head == first
    remote.git("fsck", "--strict")


def test_a_directory_of_objects_that_git_removes_is_made_again(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``git prune-packed`` does, which each packing runs."""
    make, generation = tempfile.mkstemp, repo._clone.generation
    removed: list[Path] = []

    def raced(*, prefix: str, **more: Path) -> tuple[int, str]:
        if not removed and not any(more["dir"].iterdir()):
            removed.append(more["dir"])
            more["dir"].rmdir()
        return make(prefix=prefix, dir=more["dir"])

    monkeypatch.setattr(tempfile, "mkstemp", raced)
    contents = {
        loose_objects.write(tmp_path / "clone.git", "blob", data, like=remote.head): data
        for data in (b"%d" % number for number in range(20))
    }
    assert removed
    assert repo._clone.objects.contents(contents) == contents
    assert repo._clone.generation == generation


def test_complaints_about_many_damaged_objects_do_not_block_the_reader(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "LOCAL_TIMEOUT_S", 20.0)
    clone: Clone = repo._clone
    oids = [f"{number:040x}" for number in range(0x1000, 0x1000 + 800)]
    for oid in oids:
        file = clone.path / "objects" / oid[:2] / oid[2:]
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert clone.objects.info(oids) == [None] * len(oids)
    assert clone.objects.has_commit(remote.head)
