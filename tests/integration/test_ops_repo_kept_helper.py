"""Fetches over HTTP by a helper of git's that is kept, and by ``git fetch`` where that cannot."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from dispatcher.errors import Misconfigured, Unavailable
from dispatcher.ops_repo import NewFile, OpsRepo, kept_helper
from dispatcher.ops_repo.git import Git
from dispatcher.ops_repo.kept_helper import KeptHelper
from dispatcher.settings import OpsRepoSettings
from tests.servers import git_https
from tests.servers.git_https import GitHttps
from tests.servers.git_remote import GitRemote

pytestmark = pytest.mark.needs("git")

TOKEN = "canary-d41d8cd98f00"
ACTION = "vault/actions/x.toml"


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    made = GitRemote(tmp_path / "served" / "ops.git")
    made.commit({ACTION: b"x"})
    return made


@pytest.fixture
def https(remote: GitRemote, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHttps]:
    with git_https.serve(remote.path.parent, user="bot", token=TOKEN) as server:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.ca))
        yield server


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of git's that were run, without their arguments."""
    run: list[str] = []
    original = Git._run

    def noted(self: Git, git_dir: Path, args: tuple[str, ...], **how: object) -> object:
        run.append(args[0])
        return original(self, git_dir, args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Git, "_run", noted)
    return run


@pytest.fixture
def repo(
    https: GitHttps, tmp_path: Path, remote: GitRemote, commands: list[str]
) -> Iterator[OpsRepo]:
    """A clone that has fetched something: now it is known which checks this version of git knows."""
    settings = OpsRepoSettings(remote=f"{https.url}/ops.git", username="bot", timeout_s=20)
    made = OpsRepo(git_dir=tmp_path / "clone.git", settings=settings, credential=lambda: TOKEN)
    made.fetch()
    remote.commit({ACTION: b"x2"})
    made.fetch()
    commands.clear()
    yield made
    made.close()


def helpers() -> list[int]:
    """Helpers of git's that this process started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid() and b"remote-https" in command:
                found.append(int(folder.name))
    return found


def test_a_fetch_is_two_requests_and_one_command(
    repo: OpsRepo, remote: GitRemote, https: GitHttps, commands: list[str]
) -> None:
    https.seen.clear()
    head = remote.commit({ACTION: b"y", "formulas/f.sh": b"z"})
    assert repo.fetch().commit == head
    assert repo.read_file(head, "formulas/f.sh", limit=9) == b"z"
    assert (len(https.seen), commands) == (2, ["index-pack"])
    assert repo.fetch().commit == head
    assert (len(https.seen), commands) == (3, ["index-pack"]), "nothing new is one request"
    assert len(helpers()) == 1


def test_the_helper_ends_with_the_clone_and_starts_again(repo: OpsRepo, remote: GitRemote) -> None:
    repo.close()
    assert helpers() == []
    head = remote.commit({ACTION: b"y"})
    assert repo.fetch().commit == head
    assert len(helpers()) == 1


def test_a_helper_that_was_killed_is_replaced(
    repo: OpsRepo, remote: GitRemote, commands: list[str]
) -> None:
    (helper,) = helpers()
    os.killpg(helper, signal.SIGKILL)
    os.waitid(os.P_PID, helper, os.WEXITED | os.WNOWAIT)
    head = remote.commit({ACTION: b"y"})
    assert repo.fetch().commit == head
    assert commands == ["index-pack"]


def test_a_branch_that_was_rewritten_is_followed(repo: OpsRepo, remote: GitRemote) -> None:
    first = remote.head
    remote.commit({ACTION: b"y"})
    repo.fetch()
    remote.point(first)
    assert repo.fetch().commit == first
    other = remote.commit({ACTION: b"z"}, parents=[])
    assert repo.fetch().commit == other


def test_a_branch_with_a_longer_name_is_another(repo: OpsRepo, remote: GitRemote) -> None:
    head = remote.head
    remote.git("update-ref", "refs/heads/main-2", remote.commit({ACTION: b"2"}, branch="aside"))
    assert repo.fetch().commit == head


def test_a_branch_that_is_gone_is_reported(repo: OpsRepo, remote: GitRemote) -> None:
    remote.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(Misconfigured):
        repo.fetch()


def test_a_malformed_object_is_refused_and_nothing_of_it_counts(
    repo: OpsRepo, remote: GitRemote
) -> None:
    head = remote.head
    tree = remote.git("rev-parse", f"{head}^{{tree}}")
    text = f"tree {tree}\nparent {head}\nauthor A <a@b> 1 +0000\nauthor B <b@b> 1 +0000\n\nm\n"
    bad = remote.git(
        "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=text.encode()
    )
    remote.point(bad)
    with pytest.raises(Misconfigured, match="malformed"):
        repo.fetch()
    found = repo.local_head()
    assert found is not None
    assert found.commit == head


def test_what_git_fetch_accepts_is_accepted(
    repo: OpsRepo, remote: GitRemote, commands: list[str]
) -> None:
    head = remote.head
    tree = remote.git("rev-parse", f"{head}^{{tree}}")
    text = f"tree {tree}\nparent {head}\nauthor A <a@b> 01 +0000\ncommitter A <a@b> 1 +0000\n\nm\n"
    odd = remote.git(
        "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=text.encode()
    )
    remote.point(odd)
    assert repo.fetch().commit == odd
    assert commands == ["index-pack"]


def test_a_large_pack_is_left_to_git_fetch(
    repo: OpsRepo, remote: GitRemote, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_helper, "PACK_LIMIT", 20_000)
    head = remote.commit({"large": os.urandom(50_000)})
    assert repo.fetch().commit == head
    assert commands == ["fetch"]
    assert helpers() == []
    head = remote.commit({ACTION: b"y"})
    assert repo.fetch().commit == head
    assert commands == ["fetch", "fetch"], "for a while all is left to it"


def test_a_remote_that_does_not_answer_is_left_to_git_fetch(
    repo: OpsRepo, remote: GitRemote, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (helper,) = helpers()
    os.killpg(helper, signal.SIGSTOP)
    monkeypatch.setattr(kept_helper, "ANSWER_S", 0.2)
    head = remote.commit({ACTION: b"y"})
    assert repo.fetch().commit == head
    assert commands == ["fetch"]


def test_a_lead_that_is_not_ours_is_seen(repo: OpsRepo, remote: GitRemote) -> None:
    record = remote.commit({"who": b"other"}, branch="record", parents=[])
    remote.git("update-ref", "refs/disinto/lead", record)
    repo._clone.fetcher.watch_lead(record)
    repo.fetch()
    assert not repo._clone.fetcher.lead_strayed
    remote.git("update-ref", "refs/disinto/lead", remote.head)
    head = remote.commit({ACTION: b"y"})
    assert repo.fetch().commit == head
    assert repo._clone.fetcher.lead_strayed


def test_what_is_stopped_is_not_started_again(repo: OpsRepo, remote: GitRemote) -> None:
    repo.stop()
    remote.commit({ACTION: b"y"})
    with pytest.raises(Unavailable, match="shutting down"):
        repo.fetch()
    assert helpers() == []


@pytest.fixture
def hung(repo: OpsRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``index-pack`` does not end, as with a small pack that unpacks to much; a file that exists once it runs,
    and that names its process."""
    began, program, real = tmp_path / "began", tmp_path / "bin" / "git", shutil.which("git")
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\ncase $2 in index-pack) echo $$ > {began}.new; mv {began}.new {began}\n"
        f'exec sleep 1000 ;; esac\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    monkeypatch.setitem(repo._clone.fetcher._git._environment, "PATH", path)
    return began


def test_a_pack_that_takes_long_to_check_is_left_to_git_fetch(
    repo: OpsRepo, remote: GitRemote, hung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_helper, "STORE_S", 0.5)
    head = remote.commit({ACTION: b"y"})
    fetched: list[str] = []
    fetching = Thread(target=lambda: fetched.append(repo.fetch().commit), daemon=True)
    fetching.start()
    fetching.join(60)
    if fetching.is_alive():
        os.kill(int(hung.read_text()), signal.SIGKILL)
    assert fetched == [head]
    assert hung.exists()


def test_a_pack_that_takes_long_to_check_delays_no_end(
    repo: OpsRepo, remote: GitRemote, hung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_helper, "STORE_S", 1000.0)
    remote.commit({ACTION: b"y"})
    failures: list[str] = []

    def fetch() -> None:
        try:
            repo.fetch()
        except Unavailable as error:
            failures.append(str(error))

    fetching = Thread(target=fetch, daemon=True)
    fetching.start()
    while fetching.is_alive() and not hung.exists():
        fetching.join(0.05)
    repo.stop()
    fetching.join(30)
    if fetching.is_alive():
        os.kill(int(hung.read_text()), signal.SIGKILL)
    assert len(failures) == 1
    assert "shutting down" in failures[0]


def test_our_own_push_is_no_news(repo: OpsRepo, commands: list[str]) -> None:
    published = repo.publish([NewFile(path="vault/actions/x.result.json", data=b"{}")], message="r")
    commands.clear()
    assert repo.fetch().commit == published.commit
    assert commands == []


def test_the_answers_of_a_server_are_bounded(
    repo: OpsRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_helper, "REFS_LIMIT", 10)
    fetcher = repo._clone.fetcher
    assert isinstance(fetcher._helper, KeptHelper)
    with pytest.raises(kept_helper.LeftToGit):
        fetcher._helper.values(["refs/heads/main"], like="a" * 40)
