"""Pushes to a remote that is a path without ``git push``: what arrives, what is left to git, and what is left
behind.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Denied, Unavailable
from dispatcher.ops_repo import NewFile, OpsRepo, OutputsRefused, transport
from dispatcher.ops_repo.direct_push import DirectPush, LeftToGit, Update
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.output_commits import OutputFile
from dispatcher.ops_repo.ownership import Foreign
from dispatcher.ops_repo.packs import NewObject, pack
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote
from tests.support.clone import commands

__all__ = ["commands"]

pytestmark = pytest.mark.needs("git")

RESULT = NewFile(path="vault/actions/x.result.json", data=b"{}\n")


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n", "vault/actions/x.toml": b"x"})
    return made


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=60)
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    made.mark_seen(made.fetch().commit)
    yield made
    made.close()


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes of the remote that are started from now on."""
    started: list[subprocess.Popen[bytes]] = []
    start = Git.start_receiver

    def noted(git: Git) -> subprocess.Popen[bytes]:
        started.append(start(git))
        return started[-1]

    monkeypatch.setattr(Git, "start_receiver", noted)
    return started


def publish(repo: OpsRepo, path: str = RESULT.path, data: bytes = RESULT.data) -> str:
    return repo.publish([NewFile(path=path, data=data)], message="Result").commit


def test_a_push_uses_the_process_that_waits_for_it(
    repo: OpsRepo, remote: GitRemote, commands: list[str], receivers: list[subprocess.Popen[bytes]]
) -> None:
    repo.expect_publish()
    repo.expect_publish()
    assert publish(repo) == remote.head
    assert len(receivers) == 1
    assert receivers[0].poll() == 0
    assert commands == []
    publish(repo, "vault/actions/y.result.json")
    assert len(receivers) == 2, "each serves one push"
    remote.git("fsck", "--strict")


def test_what_is_not_used_is_ended(repo: OpsRepo, receivers: list[subprocess.Popen[bytes]]) -> None:
    for end in (repo.expect_nothing, repo.close, repo.stop):
        repo.expect_publish()
        assert receivers[-1].poll() is None
        end()
        assert receivers[-1].poll() is not None
    repo.expect_publish()
    assert len(receivers) == 3, "none is started after a stop"


def wait_for_the_list(receiver: subprocess.Popen[bytes]) -> None:
    assert receiver.stdout is not None
    assert select.select([receiver.stdout], [], [], 20)[0]


def test_who_pushes_meanwhile_is_built_upon(
    repo: OpsRepo, remote: GitRemote, commands: list[str], receivers: list[subprocess.Popen[bytes]]
) -> None:
    """Before the remote listed its refs, and after that."""
    repo.expect_publish()
    wait_for_the_list(receivers[0])
    first = remote.commit({"vault/actions/y.toml": b"y"})
    publish(repo)
    assert remote.git("rev-parse", "main^") == first
    remote.commit({"vault/actions/z.toml": b"z"})
    publish(repo, "vault/actions/y.result.json")
    assert remote.git("rev-list", "--count", "main") == "5"
    assert commands == ["push", "fetch-pack"] * 2, "a race is no reason to leave all to git"


def test_one_that_was_killed_while_it_waited_is_replaced_by_git(
    repo: OpsRepo, remote: GitRemote, commands: list[str], receivers: list[subprocess.Popen[bytes]]
) -> None:
    repo.expect_publish()
    receivers[0].kill()
    receivers[0].wait()
    assert publish(repo) == remote.head
    assert commands == ["push"]
    publish(repo, "vault/actions/y.result.json")
    assert commands == ["push", "push"], "all is left to git for a while"


def test_an_answer_that_is_lost_publishes_once(
    repo: OpsRepo, remote: GitRemote, commands: list[str]
) -> None:
    """The remote's process is killed right after it moved its refs: git finds them there."""
    hook = remote.path / "hooks" / "reference-transaction"
    remote.hook(hook.name, f"[ $1 != committed ] || {{ rm {hook}; kill -KILL $PPID; }}")
    before = remote.head
    published = publish(repo)
    assert commands == ["push"]
    assert remote.head == published
    assert remote.git("rev-parse", "main^") == before


def test_who_may_not_be_pushed_to_any_more_gets_nothing(
    repo: OpsRepo, remote: GitRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose the repository is, is checked again when the push comes."""
    repo.expect_publish()
    before = remote.head
    monkeypatch.setattr(transport, "foreign", lambda path: Foreign(path, "belongs to eve"))
    with pytest.raises(Denied, match="belongs to eve"):
        publish(repo)
    assert remote.head == before


def test_what_was_put_in_the_place_of_the_remote_gets_the_push(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path, receivers: list[subprocess.Popen[bytes]]
) -> None:
    """What was prepared works in the directory that was there before."""
    repo.expect_publish()
    wait_for_the_list(receivers[0])
    before = remote.head
    away = GitRemote.there(remote.path.rename(tmp_path / "away.git"))
    shutil.copytree(away.path, remote.path)
    assert publish(repo) == remote.head
    assert away.head == before
    assert receivers[0].poll() is not None


def test_the_configuration_counts_that_the_remote_has_when_the_push_comes(
    repo: OpsRepo, remote: GitRemote, receivers: list[subprocess.Popen[bytes]]
) -> None:
    repo.expect_publish()
    wait_for_the_list(receivers[0])
    before = remote.head
    remote.git("config", "receive.hideRefs", "refs/heads")
    with pytest.raises(Denied, match="hidden"):
        publish(repo)
    assert remote.head == before


def test_a_remote_that_refuses_is_left_to_git_for_a_while(
    repo: OpsRepo, remote: GitRemote, receivers: list[subprocess.Popen[bytes]]
) -> None:
    """Its hooks are not asked twice for each push."""
    hook = remote.hook("update", "echo not here >&2; exit 1")
    for _ in range(2):
        with pytest.raises(Denied, match="not here"):
            publish(repo)
    assert len(receivers) == 1
    hook.unlink()
    assert publish(repo) == remote.head


def test_what_hooks_leave_running_goes_on(repo: OpsRepo, remote: GitRemote, tmp_path: Path) -> None:
    ready, proceed, done = (tmp_path / name for name in ("ready", "proceed", "done"))
    for fifo in (ready, proceed, done):
        os.mkfifo(fifo)
    remote.hook(
        "post-receive",
        f"(trap 'echo killed > {done}; exit' TERM; echo ready > {ready}; read x < {proceed};"
        f" echo finished > {done}) >/dev/null 2>&1 </dev/null &\nread x < {ready}",
    )
    ends = [os.open(fifo, os.O_RDWR) for fifo in (proceed, done)]
    try:
        assert publish(repo) == remote.head
        os.write(ends[0], b"\n")
        assert select.select([ends[1]], [], [], 20)[0]
        assert os.read(ends[1], 100) == b"finished\n"
    finally:
        for end in ends:
            os.close(end)


def test_a_hook_that_prints_much_is_not_ended(
    repo: OpsRepo, remote: GitRemote, commands: list[str], tmp_path: Path
) -> None:
    hook = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo done >> " + str(tmp_path / "out")
    for name in ("pre-receive", "post-receive"):
        remote.hook(name, hook)
    assert publish(repo) == remote.head
    assert (tmp_path / "out").read_text() == "done\n" * 2
    assert commands == []


@pytest.mark.parametrize("ref", ["refs/disinto/seen", "refs/disinto/logs/2026-11"])
def test_a_ref_for_which_the_remote_does_not_answer_keeps_no_result_back(
    remote: GitRemote, tmp_path: Path, ref: str
) -> None:
    remote.hook("update", f"[ $1 != {ref} ] || exec sleep 600")
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=3)
    repo = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    repo.mark_seen(repo.fetch().commit)
    (tmp_path / "output").write_bytes(b"output")
    output = OutputFile(month="2026-11", name="x.stdout", path=tmp_path / "output")
    try:
        if ref.endswith("seen"):
            assert publish(repo) == remote.head
        else:
            with pytest.raises(OutputsRefused):
                repo.publish([RESULT], message="Result", outputs=[output])
    finally:
        repo.close()


def test_a_stop_ends_a_push(repo: OpsRepo, remote: GitRemote, tmp_path: Path) -> None:
    fifo = tmp_path / "reached"
    os.mkfifo(fifo)
    remote.hook("pre-receive", f"echo reached > {fifo}; exec sleep 600")
    before = remote.head
    raised: list[Exception] = []

    def push() -> None:
        try:
            publish(repo)
        except Unavailable as error:
            raised.append(error)

    thread = threading.Thread(target=push)
    thread.start()
    assert fifo.read_text() == "reached\n"
    repo.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert "shutting down" in str(raised[0])
    assert remote.head == before


def test_refs_are_moved_together_from_where_they_are(repo: OpsRepo, remote: GitRemote) -> None:
    head, other = remote.head, remote.git("commit-tree", "-m", "side", "main^{tree}")
    direct = DirectPush(repo._clone.git)
    data = remote.git("cat-file", "commit", other).encode() + b"\n"
    new = remote.git("hash-object", "-t", "commit", "--stdin", stdin=data)
    objects = [NewObject("commit", data)]
    with pytest.raises(LeftToGit):
        direct.push([Update(ref="refs/heads/none", old=head, new=new)], objects)
    blocked = Update(ref="refs/heads/main/below", old="", new=new)
    with pytest.raises(LeftToGit):
        direct.push([Update(ref="refs/heads/new", old="", new=new), blocked], objects)
    assert remote.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"
    direct.push([Update(ref="refs/heads/new", old="", new=new)], objects)
    assert remote.git("rev-parse", "refs/heads/new") == new


@pytest.mark.parametrize("checks", ["true", "false"])
def test_what_many_runs_wrote_alike_is_sent_once(
    repo: OpsRepo, remote: GitRemote, tmp_path: Path, commands: list[str], checks: str
) -> None:
    """git refuses a pack with an object twice if it checks what it receives, and keeps it if not."""
    remote.git("config", "receive.fsckObjects", checks)
    remote.git("config", "receive.unpackLimit", "1")
    (tmp_path / "output").write_bytes(b"output")
    names = [f"r{number}" for number in range(5)]
    repo.publish(
        [NewFile(path=f"vault/actions/{name}.result.json", data=b"{}") for name in names],
        message="Results",
        outputs=[
            OutputFile(month="2026-11", name=f"{name}.stdout", path=tmp_path / "output")
            for name in names
        ],
    )
    assert commands == []
    (index,) = (remote.path / "objects" / "pack").glob("*.idx")
    listed = remote.git("show-index", stdin=index.read_bytes()).splitlines()
    oids = [line.split()[1] for line in listed]
    assert len(oids) == len(set(oids))


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_git_reads_the_pack(tmp_path: Path, kind: str) -> None:
    dice = random.Random(1)
    subprocess.run(["git", "init", "-q", f"--object-format={kind}", tmp_path / "r"], check=True)
    like = "0" * (40 if kind == "sha1" else 64)
    sizes = [0, 1, 15, 16, 2_047, 2_048, 300_000]
    objects = [NewObject("blob", dice.randbytes(size)) for size in sizes]
    done = subprocess.run(
        ["git", "-C", tmp_path / "r", "unpack-objects", "-q", "--strict"],
        input=pack(objects, like=like),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for each in objects:
        oid = subprocess.run(
            ["git", "-C", tmp_path / "r", "hash-object", "--stdin"],
            input=each.data,
            capture_output=True,
            check=True,
        ).stdout.decode()
        shown = subprocess.run(
            ["git", "-C", tmp_path / "r", "cat-file", "blob", oid.strip()],
            capture_output=True,
            check=True,
        )
        assert shown.stdout == each.data


class Lost(Exception):
    """The lead is another's."""


@pytest.mark.parametrize("with_output", [False, True])
@pytest.mark.parametrize("attempts", [1, 2])
def test_the_lead_is_checked_before_each_further_attempt(
    repo: OpsRepo,
    remote: GitRemote,
    tmp_path: Path,
    attempts: int,
    *,
    with_output: bool,
) -> None:
    """Another may have taken it while the remote refused, or kept us waiting."""
    asked = tmp_path / "asked"
    remote.hook("pre-receive", f"echo >> {asked}; exit 1")
    (tmp_path / "output").write_bytes(b"output")
    output = OutputFile(month="2026-11", name="x.stdout", path=tmp_path / "output")

    def check() -> None:
        if asked.exists() and len(asked.read_text()) >= attempts:
            raise Lost

    before = remote.git("for-each-ref")
    with pytest.raises(Lost):
        repo.publish([RESULT], message="Result", check=check, outputs=[output] * with_output)
    assert len(asked.read_text()) == attempts
    assert remote.git("for-each-ref") == before
