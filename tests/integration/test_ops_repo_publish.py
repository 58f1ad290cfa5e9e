"""Bringing files to a real remote: races, refusals, death in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Denied, Dependency, Misconfigured, Unavailable
from dispatcher.ops_repo import Move, NewFile, OpsRepo, Tree
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "remote.git")
    made.commit({"README.md": b"ops\n"})
    return made


@pytest.fixture
def settings(remote: GitRemote) -> OpsRepoSettings:
    return OpsRepoSettings(
        remote=str(remote.path), author_name="Bot <x>\n", author_email="bot@example.org"
    )


@pytest.fixture
def repo(tmp_path: Path, settings: OpsRepoSettings) -> Iterator[OpsRepo]:
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings)
    yield made
    made.close()


def result(name: str) -> str:
    return f"vault/actions/{name}.result.json"


def test_a_batch_becomes_one_commit(remote: GitRemote, repo: OpsRepo) -> None:
    before = repo.fetch().commit
    files = [NewFile(path=result(n), data=n.encode()) for n in ("a", "b", "c")]

    done = repo.publish(files, message="Results of 3 actions\n\nä")

    assert done.commit == remote.head
    assert done.written == tuple(f.path for f in files)
    assert done.skipped == ()
    assert remote.files("vault") == {f.path: f.data for f in files}
    info = repo.commit(done.commit)
    assert info.parents == (before,)
    assert (info.author_name, info.author_email) == ("Bot x", "bot@example.org")
    assert info.subject == "Results of 3 actions"


def test_a_tried_push_changes_nothing_and_asks_no_hook(remote: GitRemote, repo: OpsRepo) -> None:
    """What it does not see is written where it is declared."""
    remote.hook("pre-receive", "exit 1")
    first = repo.fetch().commit
    second = remote.commit({"x": b""})
    repo.try_push()  # somebody pushed since the fetch, and that is no trouble
    assert repo.fetch().commit == second
    repo.try_push()
    remote.point(first)
    repo.try_push()
    assert remote.git("for-each-ref", "--format=%(objectname)") == first
    remote.path.rename(remote.path.with_name("away.git"))
    with pytest.raises((Unavailable, Misconfigured)):
        repo.try_push()


def test_data_arrives_byte_for_byte(remote: GitRemote, repo: OpsRepo) -> None:
    samples = [b"", b"\n", b"no end", b"\0\xff\r\n", b"done\n", b"x" * 200_000]
    files = [NewFile(path=f'a "b"\\ä/{n} \n.x', data=d) for n, d in enumerate(samples)]
    done = repo.publish(files, message="m")
    found = repo.read(
        [repo.blob_at(done.commit, f.path) or "" for f in files], limit=1_000_000
    ).values()
    assert list(found) == samples


def test_what_is_there_is_never_replaced(remote: GitRemote, repo: OpsRepo) -> None:
    remote.commit({result("x"): b"first"})
    repo.fetch()
    head = remote.head
    done = repo.publish([NewFile(path=result("x"), data=b"second")], message="m")
    assert (done.commit, done.written, done.skipped) == (head, (), (result("x"),))
    assert remote.head == head


def test_a_result_that_another_wrote_meanwhile_stands(remote: GitRemote, repo: OpsRepo) -> None:
    repo.fetch()
    remote.commit({result("x"): b"theirs"})  # the clone does not know it yet
    files = [NewFile(path=result("x"), data=b"ours"), NewFile(path=result("y"), data=b"ours")]
    done = repo.publish(files, message="m")
    assert (done.written, done.skipped) == ((result("y"),), (result("x"),))
    assert remote.files("vault") == {result("x"): b"theirs", result("y"): b"ours"}
    assert len(remote.log()) == 3


@pytest.mark.parametrize(
    "name",
    ["refs/heads/refs/heads/main", "refs/tags/refs/heads/main", "refs/heads/refs/disinto/seen"],
)
def test_a_ref_whose_name_ends_like_ours_is_not_in_the_way(
    remote: GitRemote, repo: OpsRepo, name: str
) -> None:
    """Anybody who may push may make one. git takes the right side of a refspec for the end of a
    name, and refuses what it calls ambiguous.
    """
    remote.git("update-ref", name, remote.head)
    before = remote.head
    repo.mark_seen(repo.fetch().commit)
    repo.try_push()
    done = repo.publish([NewFile(path=result("a"), data=b"a")], message="m")
    assert done.commit == remote.head
    assert remote.git("rev-parse", name) == before
    repo.propose([NewFile(path="b", data=b"b")], branch="proposed", message="m")
    left = subprocess.run(
        ["git", "for-each-ref", "refs/disinto/push"],
        cwd=repo._clone.path, capture_output=True, check=True,
    )  # fmt: skip
    assert left.stdout == b""


def test_a_pair_moves_to_the_archive_with_mode_and_content(
    remote: GitRemote, repo: OpsRepo
) -> None:
    remote.commit({"vault/actions/x.toml": (0o100755, b"x"), result("x"): b"{}"})
    tree = Tree()
    repo.advance(tree, repo.fetch().commit)
    moves = [
        Move(source="vault/actions/x.toml", target="vault/done/2026-01/x.toml"),
        Move(source=result("x"), target="vault/done/2026-01/x.result.json"),
        Move(source=result("gone"), target="vault/done/2026-01/gone.result.json"),
    ]
    done = repo.publish([], message="Archive", moves=moves)
    assert done.skipped == ("vault/done/2026-01/gone.result.json",)
    entry = repo.entry_at(done.commit, "vault/done/2026-01/x.toml")
    assert entry is not None
    assert entry.mode == 0o100755
    changes = repo.advance(tree, repo.fetch().commit)
    assert changes.archived == {"x"}
    assert not changes.vanished
    assert repo.publish([], message="Archive", moves=moves).written == ()


WRITER = """
import json, sys
from pathlib import Path
from dispatcher.ops_repo import NewFile, OpsRepo
from dispatcher.settings import OpsRepoSettings
remote, clone, name, count = sys.argv[1:]
repo = OpsRepo(git_dir=Path(clone), settings=OpsRepoSettings(remote=remote))
repo.fetch()
print("ready", flush=True)
sys.stdin.readline()
wrote = []
for n in range(int(count)):
    files = [NewFile(path=f"vault/actions/{name}-{n}.result.json", data=name.encode()),
             NewFile(path=f"vault/actions/both-{n}.result.json", data=name.encode())]
    wrote += repo.publish(files, message=f"{name} {n}").written
    print(json.dumps(wrote), flush=True)
repo.close()
"""


def writer(remote: GitRemote, clone: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(remote.path), str(clone), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize("shared", [False, True], ids=["own clones", "one clone"])
def test_four_processes_publish_at_once(tmp_path: Path, remote: GitRemote, shared: bool) -> None:
    clones = [tmp_path / ("shared.git" if shared else f"w{n}.git") for n in range(4)]
    processes = [writer(remote, clone, f"w{n}", 5) for n, clone in enumerate(clones)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    wrote: list[str] = []
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        wrote += json.loads(out.splitlines()[-1])

    files = remote.files("vault")
    assert len(files) == 4 * 5 + 5
    assert sorted(wrote) == sorted(files), "each file was written by exactly one of them"
    for name in files:
        changes = remote.git("log", "--format=%H", "main", "--", name).splitlines()
        assert len(changes) == 1


def test_a_loop_may_fetch_while_a_thread_publishes(remote: GitRemote, repo: OpsRepo) -> None:
    repo.fetch()
    stop = threading.Event()
    problems: list[Exception] = []

    def loop() -> None:
        tree = Tree()
        while not stop.is_set():
            try:
                repo.advance(tree, repo.fetch().commit)
            except Exception as problem:  # noqa: BLE001 - told below
                problems.append(problem)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    for n in range(10):
        repo.publish([NewFile(path=result(f"n{n}"), data=b"")], message=str(n))
        remote.commit({f"other{n}": b""})
    stop.set()
    thread.join()
    assert not problems
    assert len(remote.files("vault")) == 10
    assert len(remote.log()) == 21


# --- refusals -----------------------------------------------------------------------------


def test_a_hook_that_refuses_is_told_and_recovered_from(remote: GitRemote, repo: OpsRepo) -> None:
    repo.fetch()
    hook = remote.hook("pre-receive", "echo 'frozen for the audit' >&2; exit 1")
    file = NewFile(path=result("x"), data=b"{}")
    with pytest.raises(Denied, match=r"pre-receive hook declined.*frozen for the audit") as caught:
        repo.publish([file], message="m")
    assert caught.value.dependency is Dependency.REMOTE
    assert repo.fetch().commit == remote.head
    assert remote.files("vault") == {}

    hook.unlink()
    assert repo.publish([file], message="m").written == (file.path,)


def test_a_remote_that_refuses_the_seen_ref_is_tolerated(remote: GitRemote, repo: OpsRepo) -> None:
    repo.mark_seen(repo.fetch().commit)
    remote.hook(
        "pre-receive", "while read a b ref; do case $ref in refs/disinto/*) exit 1;; esac; done"
    )
    repo.publish([NewFile(path=result("x"), data=b"{}")], message="m")
    repo.mark_seen(remote.head)
    repo.publish([NewFile(path=result("y"), data=b"{}")], message="m")
    assert len(remote.files("vault")) == 2
    assert remote.git("for-each-ref", "refs/disinto") == ""


def test_a_lost_race_moves_the_seen_ref_only_with_the_branch(
    remote: GitRemote, repo: OpsRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.mark_seen(repo.fetch().commit)
    remote.commit({"vault/actions/new.toml": b""})
    monkeypatch.setattr("dispatcher.ops_repo.writer.TRIES", 1)
    with pytest.raises(Unavailable):
        repo.publish([NewFile(path=result("x"), data=b"{}")], message="m")
    assert remote.git("for-each-ref", "refs/disinto") == ""

    monkeypatch.setattr("dispatcher.ops_repo.writer.TRIES", 5)
    published = repo.publish([NewFile(path=result("x"), data=b"{}")], message="m").commit
    seen = remote.git("rev-parse", "refs/disinto/seen")
    assert seen != published, "the new action has not been looked at"
    assert remote.git("merge-base", seen, published) == seen


def test_the_seen_ref_of_another_clone_is_not_pushed(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo, settings: OpsRepoSettings
) -> None:
    repo.mark_seen(repo.fetch().commit)
    published = repo.publish([NewFile(path=result("x"), data=b"{}")], message="m").commit
    developer = OpsRepo(git_dir=tmp_path / "developer.git", settings=settings)
    developer.publish([NewFile(path="vault/actions/n.toml", data=b"")], message="Ask")
    assert remote.git("rev-parse", "refs/disinto/seen") == published
    developer.close()


def test_others_who_are_always_faster_end_in_unavailable(
    remote: GitRemote, repo: OpsRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.ops_repo.writer.TRIES", 3)
    repo.fetch()
    remote.hook(
        "pre-receive",
        "unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main"
        " $(git commit-tree -p main -m other main^{tree})",
    )
    remote.git("config", "user.name", "o")
    remote.git("config", "user.email", "o@x")
    with pytest.raises(Unavailable, match="3 times in a row"):
        repo.publish([NewFile(path=result("x"), data=b"{}")], message="m")


def test_a_remote_that_hangs_is_given_up(tmp_path: Path, remote: GitRemote) -> None:
    settings = OpsRepoSettings(remote=str(remote.path), timeout_s=1)
    repo = OpsRepo(git_dir=tmp_path / "c.git", settings=settings)
    repo.fetch()
    hook = remote.hook("pre-receive", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with pytest.raises(Unavailable, match="did not end in 1 s"):
        repo.publish([NewFile(path=result("x"), data=b"{}")], message="m")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists(), "nothing is left behind"
    hook.unlink()
    assert repo.publish([NewFile(path=result("x"), data=b"{}")], message="m").written
    repo.close()


# --- death --------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [0, 5, 10, 20, 30, 45, 60])
def test_killed_while_publishing(tmp_path: Path, remote: GitRemote, delay_ms: int) -> None:
    clone = tmp_path / "clone.git"
    process = writer(remote, clone, "w", 1_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    process.stdin.write("go\n")
    process.stdin.flush()
    for _ in range(2):
        process.stdout.readline()
    time.sleep(delay_ms / 1000)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    repo = OpsRepo(git_dir=clone, settings=OpsRepoSettings(remote=str(remote.path)))
    repo.fetch()
    files = [NewFile(path=result(f"w-{n}"), data=b"again") for n in range(20)]
    done = repo.publish(files, message="after")
    assert set(done.written) | set(done.skipped) == {f.path for f in files}
    names = remote.files("vault")
    assert {f.path for f in files} <= set(names)
    for name in names:
        assert len(remote.git("log", "--format=%H", "main", "--", name).splitlines()) == 1
    remote.git("fsck", "--strict")
    repo.close()
