"""The refs with the whole output of runs, on a real remote: pushed with the results that name it or
before them, bounded whatever the remote holds, and without a trace in the clone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dispatcher.attestation import git_blob
from dispatcher.errors import Misconfigured, NotFound, PermanentError, Unavailable
from dispatcher.ops_repo import NewFile, OpsRepo, OutputFile, OutputsRefused
from dispatcher.ops_repo.direct_push import DirectPush
from dispatcher.ops_repo.git import Done, Git
from dispatcher.ops_repo.scratch_repository import LEFTOVER_S
from dispatcher.settings import OpsRepoSettings
from tests.servers.git_remote import GitRemote

MONTH = "2026-11"
REF = f"refs/disinto/logs/{MONTH}"


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    remote = GitRemote(tmp_path / "remote.git")
    remote.commit({"README": b"x"})
    return remote


@pytest.fixture
def repo(tmp_path: Path, remote: GitRemote) -> Iterator[OpsRepo]:
    repo = opened(tmp_path / "state", remote)
    yield repo
    repo.close()


def opened(state: Path, remote: GitRemote) -> OpsRepo:
    repo = OpsRepo(git_dir=state / "ops.git", settings=OpsRepoSettings(remote=str(remote.path)))
    repo.mark_seen(repo.fetch().commit)
    return repo


def publish(repo: OpsRepo, name: str, data: bytes = b"", *, month: str = MONTH) -> str:
    """Publish a result with its output; returns the output's hash."""
    data = data or f"output of {name}".encode()
    file = Path(os.environ["TMP_OUTPUTS"]) / name
    file.write_bytes(data)
    repo.publish(
        [NewFile(path=f"vault/actions/{name}.result.json", data=b"{}")],
        message=f"Result of {name}",
        outputs=[OutputFile(month=month, name=f"{name}.stdout.gz", path=file)],
    )
    return git_blob(data)


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outputs").mkdir()
    monkeypatch.setenv("TMP_OUTPUTS", str(tmp_path / "outputs"))


def refuse(remote: GitRemote, pattern: str, hook: str = "update") -> Path:
    path = remote.path / "hooks" / hook
    path.write_text(f"#!/bin/sh\ncase $1 in {pattern}) echo not here >&2; exit 1;; esac\n")
    path.chmod(0o755)
    return path


def keep_all(remote: GitRemote) -> None:
    """Refuse every removal of a ref."""
    path = remote.path / "hooks" / "update"
    path.write_text("#!/bin/sh\ncase $3 in *[!0]*) ;; *) exit 1;; esac\n")
    path.chmod(0o755)


def results(remote: GitRemote) -> list[str]:
    names = remote.git("ls-tree", "-r", "--name-only", "main").splitlines()
    return [name.split("/")[-1].split(".")[0] for name in names if name != "README"]


def test_output_costs_no_process_and_refs_that_are_one_file(
    tmp_path: Path, repo: OpsRepo, remote: GitRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is built in a directory that is removed needs neither the disk nor tidying up."""
    publish(repo, "first")
    commands: list[str] = []
    files: list[str] = []
    run = Git._run

    def noted(git: Git, git_dir: Path, args: Sequence[str], **more: Any) -> Done:
        commands.append(args[0])
        files.extend(str(file) for file in (git_dir / "refs").rglob("*"))
        return run(git, git_dir, args, **more)

    monkeypatch.setattr(Git, "_run", noted)
    publish(repo, "second")
    assert set(results(remote)) == {"first", "second"}
    assert kept(remote) == ["second", "first"]
    assert commands == []
    assert not list(tmp_path.glob("state/output-*")), (
        "no repository is made for what is pushed directly"
    )
    monkeypatch.setattr(DirectPush, "usable", False)
    publish(repo, "third")
    assert commands == ["push"]
    assert files == []


def test_output_goes_with_a_branch_of_any_name(tmp_path: Path, remote: GitRemote) -> None:
    """Also one that is not ASCII, whose ref is one of those in that file."""
    branch = "zweig/\u00fc\u4e2d"
    remote.git("branch", branch, "main")
    settings = OpsRepoSettings(remote=str(remote.path), branch=branch)
    repo = OpsRepo(git_dir=tmp_path / "state" / "ops.git", settings=settings)
    repo.mark_seen(repo.fetch().commit)
    try:
        oid = publish(repo, "first")
    finally:
        repo.close()
    assert kept(remote) == ["first"]
    assert remote.git("cat-file", "-t", oid) == "blob"
    assert "first.result.json" in remote.git("ls-tree", "-r", "--name-only", branch)


def kept(remote: GitRemote, ref: str = REF) -> list[str]:
    """Names of the outputs that a month holds, the newest first."""
    lines = remote.git("log", "--format=", "--name-only", "--diff-filter=A", ref).splitlines()
    return [line.split(".")[0] for line in lines if line]


def objects(directory: Path) -> int:
    return sum(1 for file in directory.rglob("*") if file.is_file())


def test_one_push_brings_both_and_the_clone_keeps_nothing(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo
) -> None:
    log = remote.path / "pushes"
    hook = remote.path / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\n(cat; echo) >> {log}\n")
    hook.chmod(0o755)
    oids = [publish(repo, f"a{number}", os.urandom(10_000)) for number in range(4)]
    repo.mark_seen(repo.fetch().commit)
    oids.append(publish(repo, "a4", os.urandom(10_000)))
    assert log.read_text().count("\n\n") == 5, "one push for each"
    assert sorted(kept(remote)) == sorted(results(remote)) == [f"a{n}" for n in range(5)]
    remote.git("fsck", "--strict")
    for oid in oids:
        assert remote.git("cat-file", "-t", oid) == "blob"
        assert not list((tmp_path / "state").rglob(f"*{oid[2:]}")), "not in the clone"
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == [
        "ops.git",
        "ops.git.lock",
        "ops.git.output-tips.json",
    ]
    assert repo.outputs.fetch(oids[0], limit=10_000)
    assert remote.git("rev-parse", "refs/disinto/seen") == remote.head, "and what was seen"


def test_two_dispatchers_write_one_month_and_a_restart_goes_on(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo
) -> None:
    other = opened(tmp_path / "other", remote)
    publish(repo, "a")
    publish(other, "b")
    publish(repo, "c")
    publish(opened(tmp_path / "state", remote), "d")
    publish(other, "e", month="2026-12")
    assert sorted(kept(remote)) == ["a", "b", "c", "d"]
    assert sorted(results(remote)) == ["a", "b", "c", "d", "e"]
    assert repo.outputs.months().keys() == {MONTH, "2026-12"}
    assert remote.git("rev-list", "--count", "--merges", REF) == "0"
    other.close()


@pytest.mark.parametrize("much", [1_500_000, 300_000])
def test_who_builds_on_much_output_does_not_fetch_it(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo, much: int
) -> None:
    """From a server that cannot leave trees out: another dispatcher, or the same that was killed before it
    noted what it had pushed.
    """
    mine = publish(repo, "a", os.urandom(much))
    (tmp_path / "state" / "ops.git.output-tips.json").unlink()
    publish(repo, "b", os.urandom(much))
    other = opened(tmp_path / "other", remote)
    publish(other, "c")
    other.close()
    assert sorted(kept(remote)) == sorted(results(remote)) == ["a", "b", "c"]
    assert repo.outputs.fetch(mine, limit=much)
    remote.git("fsck", "--strict")


@pytest.mark.parametrize("obstacle", ["hook", "ref below", "ref above", "lock", "not a commit"])
def test_a_remote_that_takes_no_output_is_told_from_one_that_takes_nothing(
    remote: GitRemote, repo: OpsRepo, obstacle: str
) -> None:
    match obstacle:
        case "hook":
            refuse(remote, "refs/disinto/logs/*")
        case "ref below":
            remote.git("update-ref", f"{REF}/x", "main")
        case "ref above":
            remote.git("update-ref", "refs/disinto/logs", "main")
        case "lock":
            lock = remote.path / f"{REF}.lock"
            lock.parent.mkdir(parents=True)
            lock.touch()
        case _:
            blob = remote.git("hash-object", "-w", "--stdin", stdin=b"x")
            (remote.path / REF).parent.mkdir(parents=True)
            (remote.path / REF).write_text(f"{blob}\n")
    with pytest.raises(OutputsRefused):
        publish(repo, "a")
    assert not results(remote), "a result never names what is not there"
    repo.publish([NewFile(path="vault/actions/a.result.json", data=b"{}")], message="m")
    assert results(remote) == ["a"]


def test_a_remote_that_takes_nothing_is_no_refusal_of_output(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo
) -> None:
    refuse(remote, "refs/heads/*")
    with pytest.raises(PermanentError, match="not here"):
        publish(repo, "a")
    (remote.path / "hooks" / "update").unlink()
    away = remote.path.rename(tmp_path / "away.git")
    with pytest.raises((Unavailable, PermanentError)) as down:
        publish(repo, "b")
    assert not isinstance(down.value, OutputsRefused)
    away.rename(remote.path)
    publish(repo, "a")
    assert results(remote) == ["a"]


def test_an_outage_while_a_month_is_read_is_no_refusal_of_output(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The month is listed, and the remote is down before its commit is fetched."""
    publish(repo, "a")
    other = opened(tmp_path / "other", remote)
    publish(other, "b")
    other.close()
    ask, away = Git.ask, tmp_path / "away.git"

    def cut_off(git: Git, git_dir: Path, *args: str, **more: Any) -> Done:
        if more.get("file_limit"):
            remote.path.rename(away)
        return ask(git, git_dir, *args, **more)

    repo.fetch()
    with monkeypatch.context() as outage:
        outage.setattr(Git, "ask", cut_off)
        with pytest.raises(Misconfigured, match="there is no ops repository") as down:
            publish(repo, "c")
    assert not isinstance(down.value, OutputsRefused)
    away.rename(remote.path)
    publish(repo, "c")
    assert sorted(kept(remote)) == results(remote) == ["a", "b", "c"]


def test_a_push_that_is_not_atomic_brings_the_output_first(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo
) -> None:
    remote.git("config", "receive.advertiseAtomic", "false")
    publish(repo, "a")
    publish(repo, "b")
    assert (sorted(kept(remote)), results(remote)) == (["a", "b"], ["a", "b"])
    other = opened(tmp_path / "other", remote)  # knows nothing of the month
    publish(other, "c")
    other.close()
    publish(repo, "d")  # and what this one knows is out of date
    assert (sorted(kept(remote)), results(remote)) == (["a", "b", "c", "d"], ["a", "b", "c", "d"])
    refuse(remote, "refs/disinto/logs/*")
    with pytest.raises(OutputsRefused, match="not here"):
        publish(repo, "e")
    assert results(remote) == ["a", "b", "c", "d"]


def test_others_who_push_to_the_branch_lose_neither(remote: GitRemote, repo: OpsRepo) -> None:
    publish(repo, "a")
    remote.commit({"vault/actions/other.toml": b""})
    publish(repo, "b")
    assert sorted(kept(remote)) == ["a", "b"]
    assert remote.git("rev-list", "--count", REF) == "2", "not pushed twice"


def test_a_ref_that_never_stands_still_keeps_no_result_back(
    remote: GitRemote, repo: OpsRepo
) -> None:
    """An attacker's pushes win every race for the month."""
    publish(repo, "a")
    hook = remote.path / "hooks" / "pre-receive"
    hook.write_text(
        "#!/bin/sh\nunset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY"
        " GIT_ALTERNATE_OBJECT_DIRECTORIES\n"
        "tree=$(git mktree < /dev/null)\n"
        'new=$(echo $$ | git -c user.name=e -c user.email=e@e commit-tree "$tree")\n'
        f'echo "$new" > {REF}\n'
    )
    hook.chmod(0o755)
    with pytest.raises(OutputsRefused, match="keep changing"):
        publish(repo, "b")
    hook.unlink()
    repo.publish([NewFile(path="vault/actions/b.result.json", data=b"{}")], message="m")
    publish(repo, "c")
    assert sorted(results(remote)) == ["a", "b", "c"]


def test_a_deleted_month_begins_again(remote: GitRemote, repo: OpsRepo) -> None:
    gone = publish(repo, "a")
    remote.git("update-ref", "-d", REF)
    remote.git("gc", "--quiet", "--prune=now")
    publish(repo, "b")
    assert kept(remote) == ["b"]
    with pytest.raises(NotFound):
        repo.outputs.fetch(gone, limit=1_000)


def test_what_an_attacker_puts_on_a_month_is_not_fetched(
    tmp_path: Path, remote: GitRemote, repo: OpsRepo
) -> None:
    """A commit with a tree of 20 MB, on a server that cannot leave trees out."""
    mine = publish(repo, "a")
    huge = os.urandom(20_000_000)
    commit = remote.commit({"huge": huge}, parents=[remote.git("rev-parse", REF)], branch="evil")
    remote.git("update-ref", REF, commit)
    with pytest.raises(OutputsRefused, match="cannot be built on"):
        publish(repo, "b")
    assert remote.git("rev-parse", REF) == commit, "and it is not overwritten: ours is below it"
    assert repo.outputs.fetch(mine, limit=1_000)
    with pytest.raises(NotFound):
        repo.outputs.fetch(git_blob(huge), limit=1_000)
    assert sum(f.stat().st_size for f in (tmp_path / "state").rglob("*") if f.is_file()) < 1_000_000
    remote.git("config", "uploadpack.allowFilter", "true")
    publish(repo, "b")
    assert "b" in kept(remote), "a server that can is asked for the commit alone"


def test_a_small_object_that_unpacks_to_much_is_not_kept_in_memory(
    remote: GitRemote, repo: OpsRepo
) -> None:
    bomb = remote.git("hash-object", "-w", "--stdin", stdin=b"\0" * 50_000_000)
    remote.git("update-ref", "refs/tags/bomb", bomb)
    with pytest.raises(NotFound, match="50,000,000 bytes"):
        repo.outputs.fetch(bomb, limit=1_000)


def test_months_are_removed_by_their_exact_name(remote: GitRemote, repo: OpsRepo) -> None:
    for name, month in (("a", "2026-09"), ("b", "2026-10"), ("c", "2026-11")):
        publish(repo, name, month=month)
    remote.git("update-ref", "refs/heads/refs/disinto/logs/2026-09", "main")
    repo.outputs.remove("2026-09")
    assert repo.outputs.months().keys() == {"2026-10", "2026-11"}
    assert remote.git("rev-parse", "refs/heads/refs/disinto/logs/2026-09") == remote.head
    keep_all(remote)
    with pytest.raises(PermanentError, match="did not remove refs/disinto/logs/2026-10"):
        repo.outputs.remove("2026-10")


def test_a_probe_tells_what_is_refused_and_leaves_nothing(remote: GitRemote, repo: OpsRepo) -> None:
    repo.outputs.probe()
    assert remote.git("for-each-ref", "refs/disinto/logs") == ""
    hook = refuse(remote, "refs/disinto/logs/*")
    with pytest.raises(PermanentError, match="not here"):
        repo.outputs.probe()
    hook.unlink()
    keep_all(remote)
    with pytest.raises(PermanentError, match="did not remove"):
        repo.outputs.probe()


def test_what_a_killed_push_left_behind_is_removed_by_the_next_process(
    tmp_path: Path, remote: GitRemote
) -> None:
    state = tmp_path / "state"
    old, new, other = (state / name for name in ("output-old", "output-new", "outputs"))
    for directory in (old, new, other):
        (directory / "push.git" / "objects").mkdir(parents=True)
        (directory / "push.git" / "objects" / "pack").write_bytes(b"x")
        (directory / "push.git" / "objects" / "pack").chmod(0o400)
    long_ago = time.time() - LEFTOVER_S - 60
    for directory in (old, other):
        os.utime(directory, (long_ago, long_ago))
    repo = opened(state, remote)
    try:
        publish(repo, "one")
    finally:
        repo.close()
    assert not old.exists()
    assert new.exists(), "another process may be using it"
    assert other.exists()
